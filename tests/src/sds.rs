//! What Istio's agent does beside an Envoy: serves the workload's certificate and the roots on a Unix socket.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, pin::Pin};

use anyhow::Result;
use futures::{Stream, StreamExt};
use meltemi_api::{
    envoy::{
        config::core::v3::{DataSource, data_source::Specifier},
        extensions::transport_sockets::tls::v3::{
            CertificateValidationContext, Secret, TlsCertificate, secret::Type,
        },
        service::{
            discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
            },
            secret::v3::secret_discovery_service_server::{
                SecretDiscoveryService, SecretDiscoveryServiceServer,
            },
        },
    },
    wkt::Any,
};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::root::Root;

/// The secrets `default` and `ROOTCA` of a workload that runs under a service account.
fn secrets(root: &Root, namespace: &str, account: &str) -> Result<Vec<Secret>> {
    let certificate = root.workload(namespace, account)?;
    let workload = Type::TlsCertificate(TlsCertificate {
        certificate_chain: Some(inline(certificate.chain)),
        private_key: Some(inline(certificate.key)),
        ..Default::default()
    });
    Ok(vec![Secret { name: "default".into(), r#type: Some(workload) }, roots("ROOTCA", root.pem().into())])
}

/// A secret of roots (PEM).
fn roots(name: &str, pem: String) -> Secret {
    let roots = CertificateValidationContext { trusted_ca: Some(inline(pem)), ..Default::default() };
    Secret { name: name.into(), r#type: Some(Type::ValidationContext(roots)) }
}

fn inline(text: String) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(text.into())), ..Default::default() }
}

/// A running secret server, ended on drop.
#[derive(Debug)]
pub struct Agent(JoinHandle<()>);

impl Agent {
    /// Serves the secrets of a workload on a socket.
    pub fn start(root: &Root, namespace: &str, account: &str, socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)?;
        // The proxy runs as another user.
        fs::set_permissions(socket, fs::Permissions::from_mode(0o777))?;
        let service = SecretDiscoveryServiceServer::new(Secrets(secrets(root, namespace, account)?));
        let serving =
            Server::builder().add_service(service).serve_with_incoming(UnixListenerStream::new(listener));
        Ok(Self(tokio::spawn(async move {
            if let Err(e) = serving.await {
                eprintln!("the secret server ended: {e}");
            }
        })))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Secrets(Vec<Secret>);

impl Secrets {
    fn named(&self, names: &[String]) -> Vec<Secret> {
        let own = self.0.iter().filter(|s| names.contains(&s.name)).cloned();
        // As the agent does, it reads the files that a DestinationRule names.
        let files = names.iter().filter_map(|name| {
            let path = name.strip_prefix("file-root:")?;
            fs::read_to_string(path).ok().map(|pem| roots(name, pem))
        });
        own.chain(files).collect()
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Secrets {
    type StreamSecretsStream = Answers<DiscoveryResponse>;
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        requests: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let secrets = Self(self.0.clone());
        let answers = requests.into_inner().filter_map(move |request| {
            let answer = request.map(|r| {
                // Envoy's acknowledgement; nothing new since.
                (r.response_nonce.is_empty()).then(|| DiscoveryResponse {
                    resources: secrets.named(&r.resource_names).iter().map(Any::pack).collect(),
                    version_info: "1".into(),
                    nonce: "1".into(),
                    type_url: r.type_url,
                    ..Default::default()
                })
            });
            async move { answer.transpose() }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn delta_secrets(
        &self,
        requests: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        let secrets = Self(self.0.clone());
        let answers = requests.into_inner().filter_map(move |request| {
            let answer = request.map(|r| {
                let found = secrets.named(&r.resource_names_subscribe);
                let resource = |s: &Secret| Resource {
                    name: s.name.clone(),
                    version: "1".into(),
                    resource: Some(Any::pack(s)),
                    ..Default::default()
                };
                (!found.is_empty()).then(|| DeltaDiscoveryResponse {
                    resources: found.iter().map(resource).collect(),
                    nonce: "1".into(),
                    type_url: r.type_url,
                    ..Default::default()
                })
            });
            async move { answer.transpose() }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_secrets(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("only streams are served"))
    }
}

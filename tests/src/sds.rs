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
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// The root that all workloads of a test trust.
pub struct Root {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Root {
    /// Makes a new root.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The secrets `default` and `ROOTCA` of a workload that runs under a service account.
    fn secrets(&self, namespace: &str, account: &str) -> Result<Vec<Secret>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let identity = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let inline = |text: String| DataSource {
            specifier: Some(Specifier::InlineBytes(text.into())),
            ..Default::default()
        };
        let workload = Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(certificate.pem())),
            private_key: Some(inline(key.serialize_pem())),
            ..Default::default()
        });
        let roots = Type::ValidationContext(CertificateValidationContext {
            trusted_ca: Some(inline(self.pem.clone())),
            ..Default::default()
        });
        Ok(vec![
            Secret { name: "default".into(), r#type: Some(workload) },
            Secret { name: "ROOTCA".into(), r#type: Some(roots) },
        ])
    }
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
        let service = SecretDiscoveryServiceServer::new(Secrets(root.secrets(namespace, account)?));
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
        self.0.iter().filter(|s| names.contains(&s.name)).cloned().collect()
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

//! Serves Envoy its secrets on a Unix socket: `default`, `ROOTCA`, and certificates that configuration names by files.
//!
//! A secret that is not there yet is sent as soon as it is; until then Envoy waits with what needs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    pin::Pin,
};

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
use prost::Message;
use tokio::{
    net::UnixListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use xxhash_rust::xxh3::xxh3_128;

use crate::{Error, files, secret::Secrets, upstream};

const TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// More names than this on one stream are no Envoy's.
const MOST_NAMES: usize = 1024;

/// Serves the socket until the task is dropped.
pub async fn serve(listener: UnixListener, secrets: watch::Receiver<Secrets>) -> Result<(), Error> {
    let service = SecretDiscoveryServiceServer::new(Sds(Catalogue(secrets)));
    let serving = Server::builder().add_service(service);
    let failed = |e: tonic::transport::Error| Error::server("the SDS socket", upstream::chain(&e));
    serving.serve_with_incoming(UnixListenerStream::new(listener)).await.map_err(failed)
}

/// Where secrets are found by name.
#[derive(Clone)]
struct Catalogue(watch::Receiver<Secrets>);

impl Catalogue {
    fn find(&self, name: &str) -> Option<Secret> {
        let found = if let Some(pair) = name.strip_prefix("file-cert:") {
            let (chain, key) = pair.split_once('~')?;
            certificate(&file(chain)?, &file(key)?)
        } else if let Some(roots) = name.strip_prefix("file-root:") {
            validation(&file(roots)?)
        } else {
            let secrets = self.0.borrow();
            match name {
                "default" => {
                    secrets.workload.as_ref().map(|w| certificate(w.chain.as_bytes(), w.key.as_bytes()))?
                }
                "ROOTCA" if !secrets.roots.is_empty() => validation(secrets.roots.pem().as_bytes()),
                _ => return None,
            }
        };
        Some(Secret { name: name.to_owned(), r#type: Some(found) })
    }
}

fn file(path: &str) -> Option<Vec<u8>> {
    upstream::read(Path::new(path)).inspect_err(|e| tracing::warn!("no secret for Envoy: {e}")).ok()
}

fn certificate(chain: &[u8], key: &[u8]) -> Type {
    Type::TlsCertificate(TlsCertificate {
        certificate_chain: Some(inline(chain)),
        private_key: Some(inline(key)),
        ..Default::default()
    })
}

fn validation(roots: &[u8]) -> Type {
    Type::ValidationContext(CertificateValidationContext {
        trusted_ca: Some(inline(roots)),
        ..Default::default()
    })
}

fn inline(bytes: &[u8]) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(bytes.to_vec().into())), ..Default::default() }
}

/// One stream's state: what it asks for, and what it was sent.
#[derive(Default)]
struct Subscription {
    names: BTreeSet<String>,
    sent: BTreeMap<String, String>,
}

impl Subscription {
    fn add(&mut self, names: impl IntoIterator<Item = String>) -> Result<(), Status> {
        self.names.extend(names);
        if self.names.len() > MOST_NAMES {
            return Err(Status::resource_exhausted("too many secrets on one stream"));
        }
        Ok(())
    }

    fn remove(&mut self, names: &[String]) {
        for name in names {
            self.names.remove(name);
            self.sent.remove(name);
        }
    }

    /// What differs from what was sent, with its versions; noted as sent.
    fn due(&mut self, catalogue: &Catalogue) -> Vec<(Secret, String)> {
        let mut due = Vec::new();
        for name in &self.names {
            let Some(secret) = catalogue.find(name) else { continue };
            let version = format!("{:032x}", xxh3_128(&secret.encode_to_vec()));
            if self.sent.get(name) != Some(&version) {
                self.sent.insert(name.clone(), version.clone());
                due.push((secret, version));
            }
        }
        due
    }

    fn reads_files(&self) -> bool {
        self.names.iter().any(|n| n.starts_with("file-"))
    }
}

/// What the two protocols differ in.
trait Protocol: Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;

    /// Takes a request in; the reason, if it rejects what was sent.
    fn take(subscription: &mut Subscription, request: Self::Request) -> Result<Option<String>, Status>;

    /// Wraps what is due.
    fn wrap(due: Vec<(Secret, String)>, nonce: String) -> Self::Response;
}

struct StateOfTheWorld;

impl Protocol for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn take(subscription: &mut Subscription, request: DiscoveryRequest) -> Result<Option<String>, Status> {
        of_secrets(&request.type_url)?;
        // Each request names all that is wanted.
        let wanted: BTreeSet<_> = request.resource_names.into_iter().collect();
        let gone: Vec<_> = subscription.names.difference(&wanted).cloned().collect();
        subscription.remove(&gone);
        subscription.add(wanted)?;
        Ok(request.error_detail.map(|e| e.message))
    }

    fn wrap(due: Vec<(Secret, String)>, nonce: String) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: nonce.clone(),
            resources: due.iter().map(|(secret, _)| Any::pack(secret)).collect(),
            type_url: TYPE.to_owned(),
            nonce,
            ..Default::default()
        }
    }
}

struct Delta;

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn take(
        subscription: &mut Subscription,
        request: DeltaDiscoveryRequest,
    ) -> Result<Option<String>, Status> {
        of_secrets(&request.type_url)?;
        subscription.remove(&request.resource_names_unsubscribe);
        subscription.add(request.resource_names_subscribe)?;
        for (name, version) in request.initial_resource_versions {
            subscription.sent.entry(name).or_insert(version);
        }
        Ok(request.error_detail.map(|e| e.message))
    }

    fn wrap(due: Vec<(Secret, String)>, nonce: String) -> DeltaDiscoveryResponse {
        let resource = |(secret, version): &(Secret, String)| Resource {
            name: secret.name.clone(),
            version: version.clone(),
            resource: Some(Any::pack(secret)),
            ..Default::default()
        };
        DeltaDiscoveryResponse {
            resources: due.iter().map(resource).collect(),
            type_url: TYPE.to_owned(),
            nonce,
            ..Default::default()
        }
    }
}

fn of_secrets(type_url: &str) -> Result<(), Status> {
    if type_url.is_empty() || type_url == TYPE {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("only secrets are served here, not {type_url}")))
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Sds(Catalogue);

impl Sds {
    fn stream<P: Protocol>(&self, requests: Streaming<P::Request>) -> Response<Answers<P::Response>> {
        let (answers, stream) = mpsc::channel(1);
        let catalogue = self.0.clone();
        tokio::spawn(async move {
            if let Err(status) = converse::<P>(catalogue, requests, &answers).await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Response::new(Box::pin(ReceiverStream::new(stream)))
    }
}

/// Answers one stream until it ends.
async fn converse<P: Protocol>(
    mut catalogue: Catalogue,
    mut requests: Streaming<P::Request>,
    answers: &mpsc::Sender<Result<P::Response, Status>>,
) -> Result<(), Status> {
    let mut subscription = Subscription::default();
    let mut clock = tokio::time::interval(files::PERIOD);
    for nonce in 1_u64.. {
        let due = loop {
            let due = subscription.due(&catalogue);
            if !due.is_empty() {
                break due;
            }
            tokio::select! {
                request = requests.next() => {
                    let Some(request) = request else { return Ok(()) };
                    if let Some(problem) = P::take(&mut subscription, request?)? {
                        tracing::error!("Envoy rejects a secret: {problem}");
                    }
                }
                changed = catalogue.0.changed() => {
                    changed.map_err(|_| Status::unavailable("the agent ends"))?;
                }
                _ = clock.tick(), if subscription.reads_files() => {}
            }
        };
        if answers.send(Ok(P::wrap(due, nonce.to_string()))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type StreamSecretsStream = Answers<DiscoveryResponse>;
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        requests: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        Ok(self.stream::<StateOfTheWorld>(requests.into_inner()))
    }

    async fn delta_secrets(
        &self,
        requests: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Ok(self.stream::<Delta>(requests.into_inner()))
    }

    async fn fetch_secrets(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("secrets are served on streams only"))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::secret::{Identity, Roots};

    fn identity(chain: &str) -> Arc<Identity> {
        Arc::new(Identity { chain: chain.into(), key: "key".into(), not_after: SystemTime::now() })
    }

    fn names(due: &[(Secret, String)]) -> Vec<&str> {
        due.iter().map(|(s, _)| s.name.as_str()).collect()
    }

    #[test]
    fn only_what_differs_is_due() {
        let (told, heard) = watch::channel(Secrets::default());
        let catalogue = Catalogue(heard);
        let mut subscription = Subscription::default();
        subscription.add(["default", "ROOTCA", "other"].map(String::from)).unwrap();
        assert!(subscription.due(&catalogue).is_empty(), "nothing is there yet");
        told.send_modify(|s| s.workload = Some(identity("one")));
        assert_eq!(names(&subscription.due(&catalogue)), ["default"]);
        assert!(subscription.due(&catalogue).is_empty(), "once");
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        told.send_modify(|s| s.roots = Arc::new(Roots::parse(root.as_bytes()).unwrap()));
        assert_eq!(names(&subscription.due(&catalogue)), ["ROOTCA"]);
        told.send_modify(|s| s.workload = Some(identity("two")));
        subscription.remove(&["ROOTCA".into()]);
        assert_eq!(names(&subscription.due(&catalogue)), ["default"]);
    }

    #[test]
    fn certificates_in_files_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let name = format!("file-cert:{}~{}", path("c"), path("k"));
        let catalogue = Catalogue(watch::channel(Secrets::default()).1);
        let mut subscription = Subscription::default();
        subscription.add([name.clone()]).unwrap();
        assert!(subscription.reads_files() && subscription.due(&catalogue).is_empty(), "not there yet");
        std::fs::write(path("c"), "chain").unwrap();
        std::fs::write(path("k"), "key").unwrap();
        assert_eq!(names(&subscription.due(&catalogue)), [name.as_str()]);
        std::fs::write(path("c"), "chain 2").unwrap();
        assert_eq!(subscription.due(&catalogue).len(), 1);
    }
}

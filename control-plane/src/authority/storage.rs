//! Secrets of the certificate authority: those of a cluster, or of the folder that stands for one.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use meltemi_ca::Files;
use meltemi_world::{NsName, Snapshot, Str};
use parking_lot::Mutex;
use std::sync::Arc;

/// The type of a Secret with a root, as Istio marks it.
const TYPE: &str = "istio.io/ca-root";

/// Where Secrets are.
#[derive(Clone)]
pub enum Storage {
    /// In a cluster.
    Cluster(Box<Cluster>),
    /// In files, which are only read. A root that is made lasts as long as the process.
    Folder(Folder),
}

/// The Secrets of one namespace of a cluster.
#[derive(Clone)]
pub struct Cluster {
    api: Api<Secret>,
}

/// The Secrets of one namespace of a folder.
#[derive(Clone)]
pub struct Folder {
    namespace: Str,
    made: Arc<Mutex<Option<Files>>>,
}

impl Storage {
    /// The Secrets of `namespace`: of the cluster of `client`, or of files if there is none.
    pub fn new(client: Option<Client>, namespace: &Str) -> Self {
        match client {
            Some(client) => Self::Cluster(Box::new(Cluster { api: Api::namespaced(client, namespace) })),
            None => Self::Folder(Folder { namespace: namespace.clone(), made: Arc::default() }),
        }
    }

    /// The data of a Secret.
    pub(super) async fn get(&self, snapshot: &Snapshot, name: &str) -> Result<Option<Files>, String> {
        match self {
            Self::Cluster(cluster) => {
                let secret = cluster.api.get_opt(name).await;
                Ok(secret.map_err(|e| format!("the Secret {name} cannot be read: {e}"))?.map(data))
            }
            Self::Folder(folder) => Ok(folder.get(snapshot, name)),
        }
    }

    /// Creates a Secret. Gives what is in it afterwards: what another replica created before, if one did.
    pub(super) async fn create(&self, name: &str, content: Files) -> Result<Files, String> {
        let Self::Cluster(cluster) = self else { return Ok(self.keep(content)) };
        let api = &cluster.api;
        let secret = Secret {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            data: Some(content.into_iter().map(|(k, v)| (k, ByteString(v))).collect()),
            type_: Some(TYPE.to_owned()),
            ..Secret::default()
        };
        match api.create(&PostParams::default(), &secret).await {
            Ok(secret) => Ok(data(secret)),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let there = api.get(name).await;
                there.map(data).map_err(|e| format!("the Secret {name} cannot be read: {e}"))
            }
            Err(e) => Err(format!("the Secret {name} cannot be created: {e}")),
        }
    }

    /// Puts `after` in the place of `before`, unless somebody else was faster.
    pub(super) async fn replace(&self, name: &str, before: &Files, after: Files) -> Result<Files, String> {
        let Self::Cluster(cluster) = self else { return Ok(self.keep(after)) };
        let api = &cluster.api;
        let problem = |e: kube::Error| format!("the Secret {name} cannot be updated: {e}");
        let mut secret = api.get(name).await.map_err(problem)?;
        if data(secret.clone()) != *before {
            return Err(format!("the Secret {name} was changed by another; looking at it anew"));
        }
        secret.data = Some(after.into_iter().map(|(k, v)| (k, ByteString(v))).collect());
        // The version that was read goes with it, so that of two replicas one fails.
        api.replace(name, &PostParams::default(), &secret).await.map(data).map_err(problem)
    }

    fn keep(&self, content: Files) -> Files {
        if let Self::Folder(folder) = self {
            *folder.made.lock() = Some(content.clone());
        }
        content
    }
}

impl Folder {
    fn get(&self, snapshot: &Snapshot, name: &str) -> Option<Files> {
        let key = NsName::new(self.namespace.clone(), name);
        let there = snapshot.secrets.get(&key);
        let there = there.map(|s| s.spec.data.iter().map(|(k, v)| (k.to_string(), v.to_vec())).collect());
        there.or_else(|| self.made.lock().clone().filter(|_| name == super::CA_SECRET))
    }
}

fn data(secret: Secret) -> Files {
    secret.data.unwrap_or_default().into_iter().map(|(name, value)| (name, value.0)).collect()
}

//! A small cluster on a real apiserver: a client, a service `server`, and whatever a test writes.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::Result;
use meltemi_api::wkt::Any;
use serde_json::{Value, json};

use crate::{
    apiserver::ApiServer,
    bootstrap,
    meltemi::{Meltemi, Source},
    netns::Place,
    objects::Objects,
    proxy::{Key, Proxy},
    scratch::Scratch,
    workload::{self, Port, Workload},
    xds_client::node,
};

/// The port that all services here have.
pub const HTTP: &[Port<'_>] = &[("http", 80, 8080)];

/// The apiserver and a client of it.
pub struct Cluster {
    /// The apiserver.
    pub apiserver: ApiServer,
    /// Writes to it.
    pub objects: Objects,
    scratch: Scratch,
}

impl Cluster {
    /// Starts an apiserver and writes namespaces, a node, the client's Pod, and a service with one endpoint.
    pub async fn open(definitions: &[Value]) -> Result<Self> {
        let apiserver = ApiServer::start().await?;
        let mut objects = Objects::new(apiserver.client().await?).await?;
        objects.install(definitions).await?;
        objects
            .apply(&[workload::namespace("shop"), workload::namespace("istio-system"), workload::node()])
            .await?;
        objects.apply(&[client().pod(), service("server", 1)]).await?;
        objects.apply(&endpoints("server", &[2])).await?;
        Ok(Self { apiserver, objects, scratch: Scratch::new()? })
    }

    /// Starts a control plane on it.
    pub async fn meltemi(&self) -> Result<Meltemi> {
        Meltemi::start(&Source::Kubernetes(self.apiserver.kubeconfig().into()), self.scratch.path()).await
    }

    /// A kubeconfig that leads to the apiserver by another address.
    pub fn kubeconfig_by(&self, address: std::net::SocketAddr) -> Result<PathBuf> {
        let direct = fs::read_to_string(self.apiserver.kubeconfig())?;
        let path = self.scratch.join("kubeconfig-by-another-way");
        fs::write(&path, direct.replace(&self.apiserver.address().to_string(), &address.to_string()))?;
        Ok(path)
    }
}

/// Connects the client's proxy to a control plane and waits until it has all it asked for.
pub async fn proxy(meltemi: &Meltemi) -> Result<Proxy> {
    let node = node(&bootstrap::node(&client().pod(), Some(&workload::node())));
    let proxy = Proxy::connect(&Place::host(), meltemi.grpc, node).await?;
    proxy.synced().await?;
    Ok(proxy)
}

/// The workload whose proxy asks.
pub fn client() -> Workload {
    Workload::new("shop", "client", "v1", [10, 244, 1, 1])
}

/// A service, by the last byte of its address.
pub fn service(name: &str, last: u8) -> Value {
    workload::service("shop", name, [10, 96, 1, last], HTTP)
}

/// The name of a service's cluster.
pub fn cluster(service: &str) -> String {
    format!("outbound|80||{service}.shop.svc.cluster.local")
}

/// Pods of a service, by the last byte of their address, and the slice that names them.
pub fn endpoints(service: &str, last: &[u8]) -> Vec<Value> {
    let pods: Vec<_> = last.iter().map(|n| Workload::new("shop", service, "v1", [10, 244, 1, *n])).collect();
    let mut objects: Vec<_> = pods.iter().map(Workload::pod).collect();
    objects.push(workload::slice("shop", service, HTTP, &pods.iter().collect::<Vec<_>>()));
    objects
}

/// A VirtualService of `server` for paths with a prefix.
pub fn route(prefix: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "server", "namespace": "shop"},
        "spec": {"hosts": ["server"], "http": [
            {"match": [{"uri": {"prefix": prefix}}], "route": [{"destination": {"host": "server"}}]},
        ]},
    })
}

/// The ConfigMap that holds the mesh configuration.
pub fn mesh_configuration(mesh: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": mesh},
    })
}

/// Whether a resource of a type holds a text: enough to see that a change has arrived.
pub fn holds(held: &BTreeMap<Key, Any>, kind: &str, text: &str) -> bool {
    let mut bodies = held.iter().filter(|((k, _), _)| k == kind).map(|(_, any)| &any.value);
    bodies.any(|body| body.windows(text.len()).any(|w| w == text.as_bytes()))
}

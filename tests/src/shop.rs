//! A mesh of a `client` and a `server` in two versions, for tests of real requests.

use std::{sync::LazyLock, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    client::Requests,
    load::Report,
    mesh::{Member, Mesh},
    wait,
    workload::{self, Port, Workload},
};

/// Rates and counts are only met if the tests don't take each other's processors.
pub async fn alone() -> MutexGuard<'static, ()> {
    static TURN: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);
    TURN.lock().await
}

/// The cluster IP and port of `server`.
pub const SERVER: ([u8; 4], u16) = ([10, 96, 1, 1], 80);
/// How clients name `server`.
pub const URL: &str = "http://server.shop/";
/// The ports of `client` and `server`.
pub const HTTP: &[Port<'_>] = &[("http", 80, 8080)];
/// Where the ingress gateway listens for its port 80.
pub const GATEWAY_PORT: u16 = 8080;

/// The mesh, running.
pub struct Shop {
    /// What it runs on.
    pub mesh: Mesh,
    /// The client, with a sidecar.
    pub client: Member,
    /// Version 1 of the server, with a sidecar.
    pub v1: (Workload, Member),
    /// Version 2 of the server, with a sidecar.
    pub v2: (Workload, Member),
}

impl Shop {
    /// Brings the mesh up with these resources of Istio beside its services.
    pub async fn open(config: &[Value]) -> Result<Self> {
        let mut mesh = Mesh::new()?;
        let client = Workload::new("shop", "client", "v1", [10, 244, 1, 1]);
        let v1 = Workload::new("shop", "server", "v1", [10, 244, 1, 2]);
        let v2 = Workload::new("shop", "server", "v2", [10, 244, 1, 3]);
        mesh.state.write(
            "cluster",
            &[
                workload::namespace("shop"),
                workload::namespace("istio-system"),
                workload::service("shop", "client", [10, 96, 1, 2], HTTP),
                workload::service("shop", "server", SERVER.0, HTTP),
                workload::service("istio-system", "ingress", [10, 96, 1, 3], &[("http", 80, GATEWAY_PORT)]),
                client.pod(),
                v1.pod(),
                v2.pod(),
                ingress().pod(),
                workload::slice("istio-system", "ingress", &[("http", 80, GATEWAY_PORT)], &[&ingress()]),
                workload::slice("shop", "client", HTTP, &[&client]),
            ],
        )?;
        mesh.state.write("server", &[workload::slice("shop", "server", HTTP, &[&v1, &v2])])?;
        mesh.state.write("config", config)?;
        mesh.start().await?;
        let client = mesh.sidecar(&client, &[8080], &[]).await?;
        let (m1, m2) = (mesh.sidecar(&v1, &[8080], &[]).await?, mesh.sidecar(&v2, &[8080], &[]).await?);
        Ok(Self { mesh, client, v1: (v1, m1), v2: (v2, m2) })
    }

    /// Sends requests from the client and waits for what comes of them.
    pub async fn ask(&self, requests: Requests) -> Result<Report> {
        requests.send(&self.client.pod, self.mesh.dir()).await
    }

    /// How many requests with a key both servers have seen.
    pub async fn seen(&self, key: &str) -> Result<u64> {
        Ok(self.v1.1.count(key).await? + self.v2.1.count(key).await?)
    }

    /// Fails if a proxy has rejected anything.
    pub async fn nothing_rejected(&self) -> Result<()> {
        for member in [&self.client, &self.v1.1, &self.v2.1] {
            let rejected = member.envoy.rejected().await?;
            ensure!(
                rejected == 0,
                "{} rejected {rejected}:\n{}",
                member.pod.name,
                member.envoy.process.log_tail(20)
            );
        }
        Ok(())
    }

    /// Waits until the client's proxy has taken routes in since a count of [`Shop::routes`].
    pub async fn routes_after(&self, before: u64) -> Result<()> {
        let limit = Duration::from_secs(10);
        wait::until_true("new routes", limit, async || Ok(self.routes().await? > before)).await
    }

    /// How often the client's proxy has taken routes in.
    pub async fn routes(&self) -> Result<u64> {
        Ok(self.client.envoy.stats(r"rds\..*config_reload$").await?.values().sum())
    }
}

/// The ingress gateway, which a test may start.
pub fn ingress() -> Workload {
    Workload::new("istio-system", "ingress", "v1", [10, 244, 1, 4]).label("istio", "ingressgateway")
}

/// Requests to `server`.
pub fn requests() -> Requests {
    Requests::to(URL, SERVER)
}

/// A DestinationRule of `server` with a subset for each version.
pub fn subsets() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "server", "namespace": "shop"},
        "spec": {"host": "server", "subsets": [
            {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}},
        ]},
    })
}

/// A VirtualService of `server` with one HTTP route.
pub fn routes(route: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "server", "namespace": "shop"},
        "spec": {"hosts": ["server"], "http": [route]},
    })
}

/// A VirtualService that sends all requests to one subset.
pub fn to_subset(name: &str) -> Value {
    routes(json!({"route": [{"destination": {"host": "server", "subset": name}}]}))
}

//! A mesh of one sidecar, `client`, and servers without proxies, with a service for each scenario.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use meltemi_tests::{
    app::{App, Ports},
    call::Call,
    client::Requests,
    http::Answer,
    load::Report,
    mesh::{Member, Mesh},
    netns::Pod,
    odds,
    scenario::{self, Scenario},
    workload::{self, Port, Workload},
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Where HTTP of the scenarios is sent: the sidecar goes by the host.
pub const VIP: ([u8; 4], u16) = ([10, 96, 2, 1], 80);
/// The port of a service that speaks HTTP.
pub const HTTP: &[Port<'_>] = &[("http", 80, 8080)];

/// The mesh, running.
pub struct Stage {
    /// What it runs on.
    pub mesh: Mesh,
    /// The client, with a sidecar, on a node of zone `zone-a`.
    pub client: Member,
    servers: Vec<(Workload, App, Pod)>,
    _dead: Pod,
}

/// `server` in versions `v1` and `v2`.
pub fn two_versions() -> [Workload; 2] {
    [v1(), v2()]
}

/// Version 1 of `server`.
pub fn v1() -> Workload {
    Workload::new("shop", "server", "v1", [10, 244, 1, 11])
}

/// Version 2 of `server`.
pub fn v2() -> Workload {
    Workload::new("shop", "server", "v2", [10, 244, 1, 12])
}

/// A Pod where nobody listens.
pub fn dead() -> Workload {
    Workload::new("shop", "server", "dead", [10, 244, 1, 13])
}

impl Stage {
    /// Brings up the mesh with these servers, and plays scenarios on it.
    pub async fn play(servers: &[Workload], scenarios: Vec<Scenario<Self>>) -> Result<()> {
        let stage = Self::open(servers, &scenarios).await?;
        scenario::play(scenarios, &stage).await?;
        let rejected = stage.client.envoy.rejected().await?;
        ensure!(rejected == 0, "{rejected} rejected:\n{}", stage.client.envoy.process.log_tail(20));
        Ok(())
    }

    async fn open(servers: &[Workload], scenarios: &[Scenario<Self>]) -> Result<Self> {
        let mut mesh = Mesh::new()?;
        let client = Workload::new("shop", "client", "v1", [10, 244, 2, 1]);
        let mut objects = vec![
            workload::namespace("shop"),
            workload::namespace("istio-system"),
            workload::namespace("team"),
            workload::service("shop", "client", [10, 96, 1, 2], HTTP),
            client.pod(),
            workload::node_in("node-b", "region1", "zone-b"),
            workload::node_in("node-c", "region2", "zone-c"),
        ];
        objects.extend(servers.iter().map(Workload::plain_pod));
        mesh.state.write("cluster", &objects)?;
        scenario::prepare(scenarios, &mesh.state)?;
        mesh.start().await?;
        let mut running = Vec::new();
        for server in servers {
            let ports = Ports { http: &[8080], tcp: &[9000], https: None };
            let (app, pod) = mesh.plain(server, ports).await?;
            running.push((server.clone(), app, pod));
        }
        let _dead = mesh.outsider("dead", dead().address)?;
        let client = mesh.sidecar(&client, &[8080], &[]).await?;
        Ok(Self { mesh, client, servers: running, _dead })
    }

    /// Sends one request from the client.
    pub async fn send(&self, ask: Call) -> Result<Answer> {
        ask.send(&self.client.pod.place).await
    }

    /// `GET` of a URL.
    pub async fn get(&self, url: &str) -> Result<Answer> {
        self.send(Call::get(url, VIP)).await
    }

    /// What the server saw of a `GET`.
    pub async fn seen(&self, url: &str) -> Result<Value> {
        self.get(url).await?.json().with_context(|| format!("GET {url}"))
    }

    /// Sends many requests.
    pub async fn load(&self, requests: Requests) -> Result<Report> {
        let report = requests.send(&self.client.pod, self.mesh.dir()).await?;
        ensure!(report.errors.is_empty(), "{report:?}");
        Ok(report)
    }

    /// Requires that the share of answers that a count of a report tells agrees with a probability.
    pub async fn share(
        &self,
        what: &str,
        url: &str,
        (trials, probability): (u64, f64),
        count: impl Fn(&Report) -> u64,
    ) -> Result<()> {
        odds::hold(what, trials, probability, async || {
            Ok(count(&self.load(Requests::to(url, VIP).count(trials).connections(8)).await?))
        })
        .await
    }

    /// How many requests with a key the server of a version has seen.
    pub async fn count(&self, version: &str, key: &str) -> Result<u64> {
        let server = self.servers.iter().find(|(server, ..)| server.version == version);
        server.context("no such server")?.1.count(key).await
    }

    /// The line by which a TCP server tells its name.
    pub async fn greeting(&self, to: impl Into<SocketAddr>) -> Result<String> {
        greeting(&self.client.pod, to).await
    }
}

/// The line by which a TCP server tells its name; empty if the connection is closed instead.
pub async fn greeting(from: &Pod, to: impl Into<SocketAddr>) -> Result<String> {
    let mut line = String::new();
    let stream = from.place.connect(to.into()).await?;
    BufReader::new(stream).read_line(&mut line).await?;
    Ok(line.trim_end().into())
}

/// A service of namespace `shop` with these members, and a cluster IP by a number that no other has.
pub fn service(name: &str, number: u8, ports: &[Port<'_>], members: &[Workload]) -> Vec<Value> {
    let members: Vec<_> = members.iter().collect();
    vec![
        workload::service("shop", name, cluster_ip(number), ports),
        workload::slice("shop", name, ports, &members),
    ]
}

/// The cluster IP of a service's number.
pub fn cluster_ip(number: u8) -> [u8; 4] {
    [10, 96, 2, number]
}

/// A resource of Istio's networking API in namespace `shop`.
pub fn resource(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    })
}

/// A VirtualService of a service.
pub fn routes(host: &str, http: Value) -> Value {
    resource("VirtualService", host, json!({"hosts": [host], "http": http}))
}

/// A DestinationRule of a service.
pub fn rule(host: &str, policy: Value) -> Value {
    resource("DestinationRule", host, json!({"host": host, "trafficPolicy": policy}))
}

/// A DestinationRule of a service with a subset for each version.
pub fn subsets(host: &str) -> Value {
    let subsets = ["v1", "v2"].map(|version| json!({"name": version, "labels": {"version": version}}));
    resource("DestinationRule", host, json!({"host": host, "subsets": subsets}))
}

/// A destination, and its weight if there are several.
pub fn to(host: &str, subset: &str, weight: u32) -> Value {
    json!({"destination": {"host": host, "subset": subset}, "weight": weight})
}

/// The Pods' addresses of servers, as Envoy tells endpoints.
pub fn endpoints(servers: &[Workload]) -> Vec<String> {
    let mut found: Vec<_> = servers.iter().map(|s: &Workload| format!("{}:8080", s.address)).collect();
    found.sort();
    found
}

/// An address of a server.
pub fn at(server: &Workload, port: u16) -> (Ipv4Addr, u16) {
    (server.address, port)
}

//! What leaves the mesh, and what may not.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use meltemi_tests::{
    app::{App, Ports},
    call::Call,
    http::Answer,
    mesh::{Member, Mesh},
    netns::Pod,
    root::Root,
    scenario::{self, Scenario},
    shop::alone,
    workload::{self, Port, Workload},
};
use serde_json::{Value, json};

use crate::stage::{HTTP, VIP, greeting, resource};

/// Servers that the mesh knows of by ServiceEntries only.
const OUTSIDE: [(&str, [u8; 4], &[&str]); 2] = [
    ("v1", [10, 244, 8, 8], &["secure.example.com", "origin.example.com", "gated.example.com"]),
    ("v2", [10, 244, 8, 9], &["other.example.com"]),
];
/// Where TLS of applications is sent: the sidecar goes by the server name.
const ANYWHERE: ([u8; 4], u16) = ([203, 0, 113, 1], 443);
const EGRESS: &[Port<'_>] = &[("https", 443, 8443)];

struct World {
    /// May call anything.
    client: Member,
    /// May call what its Sidecar names only.
    locked: Member,
    egress: Member,
    roots: String,
    _outside: Vec<(App, Pod)>,
    _mesh: Mesh,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_leave_the_mesh_as_they_are_told_to() -> Result<()> {
    let _turn = alone().await;
    let mut mesh = Mesh::new()?;
    let (root, stranger) = (Root::new()?, Root::new()?);
    let files = [("roots", &root), ("strangers", &stranger)].map(|(name, root)| {
        let path = mesh.scratch.join(format!("{name}.pem"));
        std::fs::write(&path, root.pem()).map(|()| path.display().to_string())
    });
    let [roots, strangers] = files;
    let scenarios = scenarios(&roots?, &strangers?);
    mesh.state.write("cluster", &cluster())?;
    scenario::prepare(&scenarios, &mesh.state)?;
    mesh.start().await?;
    let world = World::open(mesh, &root).await?;
    scenario::play(scenarios, &world).await?;
    for member in [&world.client, &world.locked, &world.egress] {
        ensure!(member.envoy.rejected().await? == 0, "{}", member.envoy.process.log_tail(20));
    }
    Ok(())
}

fn client() -> Workload {
    Workload::new("shop", "client", "v1", [10, 244, 1, 1])
}

fn locked() -> Workload {
    Workload::new("locked", "locked", "v1", [10, 244, 1, 2])
}

fn egress() -> Workload {
    Workload::new("istio-system", "egress", "v1", [10, 244, 1, 3]).label("istio", "egressgateway")
}

fn cluster() -> Vec<Value> {
    let ports: &[Port<'_>] = &[("http", 80, 9080)];
    vec![
        workload::namespace("shop"),
        workload::namespace("locked"),
        workload::namespace("istio-system"),
        client().pod(),
        locked().pod(),
        egress().pod(),
        workload::service("shop", "client", [10, 96, 1, 1], HTTP),
        workload::slice("shop", "client", HTTP, &[&client()]),
        workload::service("locked", "locked", [10, 96, 1, 2], ports),
        workload::slice("locked", "locked", ports, &[&locked()]),
        workload::service("istio-system", "egress", [10, 96, 1, 3], EGRESS),
        workload::slice("istio-system", "egress", EGRESS, &[&egress()]),
    ]
}

impl World {
    async fn open(mut mesh: Mesh, root: &Root) -> Result<Self> {
        let mut outside = Vec::new();
        mesh.hosts = vec![("named.example.com", OUTSIDE[0].1.into())];
        for (version, address, names) in OUTSIDE {
            let certificate = root.hosts(names)?;
            let ports = Ports { http: &[8080], tcp: &[9000], https: Some((8443, &certificate)) };
            let workload = Workload::new("outside", "outside", version, address);
            outside.push(mesh.plain(&workload, ports).await?);
            mesh.hosts.extend(names.iter().map(|name| (*name, address.into())));
        }
        Ok(Self {
            client: mesh.sidecar(&client(), &[8080], &[]).await?,
            locked: mesh.sidecar(&locked(), &[8080], &[]).await?,
            egress: mesh.gateway(&egress()).await?,
            roots: root.pem().into(),
            _outside: outside,
            _mesh: mesh,
        })
    }

    async fn get(&self, url: &str) -> Result<Answer> {
        Call::get(url, VIP).send(&self.client.pod.place).await
    }

    /// `GET` by TLS of the application's own.
    async fn secure(&self, url: &str) -> Result<Answer> {
        Call::get(url, ANYWHERE).tls(&self.roots).send(&self.client.pod.place).await
    }
}

/// A host outside, found by DNS.
fn external(name: &str, ports: Value) -> Value {
    let host = format!("{name}.example.com");
    let spec = json!({"hosts": [host], "location": "MESH_EXTERNAL", "resolution": "DNS", "ports": ports});
    resource("ServiceEntry", name, spec)
}

fn port(number: u16, protocol: &str, target: u16) -> Value {
    let name = protocol.to_lowercase();
    json!({"number": number, "name": name, "protocol": protocol, "targetPort": target})
}

fn scenarios(roots: &str, strangers: &str) -> Vec<Scenario<World>> {
    let mut plain = external("plain", json!([port(80, "HTTP", 8080)]));
    plain["spec"]["resolution"] = "STATIC".into();
    plain["spec"]["endpoints"] = json!([{"address": "10.244.8.8"}]);
    let originate = |name: &str, file: &str| {
        let mut entry = external(name, json!([port(80, "HTTP", 8443)]));
        entry["spec"]["endpoints"] = json!([{"address": "origin.example.com"}]);
        let tls = json!({
            "mode": "SIMPLE", "caCertificates": file, "sni": "origin.example.com",
            "subjectAltNames": ["origin.example.com"],
        });
        let host = format!("{name}.example.com");
        [entry, resource("DestinationRule", name, json!({"host": host, "trafficPolicy": {"tls": tls}}))]
    };
    let mut moved = external("moved", json!([port(443, "TLS", 8443)]));
    moved["spec"]["resolution"] = "NONE".into();
    let by_name = json!({"hosts": ["moved.example.com"], "tls": [{
        "match": [{"port": 443, "sniHosts": ["moved.example.com"]}],
        "route": [{"destination": {"host": "other.example.com", "port": {"number": 443}}}],
    }]});
    vec![
        Scenario::new(
            "an address that a ServiceEntry names is reached",
            "plain",
            vec![plain],
            async |world: &World| answered(world.get("http://plain.example.com/").await, "outside-v1"),
        ),
        Scenario::new(
            "a host that DNS knows is reached",
            "named",
            vec![external("named", json!([port(80, "HTTP", 8080)]))],
            async |world: &World| answered(world.get("http://named.example.com/").await, "outside-v1"),
        ),
        Scenario::new(
            "TLS of an application goes to the host that it names",
            "secure",
            vec![
                external("secure", json!([port(443, "TLS", 8443)])),
                external("other", json!([port(443, "HTTPS", 8443)])),
            ],
            async |world: &World| {
                answered(world.secure("https://secure.example.com/").await, "outside-v1")?;
                answered(world.secure("https://other.example.com/").await, "outside-v2")
            },
        ),
        Scenario::new(
            "a TLS route sends a server name elsewhere",
            "moved",
            vec![moved, resource("VirtualService", "moved", by_name)],
            async |world: &World| {
                // It arrives at a server that has no certificate of that name.
                let failed = world.secure("https://moved.example.com/").await.err().context("no failure")?;
                ensure!(format!("{failed:#}").contains("other.example.com"), "{failed:#}");
                Ok(())
            },
        ),
        Scenario::new(
            "a sidecar speaks TLS in place of its application, and checks who answers",
            "origin",
            [originate("origin", roots), originate("fake", strangers)].concat(),
            async |world: &World| {
                let seen = world.get("http://origin.example.com/").await?.json()?;
                ensure!(seen["name"] == "outside-v1" && seen["tls"] == true, "{seen:#}");
                let answer = world.get("http://fake.example.com/").await?;
                ensure!(answer.status == 503 && answer.server().is_empty(), "{answer:?}");
                Ok(())
            },
        ),
        Scenario::new(
            "requests go out through an egress gateway",
            "gated",
            gated(roots),
            through_the_gateway,
        ),
        Scenario::new(
            "a Sidecar lets out to what it names, and others to everywhere",
            "locked",
            vec![sidecar()],
            locked_in,
        ),
        Scenario::new(
            "a Sidecar's listener hands requests to another port of its workload",
            "ingress",
            Vec::new(),
            async |world: &World| answered(world.get("http://locked.locked/").await, "locked-v1"),
        ),
    ]
}

fn answered(answer: Result<Answer>, by: &str) -> Result<()> {
    let answer = answer?;
    ensure!(answer.status == 200 && answer.server() == by, "{answer:?}");
    Ok(())
}

/// Sidecar to gateway by mutual TLS of the mesh, gateway to the host by plain TLS.
fn gated(roots: &str) -> Vec<Value> {
    let host = "gated.example.com";
    let gateway = "egress.istio-system.svc.cluster.local";
    let on_port = |tls: Value| json!({"portLevelSettings": [{"port": {"number": 443}, "tls": tls}]});
    vec![
        external("gated", json!([port(80, "HTTP", 8080), port(443, "HTTPS", 8443)])),
        resource(
            "Gateway",
            "gated",
            json!({"selector": {"istio": "egressgateway"}, "servers": [{
                "port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": [host], "tls": {"mode": "ISTIO_MUTUAL"},
            }]}),
        ),
        resource(
            "DestinationRule",
            "gateway",
            json!({"host": gateway, "subsets": [{"name": "gated", "trafficPolicy": on_port(json!({"mode": "ISTIO_MUTUAL", "sni": host}))}]}),
        ),
        resource(
            "DestinationRule",
            "gated",
            json!({"host": host, "trafficPolicy": on_port(json!({"mode": "SIMPLE", "caCertificates": roots, "sni": host}))}),
        ),
        resource(
            "VirtualService",
            "gated",
            json!({"hosts": [host], "gateways": ["gated", "mesh"], "http": [
                {"match": [{"gateways": ["mesh"], "port": 80}],
                 "route": [{"destination": {"host": gateway, "subset": "gated", "port": {"number": 443}}}]},
                {"match": [{"gateways": ["gated"], "port": 443}],
                 "route": [{"destination": {"host": host, "port": {"number": 443}}}]},
            ]}),
        ),
    ]
}

async fn through_the_gateway(world: &World) -> Result<()> {
    let seen = world.get("http://gated.example.com/").await?.json()?;
    ensure!(seen["name"] == "outside-v1" && seen["tls"] == true, "{seen:#}");
    let sum = async |member: &Member, filter: &str| {
        Ok::<_, anyhow::Error>(member.envoy.stats(filter).await?.values().sum::<u64>())
    };
    let out = sum(&world.egress, "outbound.443..gated.example.com;?.upstream_rq_200$").await?;
    ensure!(out == 1, "{out} requests left by the gateway");
    let encrypted = sum(&world.egress, "listener.*ssl.handshake$").await?;
    ensure!(encrypted > 0, "it came to the gateway in clear");
    Ok(())
}

fn sidecar() -> Value {
    let mut sidecar = resource(
        "Sidecar",
        "locked",
        json!({
            "workloadSelector": {"labels": {"app": "locked"}},
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            "egress": [{"hosts": ["./*", "shop/plain.example.com"]}],
            "ingress": [{"port": {"number": 9080, "name": "http", "protocol": "HTTP"}, "defaultEndpoint": "127.0.0.1:8080"}],
        }),
    );
    sidecar["metadata"]["namespace"] = "locked".into();
    sidecar
}

async fn locked_in(world: &World) -> Result<()> {
    let (client, locked) = (&world.client.pod, &world.locked.pod);
    let outside = |port: u16| SocketAddr::from((OUTSIDE[0].1, port));
    answered(Call::get("http://plain.example.com/", VIP).send(&locked.place).await, "outside-v1")?;
    for host in ["named.example.com", "unknown.example.com", "client.shop"] {
        let answer = Call::get(format!("http://{host}/"), VIP).send(&locked.place).await?;
        ensure!(answer.status == 502, "{host}: {answer:?}");
    }
    let refused = Call::get("http://unknown.example.com/", outside(8080)).send(&locked.place).await;
    ensure!(refused.is_err(), "a port that nothing it knows has: {refused:?}");
    let line = greeting(locked, outside(9000)).await.unwrap_or_default();
    ensure!(line.is_empty(), "TCP to {line:?}");

    answered(
        Call::get("http://unknown.example.com/", outside(8080)).send(&client.place).await,
        "outside-v1",
    )?;
    let line = greeting(client, outside(9000)).await?;
    ensure!(line == "outside-v1", "TCP to {line:?}");
    Ok(())
}

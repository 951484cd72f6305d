//! What an outsider reaches through an ingress gateway.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use meltemi_tests::{
    app::{App, Ports},
    call::Call,
    http::Answer,
    mesh::{Member, Mesh},
    netns::Pod,
    odds,
    root::Root,
    scenario::{self, Scenario},
    shop::alone,
    workload::{self, Port, Workload},
};
use serde_json::{Value, json};

use crate::stage::{greeting, resource, service, subsets, to, two_versions, v1, v2};

/// The ports of the gateway's service.
const PORTS: &[Port<'_>] = &[("http", 80, 8080), ("https", 443, 8443), ("tcp", 9000, 9000)];

struct Entrance {
    gateway: Member,
    outsider: Pod,
    roots: String,
    _servers: Vec<(App, Pod)>,
    _mesh: Mesh,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_lets_in_what_it_is_told_to() -> Result<()> {
    let _turn = alone().await;
    let scenarios = scenarios();
    let entrance = Entrance::open(&scenarios).await?;
    scenario::play(scenarios, &entrance).await?;
    let envoy = &entrance.gateway.envoy;
    ensure!(envoy.rejected().await? == 0, "{}", envoy.process.log_tail(20));
    Ok(())
}

fn gateway() -> Workload {
    Workload::new("istio-system", "ingress", "v1", [10, 244, 1, 4]).label("istio", "ingressgateway")
}

impl Entrance {
    async fn open(scenarios: &[Scenario<Self>]) -> Result<Self> {
        let mut mesh = Mesh::new()?;
        let root = Root::new()?;
        let mut objects = vec![
            workload::namespace("shop"),
            workload::namespace("istio-system"),
            workload::service("istio-system", "ingress", [10, 96, 1, 3], PORTS),
            workload::slice("istio-system", "ingress", PORTS, &[&gateway()]),
            gateway().pod(),
            v1().plain_pod(),
            v2().plain_pod(),
        ];
        let ports: &[Port<'_>] = &[("http", 80, 8080), ("tls", 443, 8443), ("tcp", 9000, 9000)];
        objects.extend(service("both", 1, ports, &two_versions()));
        objects.extend(service("first", 2, ports, &[v1()]));
        objects.extend(service("second", 3, ports, &[v2()]));
        objects.push(subsets("both"));
        mesh.state.write("cluster", &objects)?;
        scenario::prepare(scenarios, &mesh.state)?;
        mesh.start().await?;
        let mut servers = Vec::new();
        for (server, host) in [(v1(), "first.example.com"), (v2(), "second.example.com")] {
            let certificate = root.hosts(&[host])?;
            let ports = Ports { http: &[8080], tcp: &[9000], https: Some((8443, &certificate)) };
            servers.push(mesh.plain(&server, ports).await?);
        }
        let gateway = mesh.gateway(&gateway()).await?;
        let outsider = mesh.outsider("outsider", [10, 244, 9, 9])?;
        Ok(Self { gateway, outsider, roots: root.pem().into(), _servers: servers, _mesh: mesh })
    }

    fn address(&self, port: u16) -> SocketAddr {
        (self.gateway.pod.address, port).into()
    }

    async fn get(&self, url: &str) -> Result<Answer> {
        Call::get(url, self.address(8080)).send(&self.outsider.place).await
    }
}

fn server(name: &str, port: u16, protocol: &str, hosts: Value) -> Value {
    json!({"port": {"number": port, "name": name, "protocol": protocol}, "hosts": hosts})
}

fn opened(name: &str, servers: Value) -> Value {
    resource("Gateway", name, json!({"selector": {"istio": "ingressgateway"}, "servers": servers}))
}

fn scenarios() -> Vec<Scenario<Entrance>> {
    let http = |name: &str, host: &str, http: Value| {
        resource("VirtualService", name, json!({"hosts": [host], "gateways": [name], "http": http}))
    };
    let mut passthrough = server("tls", 443, "TLS", json!(["first.example.com", "second.example.com"]));
    passthrough["tls"] = json!({"mode": "PASSTHROUGH"});
    let by_name = |host: &str, service: &str| json!({"match": [{"port": 443, "sniHosts": [host]}], "route": [{"destination": {"host": service, "port": {"number": 443}}}]});
    let mut secure = server("http", 80, "HTTP", json!(["secure.example.com"]));
    secure["tls"] = json!({"httpsRedirect": true});
    let on_tcp = |subset: &str, weight| {
        let mut route = to("both", subset, weight);
        route["destination"]["port"] = json!({"number": 9000});
        route
    };
    vec![
        Scenario::new(
            "hosts that it knows are routed by path, others are not found",
            "http",
            vec![
                opened("http", json!([server("http", 80, "HTTP", json!(["shop.example.com"]))])),
                http(
                    "http",
                    "shop.example.com",
                    json!([
                        {"match": [{"uri": {"prefix": "/second"}}], "route": [{"destination": {"host": "second", "port": {"number": 80}}}]},
                        {"route": [{"destination": {"host": "first", "port": {"number": 80}}}]},
                    ]),
                ),
            ],
            async |entrance: &Entrance| {
                for (url, expected) in [
                    ("http://shop.example.com/", "server-v1"),
                    ("http://shop.example.com/second", "server-v2"),
                    ("http://other.example.com/", ""),
                ] {
                    let answer = entrance.get(url).await?;
                    ensure!(answer.server() == expected, "{url}: {answer:?}");
                    ensure!(
                        answer.status == if expected.is_empty() { 404 } else { 200 },
                        "{url}: {answer:?}"
                    );
                }
                Ok(())
            },
        ),
        Scenario::new(
            "an Ingress lets in its hosts and paths",
            "ingress",
            vec![ingress()],
            async |entrance: &Entrance| {
                for (path, expected) in
                    [("/", "server-v1"), ("/second/a", "server-v2"), ("/seconds", "server-v1")]
                {
                    let answer = entrance.get(&format!("http://ingress.example.com{path}")).await?;
                    ensure!(answer.status == 200 && answer.server() == expected, "{path}: {answer:?}");
                }
                Ok(())
            },
        ),
        Scenario::new(
            "TLS is passed through to the server of its name",
            "passthrough",
            vec![
                opened("passthrough", json!([passthrough])),
                resource(
                    "VirtualService",
                    "passthrough",
                    json!({
                        "hosts": ["first.example.com", "second.example.com"], "gateways": ["passthrough"],
                        "tls": [by_name("first.example.com", "first"), by_name("second.example.com", "second")],
                    }),
                ),
            ],
            passed_through,
        ),
        Scenario::new(
            "who comes in clear is sent to HTTPS",
            "secure",
            vec![
                opened("secure", json!([secure])),
                http(
                    "secure",
                    "secure.example.com",
                    json!([{"route": [{"destination": {"host": "first"}}]}]),
                ),
            ],
            async |entrance: &Entrance| {
                let answer = entrance.get("http://secure.example.com/a?b=c").await?;
                let location = answer.header("location");
                ensure!(answer.status == 301 && location == "https://secure.example.com/a?b=c", "{answer:?}");
                Ok(())
            },
        ),
        Scenario::new(
            "connections are shared out by weight",
            "tcp",
            vec![
                opened("tcp", json!([server("tcp", 9000, "TCP", json!(["*"]))])),
                resource(
                    "VirtualService",
                    "tcp",
                    json!({"hosts": ["*"], "gateways": ["tcp"], "tcp": [{
                        "match": [{"port": 9000}], "route": [on_tcp("v1", 60), on_tcp("v2", 40)],
                    }]}),
                ),
            ],
            async |entrance: &Entrance| {
                const CONNECTIONS: u64 = 300;
                odds::hold("connections to v2", CONNECTIONS, 0.4, async || {
                    let mut second = 0;
                    for _ in 0..CONNECTIONS {
                        let name = greeting(&entrance.outsider, entrance.address(9000)).await?;
                        ensure!(name == "server-v1" || name == "server-v2", "{name:?} answered");
                        second += u64::from(name == "server-v2");
                    }
                    Ok(second)
                })
                .await
            },
        ),
    ]
}

fn ingress() -> Value {
    let to = |path: &str, service: &str| json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "shop", "namespace": "shop", "annotations": {"kubernetes.io/ingress.class": "istio"}},
        "spec": {"rules": [{
            "host": "ingress.example.com", "http": {"paths": [to("/second", "second"), to("/", "first")]},
        }]},
    })
}

async fn passed_through(entrance: &Entrance) -> Result<()> {
    let ask = |host: &str| Call::get(format!("https://{host}/"), entrance.address(8443)).tls(&entrance.roots);
    for (host, expected) in [("first.example.com", "server-v1"), ("second.example.com", "server-v2")] {
        // Our client checks that the certificate is that host's.
        let seen = ask(host).send(&entrance.outsider.place).await?.json()?;
        ensure!(seen["name"] == expected && seen["tls"] == true, "{host}: {seen:#}");
    }
    let refused = ask("third.example.com").send(&entrance.outsider.place).await;
    ensure!(refused.is_err(), "a name that the gateway does not know: {refused:?}");
    Ok(())
}

//! Meshes, each of the kind and size of Istio's benchmark of that name.

use meltemi_api::envoy::config::listener::v3::Listener;
use meltemi_server::engine::ResourceType;
use meltemi_tests::proxy::route_names as names_in;
use prost::Message;
use serde_json::{Value, json};

/// What kind of proxy generates.
#[derive(Clone, Copy)]
pub enum Proxy {
    Sidecar,
    Router,
}

/// A mesh, and the proxy that is measured.
pub struct Mesh {
    pub objects: Vec<Value>,
    pub proxy: Proxy,
    /// The clusters whose endpoints are asked for.
    pub endpoints: Vec<String>,
}

/// How a mesh is made.
type Make = fn() -> Mesh;

/// All meshes.
pub const ALL: &[(&str, Make)] = &[
    ("gateways", gateways),
    ("gateways-shared", gateways_shared),
    ("knative-gateway", knative_gateway),
    ("http", || typed("http", 80, "HTTP")),
    ("tcp", || tcp(100)),
    ("tls", || typed("tls", 7070, "TLS")),
    ("auto", || typed("auto", 7070, "")),
    ("strict", || mutual_tls("STRICT")),
    ("disabled", || mutual_tls("DISABLE")),
    ("externalname", external_name),
    ("telemetry-api", telemetry),
    ("virtualservice", virtual_service),
    ("authorizationpolicy", authorization_policy),
    ("serviceentry-workloadentry", workload_entry),
];

/// Whether a mesh has something of a type worth measuring, as in Istio's list.
pub fn has(name: &str, kind: ResourceType) -> bool {
    match name {
        "tcp" | "tls" => kind != ResourceType::Routes,
        "strict" | "disabled" | "authorizationpolicy" => kind == ResourceType::Listeners,
        _ => true,
    }
}

/// The routes that listeners ask for.
pub fn route_names<'a>(listeners: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let listeners: Vec<_> = listeners.filter_map(|body| Listener::decode(body).ok()).collect();
    names_in(&listeners).into_iter().collect()
}

fn object(api: &str, kind: &str, namespace: &str, name: impl Into<String>, spec: Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"namespace": namespace, "name": name.into()}, "spec": spec})
}

fn networking(kind: &str, namespace: &str, name: impl Into<String>, spec: Value) -> Value {
    object("networking.istio.io/v1", kind, namespace, name, spec)
}

fn entry(name: impl Into<String>, spec: Value) -> Value {
    networking("ServiceEntry", "default", name, spec)
}

fn port(number: u32, name: &str, protocol: &str) -> Value {
    json!({"number": number, "name": name, "protocol": protocol})
}

/// The service that the proxy stands behind.
fn own(ports: Value) -> Value {
    let endpoint = json!({"address": "1.1.1.1", "labels": {"istio.io/benchmark": "true", "security.istio.io/tlsMode": "istio"}});
    entry(
        "proxy-service-instance",
        json!({
            "hosts": ["example.com"], "ports": ports, "resolution": "STATIC", "location": "MESH_INTERNAL",
            "endpoints": [endpoint],
        }),
    )
}

fn plain(i: usize) -> Value {
    let spec = json!({"hosts": [host(i)], "ports": [port(80, "http", "HTTP")], "resolution": "STATIC",
        "endpoints": [{"address": "1.2.3.4"}]});
    entry(format!("service-{i}"), spec)
}

fn host(i: usize) -> String {
    format!("random-{i}.host.example")
}

fn all_ports() -> Value {
    json!([
        port(80, "http", "HTTP"),
        port(7070, "tcp", "TCP"),
        port(443, "https", "HTTPS"),
        port(9090, "auto", "")
    ])
}

fn sidecar(own_ports: Value, objects: impl IntoIterator<Item = Value>) -> Mesh {
    let objects = std::iter::once(own(own_ports)).chain(objects).collect();
    Mesh { objects, proxy: Proxy::Sidecar, endpoints: Vec::new() }
}

fn router(objects: impl IntoIterator<Item = Value>) -> Mesh {
    let ports = json!([port(80, "http", "HTTP"), port(443, "https", "HTTPS")]);
    Mesh { proxy: Proxy::Router, ..sidecar(ports, objects) }
}

/// Services of one port each, with addresses of their own.
fn typed(name: &str, number: u32, protocol: &str) -> Mesh {
    services(name, number, protocol, 100)
}

/// Services that speak TCP.
pub fn tcp(count: usize) -> Mesh {
    services("tcp", 7070, "TCP", count)
}

fn services(name: &str, number: u32, protocol: &str, count: usize) -> Mesh {
    let service = |i: usize| {
        let at = |net: u8| format!("240.{net}.{}.{}", i / 255, i % 255);
        entry(
            format!("service-{i}"),
            json!({
                "addresses": [at(240)], "hosts": [host(i)], "ports": [port(number, name, protocol)],
                "resolution": "STATIC", "location": "MESH_INTERNAL",
                "endpoints": [{"address": at(241), "labels": {"security.istio.io/tlsMode": "istio"}}],
            }),
        )
    };
    sidecar(json!([port(number, name, protocol)]), (0..count).map(service))
}

fn mutual_tls(mode: &str) -> Mesh {
    let policy = json!({"mtls": {"mode": mode}});
    sidecar(
        all_ports(),
        [object("security.istio.io/v1", "PeerAuthentication", "istio-system", "default", policy)],
    )
}

fn external_name() -> Mesh {
    let service = |i: usize| {
        let spec = json!({"type": "ExternalName", "externalName": format!("random-{i}.example.com"),
            "ports": [{"port": 80, "name": "http"}]});
        object("v1", "Service", "default", format!("service-{i}"), spec)
    };
    sidecar(json!([port(80, "http", "HTTP")]), (0..100).map(service))
}

fn telemetry() -> Mesh {
    let api = object(
        "telemetry.istio.io/v1",
        "Telemetry",
        "istio-system",
        "default",
        json!({
            "accessLogging": [{"providers": [{"name": "envoy"}]}],
            "tracing": [{"randomSamplingPercentage": 10}],
        }),
    );
    let service = |i: usize| {
        let spec = json!({"hosts": [host(i)], "ports": all_ports(), "resolution": "STATIC",
            "endpoints": [{"address": "1.2.3.4"}]});
        entry(format!("service-{i}"), spec)
    };
    sidecar(all_ports(), std::iter::once(api).chain((0..100).map(service)))
}

fn virtual_service() -> Mesh {
    let route = |i: usize| {
        let http = json!({"name": "match-route", "match": [{"uri": {"prefix": "/foo"}}, {"uri": {"regex": "/bar"}}],
            "rewrite": {"uri": "/new-url"}, "route": [{"destination": {"host": host(i)}}]});
        networking(
            "VirtualService",
            "default",
            format!("vs-{i}"),
            json!({"hosts": [host(i)], "http": [http]}),
        )
    };
    sidecar(all_ports(), (0..100).flat_map(|i| [route(i), plain(i)]))
}

fn authorization_policy() -> Mesh {
    let policy = |i: usize| {
        let rule = json!({"from": [{"source": {"namespaces": ["default"]}}], "to": [{"operation": {"methods": ["POST"]}}]});
        let spec = json!({"action": "DENY", "rules": [rule]});
        object("security.istio.io/v1", "AuthorizationPolicy", "default", format!("authn-{i}"), spec)
    };
    sidecar(all_ports(), (0..100).map(policy))
}

fn workload_entry() -> Mesh {
    let service = |i: usize| {
        let spec = json!({"hosts": [host(i)], "ports": all_ports(), "resolution": "STATIC", "location": "MESH_INTERNAL",
            "workloadSelector": {"labels": {"app": format!("random-{i}")}}});
        entry(format!("service-{i}"), spec)
    };
    let workload = |i: usize| {
        let spec = json!({"serviceAccount": "random", "address": format!("240.241.{}.{}", i / 255, i % 255),
            "labels": {"app": format!("random-{}", i % 100)}});
        networking("WorkloadEntry", "default", format!("random-{i}"), spec)
    };
    sidecar(all_ports(), (0..100).map(service).chain((0..1000).map(workload)))
}

fn gateway(name: impl Into<String>, hosts: &[String]) -> Value {
    let servers = json!([
        {"port": port(80, "http", "HTTP"), "hosts": hosts},
        {"port": port(443, "https", "HTTPS"), "hosts": hosts, "tls": {"mode": "ISTIO_MUTUAL"}},
    ]);
    let spec = json!({"selector": {"istio.io/benchmark": "true"}, "servers": servers});
    networking("Gateway", "gateway", name, spec)
}

/// Many gateways, each with hosts of its own.
fn gateways() -> Mesh {
    router((0..1000).flat_map(|i| {
        let hosts = ["a", "b", "c"].map(|part| format!("random-{part}-{i}.host.example"));
        let http = json!({"match": [{"uri": {"prefix": format!("/route-{i}")}}],
            "route": [{"destination": {"host": host(i)}}]});
        let spec = json!({"hosts": hosts, "gateways": [format!("gateway/gateway-{i}")], "http": [http]});
        let route = networking("VirtualService", "gateway", format!("vs-{i}"), spec);
        [route, gateway(format!("gateway-{i}"), &hosts), plain(i)]
    }))
}

/// One gateway whose hosts many VirtualServices share.
fn gateways_shared() -> Mesh {
    let hosts = [1, 2, 3].map(host);
    let shared = gateway("gateway", &hosts);
    router(std::iter::once(shared).chain((0..1000).flat_map(|i| {
        let matches = ["a", "b", "c", "d", "e", "f"]
            .map(|part| json!({"uri": {"prefix": format!("/route-{part}-{i}")}}));
        let http = json!({"match": matches, "route": [{"destination": {"host": host(i)}}]});
        let spec = json!({"hosts": hosts, "gateways": ["gateway/gateway"], "http": [http]});
        [networking("VirtualService", "gateway", format!("vs-{i}"), spec), plain(i)]
    })))
}

/// What Knative makes of its services: two gateways, and VirtualServices that tell revisions by a header.
fn knative_gateway() -> Mesh {
    let gateway = |name: &str, number: u32| {
        let servers = json!([{"port": port(number, "http", "HTTP"), "hosts": ["*"]}]);
        let spec = json!({"selector": {"istio.io/benchmark": "true"}, "servers": servers});
        networking("Gateway", "knative-serving", name, spec)
    };
    let gateways = [gateway("knative-ingress-gateway", 80), gateway("knative-local-gateway", 8081)];
    router(
        gateways
            .into_iter()
            .chain((0..100).flat_map(|i| [revision(i, "hello"), revision(i, "hello-private")])),
    )
}

fn revision(i: usize, name: &str) -> Value {
    let both = ["knative-serving/knative-ingress-gateway", "knative-serving/knative-local-gateway"];
    let to = format!("{name}-{i}.default.svc.cluster.local");
    let http = |prefix: &str, gateway: &str, by_hash: bool| {
        let mut matched = json!({"authority": {"prefix": prefix}, "gateways": [gateway]});
        let headers = json!({"request": {"set": {"Knative-Serving-Namespace": "default", "Knative-Serving-Revision": format!("{name}-{i}")}}});
        let mut route = json!({"route": [{"destination": {"host": to, "port": {"number": 80}}, "weight": 100, "headers": headers}]});
        if by_hash {
            matched["headers"] = json!({"K-Network-Hash": {"exact": "override"}});
            route["headers"] = json!({"request": {"set": {"K-Network-Hash": format!("{:064x}", i)}}});
        }
        route["match"] = json!([matched]);
        route
    };
    let local = format!("{name}.default");
    let external = format!("{name}.default.external.domain");
    let spec = json!({
        "gateways": both,
        "hosts": [local, external, format!("{local}.svc"), format!("{local}.svc.cluster.local")],
        "http": [http(&local, both[1], true), http(&local, both[1], false),
            http(&external, both[0], true), http(&external, both[0], false)],
    });
    networking("VirtualService", "default", format!("{name}-ingress-{i}"), spec)
}

/// Services with many endpoints each, in four networks.
pub fn endpoints(each: usize, services: usize) -> Mesh {
    let service = |s: usize| {
        let endpoint = |e: usize| {
            json!({"address": format!("111.{}.{}.{}", e / 65536, e / 256 % 256, e % 256), "network": format!("network-{}", e % 4),
                "serviceAccount": "something", "labels": {"type": "eds-benchmark", "app": format!("foo-{s}")}})
        };
        entry(
            format!("foo-{s}"),
            json!({
                "hosts": [format!("foo-{s}.com")], "ports": [port(80, "http-port", "http")], "resolution": "STATIC",
                "endpoints": (0..each).map(endpoint).collect::<Vec<_>>(),
            }),
        )
    };
    let policy = |namespace: &str, name: &str, spec| {
        object("security.istio.io/v1", "PeerAuthentication", namespace, name, spec)
    };
    let selected =
        json!({"selector": {"matchLabels": {"type": "eds-benchmark"}}, "mtls": {"mode": "DISABLE"}});
    let policies = [
        policy("istio-system", "global", json!({"mtls": {"mode": "PERMISSIVE"}})),
        policy("default", "namespace", json!({"mtls": {"mode": "DISABLE"}})),
        policy("default", "selector", selected),
    ];
    let endpoints = (0..services).map(|s| format!("outbound|80||foo-{s}.com")).collect();
    let objects = (0..services).map(service).chain(policies).collect();
    Mesh { objects, proxy: Proxy::Sidecar, endpoints }
}

//! Clusters: what depends on the proxy, on TLS settings, and on subsets.

mod common;

use common::{Mesh, node, sidecar, stock};
use meltemi_api::envoy::config::cluster::v3::Cluster;
use meltemi_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use meltemi_api::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::{
    UpstreamTlsContext, tls_parameters::TlsProtocol,
};
use meltemi_api::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use meltemi_world::features::Compliance;
use serde_json::{Value, json};

const CLUSTER: &str = "outbound|80||a.example.com";

fn mesh(location: &str) -> Mesh {
    let entry = json!({
        "hosts": ["a.example.com"], "location": location, "resolution": "STATIC",
        "ports": [{"number": 80, "name": "tcp", "protocol": "TCP"}], "endpoints": [{"address": "10.0.0.9"}],
    });
    Mesh::default().object("ServiceEntry", "a", entry)
}

fn with_rule(location: &str, policy: &Value) -> Mesh {
    mesh(location).object("DestinationRule", "a", json!({"host": "a.example.com", "trafficPolicy": policy}))
}

fn tls_of(socket: &TransportSocket) -> UpstreamTlsContext {
    match &socket.config_type {
        Some(ConfigType::TypedConfig(any)) => any.unpack().expect("a TLS context"),
        None => panic!("no TLS"),
    }
}

fn alpn(cluster: &Cluster) -> Vec<String> {
    let socket = cluster.transport_socket_matches[0].transport_socket.as_ref().expect("a socket");
    tls_of(socket).common_tls_context.expect("settings").alpn_protocols
}

#[test]
fn a_stock_envoy_gets_no_filter_of_istio() {
    let of_istio = mesh("MESH_INTERNAL").cluster(&sidecar(), CLUSTER);
    assert_eq!(of_istio.filters[0].name, "istio.metadata_exchange");
    assert_eq!(alpn(&of_istio), ["istio-peer-exchange", "istio"]);
    let of_stock = mesh("MESH_INTERNAL").cluster(&stock(sidecar()), CLUSTER);
    assert!(of_stock.filters.is_empty());
    assert_eq!(alpn(&of_stock), ["istio"]);
}

#[test]
fn mutual_tls_is_automatic_within_the_mesh_only() {
    assert_eq!(mesh("MESH_INTERNAL").cluster(&sidecar(), CLUSTER).transport_socket_matches.len(), 2);
    assert!(mesh("MESH_EXTERNAL").cluster(&sidecar(), CLUSTER).transport_socket_matches.is_empty());
    let disabled =
        mesh("MESH_INTERNAL").object("PeerAuthentication", "a", json!({"mtls": {"mode": "DISABLE"}}));
    assert!(disabled.cluster(&sidecar(), CLUSTER).transport_socket_matches.is_empty());
}

#[test]
fn a_sidecar_gets_credentials_only_by_a_rule_that_selects_it() {
    let policy = json!({"tls": {"mode": "SIMPLE", "credentialName": "c", "sni": "s"}});
    assert!(with_rule("MESH_EXTERNAL", &policy).cluster(&sidecar(), CLUSTER).transport_socket.is_none());
    let gateway = node("router", "", &json!({}));
    let socket = with_rule("MESH_EXTERNAL", &policy).cluster(&gateway, CLUSTER).transport_socket;
    assert_eq!(tls_of(&socket.expect("TLS")).sni, "s");
    let rule = json!({"host": "a.example.com", "trafficPolicy": policy, "workloadSelector": {"matchLabels": {"app": "a"}}});
    let selected = node("sidecar", "", &json!({"LABELS": {"app": "a"}}));
    let mesh = mesh("MESH_EXTERNAL").object("DestinationRule", "a", rule);
    assert!(mesh.cluster(&selected, CLUSTER).transport_socket.is_some());
}

#[test]
fn mutual_tls_without_a_certificate_leaves_the_cluster_without_tls() {
    let policy = json!({"tls": {"mode": "MUTUAL", "caCertificates": "/ca"}});
    assert!(with_rule("MESH_EXTERNAL", &policy).cluster(&sidecar(), CLUSTER).transport_socket.is_none());
}

#[test]
fn a_subset_may_send_traffic_where_it_was_going() {
    let rule = json!({"host": "a.example.com", "subsets": [
        {"name": "v1", "labels": {"version": "v1"}},
        {"name": "direct", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}}},
    ]});
    let mesh = || mesh("MESH_INTERNAL").object("DestinationRule", "a", rule.clone());
    let kind = |subset: &str| mesh().cluster(&sidecar(), &format!("outbound|80|{subset}|a.example.com"));
    let of = |kind: DiscoveryType| Some(ClusterDiscoveryType::Type(kind as i32));
    assert_eq!(kind("v1").cluster_discovery_type, of(DiscoveryType::Eds));
    assert_eq!(kind("direct").cluster_discovery_type, of(DiscoveryType::OriginalDst));
    assert!(kind("direct").eds_cluster_config.is_none());
}

#[test]
fn unknown_names_may_be_resolved_with_tls() {
    let mesh = |tls: Value| {
        let policy = json!({"mode": "ALLOW_ANY_DYNAMIC_DNS", "tls": tls});
        Mesh::default().mesh(&json!({"outboundTrafficPolicy": policy}))
    };
    let name = "AllowAnyDynamicDNSCluster";
    let plain = mesh(Value::Null).cluster(&sidecar(), name);
    assert!(plain.transport_socket.is_none());
    let tls = mesh(json!({"mode": "SIMPLE"})).cluster(&sidecar(), name);
    let options =
        &tls.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    let options: HttpProtocolOptions = options.unpack().expect("HTTP options");
    assert!(options.upstream_http_protocol_options.expect("names from requests").auto_san_validation);
    assert!(tls.transport_socket.is_some());
}

#[test]
fn a_gateway_may_be_limited_to_what_it_routes_to() {
    let limited = || mesh("MESH_INTERNAL").features(|f| f.filter_gateway_clusters = true);
    let names = |mesh: Mesh, kind: &str| {
        mesh.ask(&node(kind, "", &json!({})), |cx| {
            meltemi_translation::cluster::clusters(cx).into_iter().map(|c| c.name).collect::<Vec<_>>()
        })
    };
    assert_eq!(names(limited(), "router"), ["BlackHoleCluster"]);
    assert_eq!(names(mesh("MESH_INTERNAL"), "router"), [CLUSTER, "BlackHoleCluster"]);
    assert!(names(limited(), "sidecar").contains(&CLUSTER.to_owned()));
    let provider = json!({"name": "p", "envoyExtAuthzGrpc": {"service": "ns/a.example.com", "port": 80}});
    let named = limited().mesh(&json!({"extensionProviders": [provider]}));
    assert!(names(named, "router").contains(&CLUSTER.to_owned()));
}

#[test]
fn a_compliance_policy_has_the_last_word_on_tls() {
    let params = |policy| {
        let mesh = with_rule("MESH_EXTERNAL", &json!({"tls": {"mode": "SIMPLE"}}))
            .mesh(&json!({"tlsDefaults": {"cipherSuites": ["AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256"]}}))
            .features(|f| f.compliance = policy);
        let context = tls_of(&mesh.cluster(&sidecar(), CLUSTER).transport_socket.unwrap());
        let params = context.common_tls_context.unwrap().tls_params.unwrap();
        let versions = (params.tls_minimum_protocol_version, params.tls_maximum_protocol_version);
        (versions, params.cipher_suites.len(), params.ecdh_curves, params.compliance_policies.len())
    };
    let (v12, v13) = (TlsProtocol::TlSv12 as i32, TlsProtocol::TlSv13 as i32);
    let pqc = vec!["X25519MLKEM768".to_owned()];
    assert_eq!(params(Compliance::None), ((v12, v13), 2, vec![], 0));
    assert_eq!(params(Compliance::Fips140_2), ((v12, v12), 1, vec![], 0));
    assert_eq!(params(Compliance::Fips140_3), ((v12, v13), 2, vec![], 1));
    assert_eq!(params(Compliance::Pqc), ((v13, v13), 4, pqc, 0));
}

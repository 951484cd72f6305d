//! Outbound listeners: which there are, which chains they have, and what the chains tell of traffic.

mod common;

use common::{Mesh, node, sidecar, stock};
use meltemi_api::envoy::config::listener::v3::{FilterChain, Listener, filter};
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use meltemi_api::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};
use serde_json::{Value, json};

fn entry(host: &str, address: &str, port: u32, protocol: &str) -> Value {
    json!({
        "hosts": [host], "addresses": [address], "resolution": "STATIC",
        "ports": [{"number": port, "name": "p", "protocol": protocol}], "endpoints": [{"address": "10.0.0.9"}],
    })
}

fn with(mesh: Mesh, host: &str, address: &str, port: u32, protocol: &str) -> Mesh {
    mesh.object("ServiceEntry", host, entry(host, address, port, protocol))
}

fn names(listeners: &[Listener]) -> Vec<&str> {
    listeners.iter().map(|l| l.name.as_str()).filter(|n| !n.starts_with("virtual")).collect()
}

fn find<'a>(listeners: &'a [Listener], name: &str) -> &'a Listener {
    listeners.iter().find(|l| l.name == name).unwrap_or_else(|| panic!("no {name} in {:?}", names(listeners)))
}

fn filter_names(chain: &FilterChain) -> Vec<&str> {
    chain.filters.iter().map(|f| f.name.as_str()).collect()
}

fn last<M: prost::Message + prost::Name + Default>(chain: &FilterChain) -> M {
    let filter::ConfigType::TypedConfig(config) = chain.filters.last().unwrap().config_type.as_ref().unwrap()
    else {
        panic!("not by value: {:?}", filter_names(chain));
    };
    config.unpack().unwrap()
}

fn tcp(chain: &FilterChain) -> TcpProxy {
    last(chain)
}

fn http(chain: &FilterChain) -> HttpConnectionManager {
    last(chain)
}

fn cluster(chain: &FilterChain) -> String {
    match tcp(chain).cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => name,
        other => panic!("not one cluster: {other:?}"),
    }
}

fn routes(chain: &FilterChain) -> String {
    match http(chain).route_specifier {
        Some(RouteSpecifier::Rds(rds)) => rds.route_config_name,
        other => panic!("not by RDS: {other:?}"),
    }
}

#[test]
fn http_is_listened_for_by_port_and_tcp_by_address() {
    let mesh = with(with(Mesh::default(), "a.com", "10.1.0.1", 80, "HTTP"), "b.com", "10.1.0.2", 90, "TCP");
    let all = with(mesh, "c.com", "10.1.0.3", 91, "").listeners(&sidecar());
    assert_eq!(names(&all), ["0.0.0.0_80", "10.1.0.2_90", "10.1.0.3_91"]);
    assert_eq!(routes(&find(&all, "0.0.0.0_80").filter_chains[0]), "80");
    assert_eq!(cluster(&find(&all, "10.1.0.2_90").filter_chains[0]), "outbound|90||b.com");
    let sniffed = find(&all, "10.1.0.3_91");
    assert_eq!(routes(&sniffed.filter_chains[0]), "c.com:91");
    assert_eq!(cluster(sniffed.default_filter_chain.as_ref().unwrap()), "outbound|91||c.com");
}

#[test]
fn http_and_tcp_on_one_port_are_told_apart_unless_the_server_speaks_first() {
    let share = |protocol: &str| {
        let mesh = with(Mesh::default(), "a.com", "0.0.0.0", 80, protocol);
        let all = with(mesh, "b.com", "0.0.0.0", 80, "HTTP").listeners(&sidecar());
        let listener = find(&all, "0.0.0.0_80");
        (
            listener.filter_chains.len(),
            listener.listener_filters.len(),
            listener.default_filter_chain.is_some(),
        )
    };
    assert_eq!(share("TCP"), (1, 1, true));
    assert_eq!(share("Mongo"), (1, 0, false));
}

#[test]
fn cidrs_share_the_wildcard_address_and_match_by_destination() {
    let mesh =
        with(with(Mesh::default(), "a.com", "10.1.0.0/16", 90, "TCP"), "b.com", "10.2.0.0/16", 90, "TCP");
    let all = mesh.listeners(&sidecar());
    let chains = &find(&all, "0.0.0.0_90").filter_chains;
    let ranges =
        |c: &FilterChain| c.filter_chain_match.as_ref().unwrap().prefix_ranges[0].address_prefix.clone();
    assert_eq!(chains.iter().map(ranges).collect::<Vec<_>>(), ["10.1.0.0", "10.2.0.0"]);
    assert_eq!(
        cluster(find(&all, "0.0.0.0_90").default_filter_chain.as_ref().unwrap()),
        "PassthroughCluster"
    );
}

#[test]
fn every_address_of_a_service_is_listened_for() {
    let mut service = entry("a.com", "10.1.0.1", 90, "TCP");
    service["addresses"] = json!(["10.1.0.1", "10.1.0.2"]);
    let all = Mesh::default().object("ServiceEntry", "a", service).listeners(&sidecar());
    assert_eq!(names(&all), ["10.1.0.1_90", "10.1.0.2_90"]);
}

#[test]
fn of_equal_tls_matches_the_first_that_applies_is_taken() {
    let route = |host: &str| json!([{"destination": {"host": host}}]);
    let vs = json!({"hosts": ["a.com"], "tls": [
        {"match": [{"sniHosts": ["a.com"], "sourceLabels": {"app": "other"}}], "route": route("x.com")},
        {"match": [{"sniHosts": ["a.com"], "port": 443}], "route": route("y.com")},
        {"match": [{"sniHosts": ["a.com"]}], "route": route("z.com")},
    ]});
    let all = with(Mesh::default(), "a.com", "10.1.0.1", 443, "TLS")
        .object("VirtualService", "a", vs)
        .listeners(&sidecar());
    let listener = find(&all, "10.1.0.1_443");
    assert_eq!(listener.filter_chains.iter().map(cluster).collect::<Vec<_>>(), ["outbound|443||y.com"]);
    assert_eq!(listener.listener_filters[0].name, "envoy.filters.listener.tls_inspector");
}

#[test]
fn rules_shape_tcp_connections() {
    let rule = json!({"host": "a.com", "trafficPolicy": {
        "connectionPool": {"tcp": {"idleTimeout": "30s", "maxConnectionDuration": "1h"}},
        "loadBalancer": {"consistentHash": {"useSourceIp": true}},
        "tunnel": {"protocol": "CONNECT", "targetHost": "::1", "targetPort": 443},
    }});
    let all = with(Mesh::default(), "a.com", "10.1.0.1", 90, "TCP")
        .object("DestinationRule", "a", rule)
        .listeners(&node("sidecar", "", &json!({"IDLE_TIMEOUT": "5s"})));
    let tcp_proxy = tcp(&find(&all, "10.1.0.1_90").filter_chains[0]);
    assert_eq!(tcp_proxy.idle_timeout.unwrap().seconds, 30);
    assert_eq!(tcp_proxy.max_downstream_connection_duration.unwrap().seconds, 3600);
    assert_eq!(tcp_proxy.hash_policy.len(), 1);
    assert_eq!(tcp_proxy.tunneling_config.unwrap().hostname, "[::1]:443");
    assert_eq!(tcp(&find(&all, "virtualOutbound").filter_chains[1]).idle_timeout.unwrap().seconds, 5);
}

#[test]
fn ports_that_a_sidecar_names_keep_to_what_it_imports() {
    let egress = json!({"egress": [
        {"port": {"number": 9000, "protocol": "TCP", "name": "t"}, "bind": "127.0.0.1", "captureMode": "NONE",
         "hosts": ["*/b.com"]},
        {"hosts": ["*/*"]},
    ]});
    let mesh =
        with(with(Mesh::default(), "a.com", "10.1.0.1", 9000, "HTTP"), "b.com", "10.1.0.2", 9000, "TCP");
    let all = mesh.object("Sidecar", "s", egress).listeners(&sidecar());
    assert_eq!(names(&all), ["0.0.0.0_9000", "10.1.0.2_9000", "127.0.0.1_9000"]);
    let own = find(&all, "127.0.0.1_9000");
    assert_eq!((own.bind_to_port, own.max_connections_to_accept_per_socket_event), (None, Some(1)));
}

#[test]
fn without_interception_listeners_bind_loopback_ports_that_the_pod_may_take() {
    let metadata = json!({"INTERCEPTION_MODE": "NONE", "UNPRIVILEGED_POD": "true"});
    let mesh = with(with(Mesh::default(), "a.com", "10.1.0.1", 80, "HTTP"), "b.com", "10.1.0.2", 8090, "TCP");
    let mesh = mesh.mesh(&json!({"proxyHttpPort": 15002}));
    let all = mesh.listeners(&node("sidecar", "", &metadata));
    assert_eq!(names(&all), ["127.0.0.1_8090", "127.0.0.1_15002"]);
    assert!(all.iter().all(|l| l.name != "virtualOutbound"));
    assert_eq!(routes(&find(&all, "127.0.0.1_15002").filter_chains[0]), "http_proxy");
}

#[test]
fn a_dual_stack_proxy_listens_on_both_wildcards() {
    let dual = node("sidecar", "", &json!({"INSTANCE_IPS": "10.0.0.1,fd00::1"}));
    let all = with(Mesh::default(), "a.com", "10.1.0.1", 80, "HTTP").listeners(&dual);
    assert_eq!(find(&all, "0.0.0.0_80").additional_addresses.len(), 1);
    assert!(find(&all, "virtualOutbound").additional_addresses.is_empty());
    let v6 = node("sidecar", "", &json!({"INSTANCE_IPS": "fd00::1"}));
    let all = with(Mesh::default(), "a.com", "10.1.0.1", 80, "HTTP").listeners(&v6);
    assert_eq!(names(&all), ["::_80"]);
}

#[test]
fn a_stock_envoy_gets_no_filter_of_istios() {
    let mesh = || {
        with(Mesh::default(), "a.com", "10.1.0.1", 80, "HTTP")
            .mesh(&json!({"defaultProviders": {"metrics": ["prometheus"]}}))
    };
    let http_filters = |all: &[Listener]| {
        let manager = http(&find(all, "0.0.0.0_80").filter_chains[0]);
        manager.http_filters.into_iter().map(|f| f.name).collect::<Vec<_>>()
    };
    let of_istio = http_filters(&mesh().listeners(&sidecar()));
    for name in ["istio.metadata_exchange", "istio.alpn", "istio.stats"] {
        assert!(of_istio.iter().any(|n| n == name), "{name} in {of_istio:?}");
    }
    let all = mesh().listeners(&stock(sidecar()));
    assert!(http_filters(&all).iter().all(|n| !n.starts_with("istio.")));
    let network = all.iter().flat_map(|l| l.filter_chains.iter().chain(&l.default_filter_chain));
    assert!(network.flat_map(|c| &c.filters).all(|f| !f.name.starts_with("istio.")));
}

#[test]
fn telemetry_chooses_logs_and_tracers() {
    let mesh = json!({"accessLogFile": "/dev/stdout", "extensionProviders": [
        {"name": "json", "envoyFileAccessLog": {"path": "/tmp/log", "logFormat": {"labels": {"a": "%PROTOCOL%"}}}},
        {"name": "zipkin", "zipkin": {"service": "z.com", "port": 9411}},
    ]});
    let telemetry = json!({
        "accessLogging": [{"providers": [{"name": "JSON"}], "filter": {"expression": "response.code >= 400"}}],
        "tracing": [{"providers": [{"name": "zipkin"}], "randomSamplingPercentage": 50, "enableIstioTags": false}],
    });
    let base = || with(Mesh::default(), "z.com", "10.1.0.1", 80, "HTTP").mesh(&mesh);
    let manager = |mesh: Mesh| http(&find(&mesh.listeners(&sidecar()), "0.0.0.0_80").filter_chains[0]);
    let plain = manager(base());
    assert_eq!((plain.access_log.len(), plain.access_log[0].filter.is_some()), (1, false));
    assert!(plain.tracing.unwrap().provider.is_none());
    let chosen = manager(base().object("Telemetry", "t", telemetry.clone()));
    assert_eq!((chosen.access_log.len(), chosen.access_log[0].filter.is_some()), (1, true));
    let tracing = chosen.tracing.unwrap();
    assert_eq!(tracing.provider.unwrap().name, "envoy.tracers.zipkin");
    assert_eq!((tracing.random_sampling.unwrap().value, tracing.custom_tags.len()), (50.0, 0));
    let elsewhere =
        json!({"selector": {"matchLabels": {"app": "other"}}, "accessLogging": telemetry["accessLogging"]});
    assert_eq!(manager(base().object("Telemetry", "t", elsewhere)).access_log, plain.access_log);
}

//! Routes: which virtual hosts there are, under which names, and where they lead.

mod common;

use common::{Mesh, node, sidecar};
use meltemi_api::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, route::Action, route_action::ClusterSpecifier,
};
use serde_json::{Value, json};

fn entry(host: &str, ports: &Value) -> Value {
    json!({"hosts": [host], "resolution": "STATIC", "ports": ports, "endpoints": [{"address": "10.0.0.9"}]})
}

fn http(number: u32) -> Value {
    json!({"number": number, "name": format!("http-{number}"), "protocol": "HTTP"})
}

/// `host` serves HTTP on port 80.
fn with_service(mesh: Mesh, host: &str) -> Mesh {
    mesh.object("ServiceEntry", host, entry(host, &json!([http(80)])))
}

/// A VirtualService of `host` with these HTTP rules.
fn virtual_service(host: &str, rules: &Value) -> Value {
    json!({"hosts": [host], "http": rules})
}

fn to(host: &str) -> Value {
    json!([{"destination": {"host": host}}])
}

fn hosts(config: &RouteConfiguration) -> Vec<&str> {
    config.virtual_hosts.iter().map(|h| h.name.as_str()).collect()
}

fn domains<'a>(config: &'a RouteConfiguration, host: &str) -> Vec<&'a str> {
    let found = config.virtual_hosts.iter().find(|h| h.name == host);
    found.map_or_else(Vec::new, |h| h.domains.iter().map(String::as_str).collect())
}

fn routes<'a>(config: &'a RouteConfiguration, host: &str) -> &'a [Route] {
    let found = config.virtual_hosts.iter().find(|h| h.name == host);
    &found.unwrap_or_else(|| panic!("no host {host} in {:?}", hosts(config))).routes
}

fn action(route: &Route) -> &RouteAction {
    match &route.action {
        Some(Action::Route(action)) => action,
        other => panic!("not forwarded: {other:?}"),
    }
}

fn cluster(route: &Route) -> &str {
    match &action(route).cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => name,
        other => panic!("not one cluster: {other:?}"),
    }
}

#[test]
fn a_name_that_means_nothing_has_no_hosts() {
    assert!(Mesh::default().route(&sidecar(), "nonsense").virtual_hosts.is_empty());
    assert_eq!(hosts(&Mesh::default().route(&sidecar(), "80")), ["allow_any"]);
    assert!(Mesh::default().route(&node("router", "", &json!({})), "http.80").virtual_hosts.is_empty());
}

#[test]
fn unknown_hosts_are_blocked_let_through_or_sent_to_a_proxy() {
    let policy = |policy: Value| {
        Mesh::default()
            .object("Sidecar", "s", json!({"outboundTrafficPolicy": policy}))
            .route(&sidecar(), "80")
    };
    assert_eq!(hosts(&policy(json!({"mode": "REGISTRY_ONLY"}))), ["block_all"]);
    let proxy = json!({"host": "egress.example", "port": {"number": 3128}});
    let through = policy(json!({"mode": "ALLOW_ANY", "egressProxy": proxy}));
    assert_eq!(cluster(&routes(&through, "allow_any")[0]), "outbound|3128||egress.example");
}

#[test]
fn a_port_that_stands_for_all_ports_needs_ports_in_host_names() {
    let mesh = Mesh::default().object("ServiceEntry", "a", entry("a.example", &json!([http(80), http(81)])));
    let config = mesh.route(&sidecar(), "http_proxy");
    assert_eq!(
        domains(&config, "a.example:80"),
        ["a.example", "a.example:80", "a.example.", "a.example.:80"]
    );
    assert_eq!(domains(&config, "a.example:81"), ["a.example:81", "a.example.:81"]);
}

#[test]
fn a_sniffed_port_serves_its_service_under_any_name() {
    let two = with_service(with_service(Mesh::default(), "a.example"), "b.example");
    let config = two.route(&sidecar(), "a.example:80");
    assert_eq!((hosts(&config), domains(&config, "a.example:80")), (vec!["a.example:80"], vec!["*"]));
}

#[test]
fn of_two_virtual_services_with_one_host_the_first_counts() {
    let mesh =
        with_service(with_service(with_service(Mesh::default(), "a.example"), "b.example"), "c.example")
            .object("VirtualService", "1", virtual_service("a.example", &json!([{"route": to("b.example")}])))
            .object(
                "VirtualService",
                "2",
                virtual_service("a.example", &json!([{"route": to("c.example")}])),
            );
    let config = mesh.route(&sidecar(), "80");
    assert_eq!(routes(&config, "a.example:80").len(), 1);
    assert_eq!(cluster(&routes(&config, "a.example:80")[0]), "outbound|80||b.example");
}

#[test]
fn a_virtual_service_without_a_route_for_the_proxy_leaves_the_default() {
    let rules = json!([{"match": [{"sourceLabels": {"app": "other"}}], "route": to("b.example")}]);
    let mesh = with_service(Mesh::default(), "a.example").object(
        "VirtualService",
        "a",
        virtual_service("a.example", &rules),
    );
    assert_eq!(cluster(&routes(&mesh.route(&sidecar(), "80"), "a.example:80")[0]), "outbound|80||a.example");
}

#[test]
fn what_comes_after_a_catch_all_is_left_out() {
    let rules = json!([
        {"match": [{"uri": {"prefix": "/x"}}, {"uri": {"prefix": "/"}}, {"uri": {"prefix": "/y"}}], "route": to("a.example")},
        {"route": to("b.example")},
    ]);
    let mesh = with_service(Mesh::default(), "a.example").object(
        "VirtualService",
        "a",
        virtual_service("a.example", &rules),
    );
    assert_eq!(routes(&mesh.route(&sidecar(), "80"), "a.example:80").len(), 2);
}

#[test]
fn a_delegate_adds_its_routes_within_the_roots_match() {
    let root = json!([{"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "sub"}}]);
    let sub =
        |prefix: &str| json!({"http": [{"match": [{"uri": {"prefix": prefix}}], "route": to("b.example")}]});
    let count = |prefix: &str| {
        let mesh = with_service(Mesh::default(), "a.example")
            .object("VirtualService", "root", virtual_service("a.example", &root))
            .object("VirtualService", "sub", sub(prefix));
        let config = mesh.route(&sidecar(), "80");
        cluster(&routes(&config, "a.example:80")[0]).to_owned()
    };
    assert_eq!(count("/a/b"), "outbound|80||b.example");
    assert_eq!(count("/b"), "outbound|80||a.example");
}

#[test]
fn hashing_follows_the_destinations_rule_and_drops_other_hosts_from_retries() {
    let rule = json!({"host": "b.example", "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}}});
    let mesh = with_service(with_service(Mesh::default(), "a.example"), "b.example")
        .object("DestinationRule", "b", rule)
        .object("VirtualService", "a", virtual_service("a.example", &json!([{"route": to("b.example")}])));
    let config = mesh.route(&sidecar(), "80");
    let (routed, plain) =
        (action(&routes(&config, "a.example:80")[0]), action(&routes(&config, "b.example:80")[0]));
    assert_eq!((routed.hash_policy.len(), plain.hash_policy.len()), (1, 1));
    let predicates =
        |action: &RouteAction| action.retry_policy.as_ref().map(|p| p.retry_host_predicate.len());
    assert_eq!((predicates(routed), predicates(plain)), (Some(0), Some(1)));
}

#[test]
fn hosts_of_a_gateway_with_the_same_routes_become_one() {
    let gateway = json!({"selector": {}, "servers": [
        {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*.example"]},
    ]});
    let rule = json!([{"route": to("b.example")}]);
    let both = json!({"hosts": ["y.example", "x.example"], "gateways": ["gw"], "http": rule});
    let more = json!({"hosts": ["z.example"], "gateways": ["ns/gw"], "http": rule});
    let mesh = |collapse: bool| {
        Mesh::default()
            .features(|f| f.route_collapse = collapse)
            .object("Gateway", "gw", gateway.clone())
            .object("VirtualService", "both", both.clone())
            .object("VirtualService", "more", more.clone())
    };
    let router = node("router", "", &json!({}));
    let config = mesh(true).route(&router, "http.80");
    assert_eq!(hosts(&config), ["x.example:80", "z.example:80"]);
    assert_eq!(domains(&config, "x.example:80"), ["x.example", "y.example"]);
    assert_eq!(hosts(&mesh(false).route(&router, "http.80")).len(), 3);
}

#[test]
fn a_redirect_to_https_knows_hosts_that_have_no_routes() {
    let gateway = json!({"selector": {}, "servers": [{
        "port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["a.example"], "tls": {"httpsRedirect": true},
    }]});
    let config =
        Mesh::default().object("Gateway", "gw", gateway).route(&node("router", "", &json!({})), "http.80");
    assert_eq!((hosts(&config), config.virtual_hosts[0].require_tls), (vec!["a.example:80"], 2));
}

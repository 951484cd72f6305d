//! What is known of a proxy's own workload.

mod common;

use common::{world, world_with};
use meltemi_api::envoy::config::core::v3::{Locality, Node};
use meltemi_api::wkt::json_to_struct;
use meltemi_world::features::Features;
use meltemi_world::snapshot::Settings;
use meltemi_world::{Proxy, World};
use serde_json::{Value, json};

const POD: &str = "
kind: Pod
metadata: {name: a-1, namespace: apps, labels: {app: a}}
spec: {nodeName: n1, containers: [{ports: [{name: web, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}]}
status: {podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}
---
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z}}
---
";

fn service(name: &str, year: u16, spec: &str) -> String {
    format!(
        "---\nkind: Service\nmetadata: {{name: {name}, namespace: apps, creationTimestamp: \
         '{year}-01-01T00:00:00Z'}}\nspec: {{{spec}}}\n"
    )
}

fn proxy(metadata: Value) -> Proxy {
    proxy_named("a-1", metadata)
}

fn proxy_named(name: &str, metadata: Value) -> Proxy {
    let Value::Object(mut fields) = metadata else { panic!("metadata must be an object") };
    fields.insert("NAMESPACE".into(), "apps".into());
    let node = Node {
        id: format!("sidecar~10.0.0.1~{name}.apps~apps.svc.cluster.local"),
        metadata: Some(json_to_struct(&fields)),
        locality: Some(Locality { region: "announced".into(), ..Locality::default() }),
        ..Node::default()
    };
    Proxy::from_node(&node, "cluster.local").unwrap()
}

/// The targets as `service:port->target`.
fn targets(world: &World, proxy: &Proxy) -> Vec<String> {
    let targets = world.snapshot().service_targets(&world.snapshot().resolve(proxy));
    targets.iter().map(|t| format!("{}:{}->{}", t.service.name, t.port.port, t.target_port)).collect()
}

#[test]
fn services_that_select_the_pod_oldest_first() {
    let yaml = POD.to_owned()
        + &service("young", 2021, "selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]")
        + &service("old", 2020, "selector: {app: a}, ports: [{name: http, port: 81}]")
        + &service("other", 2020, "selector: {app: b}, ports: [{name: http, port: 80}]")
        + &service("none", 2019, "ports: [{name: http, port: 80}]");
    assert_eq!(targets(&world(&yaml), &proxy(json!({}))), ["old:81->81", "young:80->8080"]);
}

#[test]
fn ports_that_lead_to_one_are_one_target() {
    let ports = "ports: [{name: http, port: 80, targetPort: web}, {name: http-more, port: 81, targetPort: 8080}, \
                 {name: tcp, port: 82, targetPort: 8080}, {name: dns, port: 53, targetPort: dns, protocol: UDP}, \
                 {name: lost, port: 84, targetPort: dns}]";
    let yaml = POD.to_owned() + &service("s", 2020, &format!("selector: {{app: a}}, {ports}"));
    assert_eq!(targets(&world(&yaml), &proxy(json!({}))), ["s:80->8080", "s:82->8080", "s:53->53"]);
}

#[test]
fn a_service_without_selector_is_found_by_its_endpoints() {
    let yaml = POD.to_owned()
        + &service("s", 2020, "clusterIP: None, ports: [{name: http, port: 80}]")
        + "---\nkind: EndpointSlice\nmetadata: {name: s-1, namespace: apps, labels: {kubernetes.io/service-name: \
           s}}\naddressType: IPv4\nports: [{name: http, port: 8088}]\nendpoints: [{addresses: [10.0.0.1]}, {addresses: \
           [10.0.0.2]}]\n";
    assert_eq!(targets(&world(&yaml), &proxy(json!({}))), ["s:80->8088"]);
}

#[test]
fn without_its_pod_a_proxy_is_taken_at_its_word() {
    let yaml = service("s", 2020, "selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]");
    let ports = r#"[{"name":"web","containerPort":8080,"protocol":"TCP"}]"#;
    let announced = proxy(json!({"LABELS": {"app": "a"}, "POD_PORTS": ports}));
    assert_eq!(targets(&world(&yaml), &announced), ["s:80->8080"]);
    assert!(targets(&world(&yaml), &proxy(json!({"LABELS": {"app": "b"}, "POD_PORTS": ports}))).is_empty());
    let elsewhere = proxy(json!({"LABELS": {"app": "a"}, "POD_PORTS": ports, "CLUSTER_ID": "other"}));
    assert!(targets(&world(&yaml), &elsewhere).is_empty());
}

#[test]
fn a_workload_entry_stands_behind_services_and_service_entries() {
    let yaml = service(
        "s",
        2020,
        "selector: {app: vm}, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 8080}]",
    ) + "---\nkind: WorkloadEntry\nmetadata: {name: vm, namespace: apps}\nspec: {address: 10.0.0.1, labels: {app: vm}}\n"
        + "---\nkind: ServiceEntry\nmetadata: {name: e, namespace: apps}\nspec: {hosts: [e.com], resolution: STATIC, \
           workloadSelector: {labels: {app: vm}}, ports: [{name: tcp, number: 90, protocol: TCP, targetPort: 91}]}\n";
    let world = world(&yaml);
    assert_eq!(targets(&world, &proxy(json!({}))), ["e.com:90->91", "s:80->8080"]);
    let labels = world.snapshot().workload_labels(&proxy(json!({})));
    assert_eq!(labels.get("app"), Some("vm"));
}

#[test]
fn labels_and_place_of_a_proxy() {
    let announced =
        proxy(json!({"LABELS": {"app": "announced"}, "STATIC_LABELS": {"x": "y", "app": "static"},
        "NODE_NAME": "n1", "NETWORK": "n"}));
    let known = world(POD).snapshot().resolve(&announced);
    assert_eq!((known.labels.get("app"), known.labels.get("x")), (Some("a"), Some("y")));
    assert_eq!(known.labels.get("topology.kubernetes.io/zone"), Some("z"));
    assert_eq!(known.labels.get("kubernetes.io/hostname"), Some("n1"));
    assert_eq!(known.labels.get("topology.istio.io/network"), Some("n"));
    assert_eq!(known.locality.label(), "r/z");

    let unknown = world("{kind: Namespace, metadata: {name: apps}}").snapshot().resolve(&announced);
    assert_eq!(
        (unknown.labels.get("app"), unknown.locality.label().as_str()),
        (Some("announced"), "announced")
    );
}

#[test]
fn a_pod_is_found_by_address_only_where_that_is_asked_for() {
    let stranger = proxy_named("somebody", json!({}));
    assert!(world(POD).snapshot().pod_of(&stranger).is_none());
    let features = Features { find_pod_by_ip: true, ..Features::default() };
    let world = world_with(Settings { features, ..Settings::default() }, POD);
    assert_eq!(world.snapshot().pod_of(&stranger).map(|p| p.name.to_string()), Some("a-1".into()));
}

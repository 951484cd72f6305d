//! Services and endpoints of Kubernetes.

mod common;

use common::{addresses, endpoints, removals, service, upserts, world, world_with};
use meltemi_world::convert::kube_service;
use meltemi_world::features::Features;
use meltemi_world::service::TrafficDistribution;
use meltemi_world::snapshot::Settings;
use meltemi_world::{Change, Health, Protocol, Resolution, ServiceKey};
use std::sync::Arc;

const POD: &str = "
kind: Pod
metadata: {name: a-1, namespace: apps, labels: {app: a}}
spec: {nodeName: n1, serviceAccountName: a, containers: [{ports: [{name: web, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}
";

const NODE: &str = "
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z}}
";

const SERVICE: &str = "
kind: Service
metadata: {name: a, namespace: apps}
spec: {clusterIP: 10.96.0.1, selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]}
";

const SLICE: &str = "
kind: EndpointSlice
metadata: {name: a-x, namespace: apps, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: a-1, namespace: apps}}
";

const HOST: &str = "a.apps.svc.cluster.local";

#[test]
fn an_endpoint_knows_its_pod_and_node() {
    let world = world(&[POD, NODE, SERVICE, SLICE].join("---"));
    let found = endpoints(&world, "apps", HOST);
    assert_eq!(addresses(&world, "apps", HOST), ["10.0.0.1:8080/http"]);
    let workload = &found[0].workload;
    assert_eq!(&*workload.service_account, "spiffe://cluster.local/ns/apps/sa/a");
    assert_eq!(workload.locality.label(), "r/z");
    assert_eq!(workload.labels.get("topology.istio.io/cluster"), Some("Kubernetes"));
    assert_eq!(workload.labels.get("kubernetes.io/hostname"), Some("n1"));
    assert_eq!(found[0].health, Health::Healthy);
    assert_eq!(service(&world, "apps", HOST).resolution, Resolution::ClientSideLb);
}

#[test]
fn an_endpoint_waits_for_its_pod() {
    let mut world = world(&[SERVICE, SLICE].join("---"));
    assert!(addresses(&world, "apps", HOST).is_empty());
    let set = world.apply(upserts(POD));
    assert_eq!(set.endpoints, [ServiceKey::new("apps", HOST)].into());
    // Clusters name the accounts of their workloads, and this one is new.
    assert_eq!(set.services, [ServiceKey::new("apps", HOST)].into());
    world.apply(removals(POD));
    assert!(addresses(&world, "apps", HOST).is_empty());
}

#[test]
fn a_change_that_says_nothing_new_is_none() {
    let all = [POD, NODE, SERVICE, SLICE].join("---");
    let mut world = world(&all);
    assert!(world.apply(upserts(&all)).is_empty());
    let newer = SERVICE.replace("name: a,", "name: a, resourceVersion: '7',");
    assert!(world.apply(upserts(&newer)).is_empty());
}

#[test]
fn an_external_name_is_an_alias_of_its_target() {
    let alias = "
kind: Service
metadata: {name: b, namespace: other}
spec: {type: ExternalName, externalName: a.apps.svc.cluster.local}
---
kind: Service
metadata: {name: c, namespace: other}
spec: {type: ExternalName, externalName: b.other.svc.cluster.local}
";
    let mut world = world(&[SERVICE, alias].join("---"));
    let hosts = |world: &_| {
        service(world, "apps", HOST).aliases.iter().map(|k| k.hostname.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(&world), ["b.other.svc.cluster.local", "c.other.svc.cluster.local"]);
    let set = world.apply(removals("{kind: Service, metadata: {name: b, namespace: other}}"));
    assert!(set.services.contains(&ServiceKey::new("apps", HOST)));
    assert!(hosts(&world).is_empty());
}

#[test]
fn an_endpoint_that_moves_between_slices_counts_once() {
    let second = SLICE.replace("a-x", "a-y");
    let mut world = world(&[POD, SERVICE, SLICE, &second].join("---"));
    assert_eq!(addresses(&world, "apps", HOST), ["10.0.0.1:8080/http"]);
    assert!(world.apply(removals(SLICE)).endpoints.is_empty());
    assert_eq!(world.apply(removals(&second)).endpoints.len(), 1);
}

#[test]
fn health_of_endpoints() {
    let session =
        SERVICE.replace("namespace: apps", "namespace: apps, labels: {istio.io/persistent-session: c}");
    let cases = [
        ("{}", Health::Healthy, Health::Healthy),
        ("{ready: true, terminating: true}", Health::Healthy, Health::Healthy),
        ("{ready: false, serving: false, terminating: false}", Health::Unhealthy, Health::Unhealthy),
        ("{ready: false, serving: true, terminating: true}", Health::Terminating, Health::Draining),
        ("{ready: false, serving: false, terminating: true}", Health::Terminating, Health::Terminating),
        ("{ready: false}", Health::Terminating, Health::Draining),
    ];
    for (conditions, plain, sticky) in cases {
        let slice = SLICE.replace("{ready: true}", conditions);
        for (service, health) in [(SERVICE, plain), (&*session, sticky)] {
            let world = world(&[POD, service, &slice].join("---"));
            assert_eq!(endpoints(&world, "apps", HOST)[0].health, health, "{conditions}");
        }
    }
}

#[test]
fn an_address_without_a_reference_still_finds_its_pod() {
    let bare = SLICE.replace("targetRef: {kind: Pod, name: a-1, namespace: apps}", "nodeName: n1");
    let mut world = world(&[SERVICE, &bare].join("---"));
    assert_eq!(&*endpoints(&world, "apps", HOST)[0].workload.name, "");
    world.apply(upserts(POD));
    assert_eq!(&*endpoints(&world, "apps", HOST)[0].workload.name, "a-1");
}

#[test]
fn a_dual_stack_endpoint_is_one() {
    let pod = POD.replace("podIP: 10.0.0.1,", "podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}],");
    let service =
        SERVICE.replace("clusterIP: 10.96.0.1,", "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd01::1'],");
    let v6 = SLICE.replace("a-x", "a-6").replace("[10.0.0.1]", "['fd00::1']").replace("IPv4", "IPv6");
    let yaml = [&*pod, &service, SLICE, &v6].join("---");
    assert_eq!(
        addresses(&world(&yaml), "apps", HOST),
        ["[fd00::1]:8080/http", "10.0.0.1:8080/http"].map(|a| a.replace(['[', ']'], ""))
    );
    let features = Features { dual_stack: true, ..Features::default() };
    let dual = world_with(Settings { features, ..Settings::default() }, &yaml);
    assert_eq!(addresses(&dual, "apps", HOST), ["10.0.0.1+fd00::1:8080/http"]);
}

#[test]
fn networks_of_endpoints() {
    let own = "kind: Namespace\nmetadata: {name: istio-system, labels: {topology.istio.io/network: n1}}\n";
    let labelled = POD.replace("app: a}", "app: a, topology.istio.io/network: n2}");
    let network = |world: &_| endpoints(world, "apps", HOST)[0].workload.network.to_string();
    let mut world = world(&[POD, SERVICE, SLICE].join("---"));
    assert_eq!(network(&world), "");
    let range = serde_json::json!({"networks": {"wide": {"endpoints": [{"fromCidr": "10.0.0.0/8"}]}}});
    let range = meltemi_api::object::decode(range).unwrap().value;
    assert!(world.apply(vec![Change::Networks(Arc::new(range))]).mesh);
    assert_eq!(network(&world), "wide");
    world.apply(upserts(own));
    assert_eq!(network(&world), "n1");
    world.apply(upserts(&labelled));
    assert_eq!(network(&world), "n2");
}

#[test]
fn the_older_endpoints_become_slices() {
    let yaml = "
kind: Endpoints
metadata: {name: a, namespace: apps}
subsets:
- {addresses: [{ip: 10.9.0.1}], notReadyAddresses: [{ip: 10.9.0.2}], ports: [{name: http, port: 90}]}
";
    let world = world(&[SERVICE, yaml].join("---"));
    assert_eq!(addresses(&world, "apps", HOST), ["10.9.0.1:90/http", "10.9.0.2:90/http"]);
    assert_eq!(endpoints(&world, "apps", HOST)[1].health, Health::Unhealthy);
}

#[test]
fn external_addresses_of_services() {
    let node = "kind: Node\nmetadata: {name: n1, labels: {edge: a}}\nstatus: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: ExternalIP, address: 192.0.2.1}]}\n";
    let service_of = |annotations: &str, spec: &str, status: &str| {
        let yaml = format!(
            "---\nkind: Service\nmetadata: {{name: a, namespace: apps, annotations: {{{annotations}}}}}\nspec: {{{spec}, ports: [{{port: 80, nodePort: 30080}}]}}\nstatus: {{{status}}}\n"
        );
        service(&world(&(node.to_owned() + &yaml)), "apps", HOST)
    };
    let balancer = service_of(
        "",
        "type: LoadBalancer, externalIPs: [192.0.2.9]",
        "loadBalancer: {ingress: [{ip: 192.0.2.7}, {hostname: lb}]}",
    );
    assert_eq!(balancer.external_addresses, ["192.0.2.7", "lb", "192.0.2.9"].map(Into::into));
    let selector = |value| format!("traffic.istio.io/nodeSelector: '{{\"edge\": \"{value}\"}}'");
    let gateway = service_of(&selector("a"), "type: NodePort", "");
    assert_eq!(gateway.external_addresses, ["192.0.2.1".into()]);
    assert_eq!(gateway.external_ports, [(80, 30080)].into());
    assert!(service_of(&selector("b"), "type: NodePort", "").external_addresses.is_empty());
    assert!(service_of("", "type: NodePort", "").external_ports.is_empty());
}

#[test]
fn traffic_distribution_is_inherited() {
    let space = |value: &str| {
        format!(
            "kind: Namespace\nmetadata: {{name: apps, annotations: {{networking.istio.io/traffic-distribution: {value}}}}}\n"
        )
    };
    let mut world = world(SERVICE);
    let found = |world: &_| service(world, "apps", HOST).traffic_distribution;
    assert_eq!(found(&world), TrafficDistribution::Any);
    assert_eq!(world.apply(upserts(&space("PreferClose"))).services, [ServiceKey::new("apps", HOST)].into());
    assert_eq!(found(&world), TrafficDistribution::PreferSameZone);
    world.apply(upserts(&SERVICE.replace("clusterIP:", "trafficDistribution: PreferSameNode, clusterIP:")));
    assert_eq!(found(&world), TrafficDistribution::PreferSameNode);
}

#[test]
fn protocols_of_ports() {
    let cases = [
        (80, "http-web", "TCP", None, Protocol::Http),
        (80, "web", "TCP", None, Protocol::Auto),
        (3306, "web", "TCP", None, Protocol::Tcp),
        (3306, "web", "TCP", Some("kubernetes.io/h2c"), Protocol::Http2),
        (80, "http", "TCP", Some("tcp"), Protocol::Tcp),
        (80, "GRPC-Web-x", "TCP", None, Protocol::GrpcWeb),
        (80, "grpcweb-x", "TCP", None, Protocol::Auto),
        (80, "http", "UDP", None, Protocol::Udp),
        (80, "", "TCP", Some("kubernetes.io/wss"), Protocol::Https),
    ];
    for (port, name, transport, app, protocol) in cases {
        assert_eq!(kube_service::protocol(port, name, transport, app), protocol, "{port} {name} {app:?}");
    }
}

//! ServiceEntries, WorkloadEntries, and Services that select them.

mod common;

use common::{addresses, endpoints, removals, service, upserts, world, world_with};
use meltemi_world::features::Features;
use meltemi_world::snapshot::Settings;
use meltemi_world::visibility::Visibility;
use meltemi_world::{Health, Resolution, ServiceKey};

fn entry(name: &str, spec: &str) -> String {
    format!("---\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: ns}}\nspec: {{{spec}}}\n")
}

fn workload(name: &str, spec: &str) -> String {
    format!("---\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: ns}}\nspec: {{{spec}}}\n")
}

fn pod(name: &str, ready: &str) -> String {
    format!(
        "---\nkind: Pod\nmetadata: {{name: {name}, namespace: ns, labels: {{app: a}}}}\nspec: {{containers: [{{ports: \
         [{{name: http, containerPort: 8088}}]}}]}}\nstatus: {{podIP: 10.0.0.1, conditions: [{{type: Ready, status: \
         '{ready}'}}]}}\n"
    )
}

const HTTP: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

#[test]
fn resolutions() {
    let cases = [
        ("NONE", Resolution::Passthrough, vec![]),
        ("STATIC", Resolution::ClientSideLb, vec![]),
        ("DNS", Resolution::DnsLb, vec!["a.com:80/http"]),
        ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobinLb, vec!["a.com:80/http"]),
        ("DYNAMIC_DNS", Resolution::DynamicDns, vec![]),
    ];
    for (name, resolution, found) in cases {
        let world = world(&entry("e", &format!("hosts: [a.com], resolution: {name}, {HTTP}")));
        assert_eq!(service(&world, "ns", "a.com").resolution, resolution, "{name}");
        assert_eq!(addresses(&world, "ns", "a.com"), found, "{name}");
    }
}

#[test]
fn the_addresses_of_a_service() {
    let cases = [
        ("", vec!["0.0.0.0"]),
        ("addresses: [10.1.2.3, '::1'],", vec!["10.1.2.3", "::1"]),
        ("addresses: [10.1.0.0/16, 10.2.0.1/32, wrong],", vec!["10.1.0.0/16", "10.2.0.1"]),
    ];
    for (given, found) in cases {
        let world = world(&entry("e", &format!("hosts: [a.com], {given} {HTTP}")));
        let service = service(&world, "ns", "a.com");
        assert_eq!(service.addresses.iter().map(|a| &**a).collect::<Vec<_>>(), found, "{given}");
    }
    let world = world(&entry("e", &format!("hosts: [a.com], addresses: [wrong], {HTTP}")));
    assert!(world.snapshot().registry.is_empty());
}

#[test]
fn allocated_addresses_come_from_the_status() {
    let yaml = |labels: &str, resolution: &str| {
        format!(
            "kind: ServiceEntry\nmetadata: {{name: e, namespace: ns, labels: {{{labels}}}}}\nspec: {{hosts: [a.com, \
             b.com], resolution: {resolution}, {HTTP}}}\nstatus: {{addresses: [{{host: a.com, value: '2001:2::1'}}, \
             {{host: a.com, value: 240.240.0.1}}, {{host: b.com, value: 240.240.0.2}}]}}\n"
        )
    };
    let auto = |world: &_| {
        service(world, "ns", "a.com").auto_addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(auto(&world(&yaml("", "DNS"))), ["240.240.0.1", "2001:2::1"]);
    assert!(auto(&world(&yaml("", "NONE"))).is_empty());
    assert!(auto(&world(&yaml("networking.istio.io/enable-autoallocate-ip: 'False'", "DNS"))).is_empty());
}

#[test]
fn ports_of_inline_endpoints() {
    // A socket has none; an endpoint's own port wins over targetPort, and that over the number.
    let ports = "ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: tcp, protocol: TCP, targetPort: 82}]";
    let list = "endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2, ports: {http: 7, tcp: 8}}, {address: 'unix:///x'}]";
    let world = world(&entry("e", &format!("hosts: [a.com], resolution: STATIC, {ports}, {list}")));
    let found = [
        "10.0.0.1:80/http",
        "10.0.0.1:82/tcp",
        "10.0.0.2:7/http",
        "10.0.0.2:8/tcp",
        "unix:///x:0/http",
        "unix:///x:0/tcp",
    ];
    assert_eq!(addresses(&world, "ns", "a.com"), found);
}

#[test]
fn what_an_endpoint_says_of_itself() {
    let list = "endpoints: [{address: 10.0.0.1, locality: r/z, network: n1, weight: 3, serviceAccount: s}]";
    let world = world(&entry("e", &format!("hosts: [a.com], resolution: STATIC, {HTTP}, {list}")));
    let found = &endpoints(&world, "ns", "a.com")[0];
    let workload = &found.workload;
    assert_eq!((workload.locality.label().as_str(), &*workload.network, found.weight), ("r/z", "n1", 3));
    assert_eq!(&*workload.service_account, "spiffe://cluster.local/ns/ns/sa/s");
    assert_eq!((&*workload.name, workload.istio_tls, found.health), ("e-0", true, Health::Unknown));
    assert_eq!(workload.labels.get("topology.istio.io/network"), Some("n1"));
}

#[test]
fn a_selector_finds_pods_and_workload_entries() {
    let select = format!("hosts: [a.com], workloadSelector: {{labels: {{app: a}}}}, {HTTP}");
    let vms = workload("vm", "address: 10.0.0.9, labels: {app: a}")
        + &workload("x", "address: 10.0.0.8, labels: {app: b}");
    let named = workload("dns", "address: vm.example.com, labels: {app: a}");
    let all =
        [entry("static", &format!("{select}, resolution: STATIC")), vms, named, pod("p", "True")].concat();
    let mut world = world(&all);
    assert_eq!(addresses(&world, "ns", "a.com"), ["10.0.0.1:8088/http", "10.0.0.9:80/http"]);
    world.apply(upserts(&entry("static", &format!("{select}, resolution: DNS"))));
    assert_eq!(
        addresses(&world, "ns", "a.com"),
        ["10.0.0.1:8088/http", "vm.example.com:80/http", "10.0.0.9:80/http"]
    );
    let set = world.apply(upserts(&pod("p", "False")));
    assert_eq!(set.endpoints, [ServiceKey::new("ns", "a.com")].into());
    assert_eq!(addresses(&world, "ns", "a.com"), ["vm.example.com:80/http", "10.0.0.9:80/http"]);
}

#[test]
fn a_service_selects_workload_entries() {
    let kube = |target: &str| {
        format!(
            "---\nkind: Service\nmetadata: {{name: a, namespace: ns}}\nspec: {{clusterIP: 10.96.0.1, selector: {{app: a}}, \
             ports: [{{name: http, port: 80, targetPort: {target}}}]}}\n"
        )
    };
    let vms = workload("v1", "address: 10.0.0.1, labels: {app: a}, ports: {http: 7, web: 8}")
        + &workload("v2", "address: 10.0.0.2, labels: {app: a}")
        + &workload("v3", "address: vm.example.com, labels: {app: a}");
    let cases = [("8080", vec!["10.0.0.1:7/http", "10.0.0.2:8080/http"]), ("web", vec!["10.0.0.1:8/http"])];
    for (target, found) in cases {
        let world = world(&(kube(target) + &vms));
        assert_eq!(addresses(&world, "ns", "a.ns.svc.cluster.local"), found, "{target}");
    }
    let features = Features { service_selects_workload_entries: false, ..Features::default() };
    let world = world_with(Settings { features, ..Settings::default() }, &(kube("8080") + &vms));
    assert!(addresses(&world, "ns", "a.ns.svc.cluster.local").is_empty());
}

#[test]
fn a_failing_health_check_takes_a_workload_out() {
    let vm = |status: &str| {
        format!(
            "---\nkind: WorkloadEntry\nmetadata: {{name: vm, namespace: ns, annotations: \
             {{proxy.istio.io/health-checks-enabled: 'true'}}}}\nspec: {{address: 10.0.0.1, labels: {{app: a}}}}\n{status}\n"
        )
    };
    let select =
        format!("hosts: [a.com], workloadSelector: {{labels: {{app: a}}}}, resolution: STATIC, {HTTP}");
    let mut world = world(&(entry("e", &select) + &vm("")));
    assert!(addresses(&world, "ns", "a.com").is_empty());
    world.apply(upserts(&vm("status: {conditions: [{type: Healthy, status: 'True'}]}")));
    assert_eq!(addresses(&world, "ns", "a.com"), ["10.0.0.1:80/http"]);
    world.apply(upserts(&vm("status: {conditions: [{type: Healthy, status: 'False'}]}")));
    assert!(addresses(&world, "ns", "a.com").is_empty());
}

#[test]
fn entries_of_one_host_are_one_service_and_the_oldest_decides() {
    let dated = |name: &str, year: u16, spec: &str| {
        entry(name, spec)
            .replace("namespace: ns", &format!("namespace: ns, creationTimestamp: '{year}-01-01T00:00:00Z'"))
    };
    let young =
        dated("a", 2021, "hosts: [a.com], resolution: DNS, ports: [{number: 81, name: tcp, protocol: TCP}]");
    let old = dated("b", 2020, &format!("hosts: [a.com], resolution: DNS, {HTTP}"));
    let other =
        dated("c", 2022, "hosts: [a.com], resolution: NONE, ports: [{number: 82, name: tls, protocol: TLS}]");
    let mut world = world(&[&*young, &old, &other].concat());
    let merged = service(&world, "ns", "a.com");
    assert_eq!((&*merged.object_name, merged.ports.iter().map(|p| p.port).collect()), ("b", vec![80, 81]));
    assert_eq!(addresses(&world, "ns", "a.com"), ["a.com:80/http", "a.com:81/tcp"]);
    world.apply(removals(&old));
    assert_eq!(&*service(&world, "ns", "a.com").object_name, "a");
}

#[test]
fn a_port_name_may_stand_for_two_ports() {
    let more =
        entry("f", "hosts: [a.com], resolution: DNS, ports: [{number: 81, name: http, protocol: HTTP}]");
    let world = world(&(entry("e", &format!("hosts: [a.com], resolution: DNS, {HTTP}")) + &more));
    let (service, endpoints) = (service(&world, "ns", "a.com"), endpoints(&world, "ns", "a.com"));
    for port in &service.ports {
        let behind: Vec<u32> = endpoints.iter().filter(|e| e.is_behind(port)).map(|e| e.port).collect();
        assert_eq!(behind, [port.port]);
    }
}

#[test]
fn a_kubernetes_service_keeps_its_host() {
    let kube = "kind: Service\nmetadata: {name: a, namespace: ns}\nspec: {clusterIP: 10.96.0.1}\n";
    let squatter = entry("e", &format!("hosts: [a.ns.svc.cluster.local], resolution: DNS, {HTTP}"));
    let world = world(&(kube.to_owned() + &squatter));
    assert_eq!(service(&world, "ns", "a.ns.svc.cluster.local").default_address(), "10.96.0.1");
}

#[test]
fn who_may_see_a_service() {
    let cases = [
        ("", None),
        ("exportTo: ['*'],", Some(Visibility::Public)),
        ("exportTo: ['.', b],", Some(Visibility::Namespaces(["ns".into(), "b".into()].into()))),
        ("exportTo: ['~'],", Some(Visibility::Namespaces([].into()))),
    ];
    for (given, visibility) in cases {
        let world = world(&entry("e", &format!("hosts: [a.com], {given} resolution: DNS, {HTTP}")));
        assert_eq!(service(&world, "ns", "a.com").export_to, visibility, "{given}");
    }
}

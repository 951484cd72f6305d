//! Name tables: which names a proxy resolves, and to what.

mod common;

use common::{Mesh, node};
use meltemi_translation::name_table::name_table;
use serde_json::{Value, json};

fn entry(resolution: &str, rest: &Value) -> Value {
    let mut entry = json!({
        "hosts": ["a.example.com"], "resolution": resolution,
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    });
    entry.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    entry
}

/// `NAME=ADDRESSES` of each name.
fn table(mesh: Mesh, kind: &str) -> Vec<String> {
    let table = mesh.ask(&node(kind, "r1", &json!({"NETWORK": "n1"})), name_table).table;
    table.iter().map(|(name, info)| format!("{name}={} {}", info.ips.join(","), info.registry)).collect()
}

#[test]
fn a_service_entry_is_known_by_its_addresses_but_not_by_ranges() {
    let cases = [
        (json!({"addresses": ["1.1.1.1", "1.1.1.2"]}), vec!["a.example.com=1.1.1.1,1.1.1.2 External"]),
        (json!({"addresses": ["1.1.1.0/24"]}), vec![]),
        (json!({}), vec![]),
    ];
    for (addresses, expected) in cases {
        let mesh = Mesh::default().object("ServiceEntry", "a", entry("DNS", &addresses));
        assert_eq!(table(mesh, "sidecar"), expected, "{addresses}");
    }
}

#[test]
fn entries_of_one_name_are_laid_together() {
    let of = |address: &str| entry("DNS", &json!({"addresses": [address], "hosts": ["a.example.com"]}));
    let mesh =
        Mesh::default().object("ServiceEntry", "a", of("1.1.1.1")).object("ServiceEntry", "b", of("1.1.1.2"));
    assert_eq!(table(mesh, "sidecar"), ["a.example.com=1.1.1.1,1.1.1.2 External"]);
}

#[test]
fn a_gateway_resolves_nothing() {
    let mesh = Mesh::default().object("ServiceEntry", "a", entry("DNS", &json!({"addresses": ["1.1.1.1"]})));
    assert!(table(mesh, "router").is_empty());
}

#[test]
fn a_headless_service_is_known_by_its_ready_pods_and_they_by_their_host_names() {
    let pod = |name: &str, ip: &str| {
        json!({
            "kind": "Pod", "metadata": {"name": name, "namespace": "ns"},
            "spec": {"hostname": name, "subdomain": "db"}, "status": {"podIP": ip, "podIPs": [{"ip": ip}]},
        })
    };
    let endpoint = |name: &str, ip: &str, ready: bool| {
        let to = json!({"kind": "Pod", "name": name, "namespace": "ns"});
        json!({"addresses": [ip], "conditions": {"ready": ready}, "targetRef": to})
    };
    let mesh = Mesh::default()
        .kubernetes(json!({
            "kind": "Service", "metadata": {"name": "db", "namespace": "ns"},
            "spec": {"clusterIP": "None", "ports": [{"name": "tcp", "port": 80}], "selector": {"app": "db"}},
        }))
        .kubernetes(pod("db-0", "10.0.0.5"))
        .kubernetes(pod("db-1", "10.0.0.6"))
        .kubernetes(json!({
            "kind": "EndpointSlice", "addressType": "IPv4", "ports": [{"name": "tcp", "port": 80}],
            "metadata": {"name": "db", "namespace": "ns", "labels": {"kubernetes.io/service-name": "db"}},
            "endpoints": [endpoint("db-0", "10.0.0.5", true), endpoint("db-1", "10.0.0.6", false)],
        }));
    let expected =
        ["db-0.db.ns.svc.cluster.local=10.0.0.5 Kubernetes", "db.ns.svc.cluster.local=10.0.0.5 Kubernetes"];
    assert_eq!(table(mesh, "sidecar"), expected);
}

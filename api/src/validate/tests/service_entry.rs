use super::{Row, check, check_as, meta};
use serde_json::{Value as Json, json};

fn entry(resolution: &str, more: Json) -> Json {
    let ports = json!([{"number": 80, "name": "http", "protocol": "HTTP"}]);
    let mut entry = json!({"hosts": ["a.example.com"], "resolution": resolution, "ports": ports});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

fn port(name: &str, number: u32, protocol: &str) -> Json {
    json!({"name": name, "number": number, "protocol": protocol})
}

#[test]
fn hosts_and_addresses() {
    let hosts = |hosts: Json| entry("NONE", json!({"hosts": hosts}));
    let rows: [Row<'static>; 12] = [
        (hosts(json!(["a.example.com", "*.example.org", "short"])), &[], &[]),
        (hosts(json!([])), &["hosts"], &[]),
        (hosts(json!(["*"])), &["hosts[0]"], &[]),
        (hosts(json!(["a.*.com"])), &["hosts[0]"], &["hosts[0]"]),
        (hosts(json!(["*-a.com"])), &[], &["hosts[0]"]),
        (entry("NONE", json!({"addresses": ["10.0.0.0/8", "10.0.0.1", "2001:1::/64"]})), &[], &[]),
        (entry("STATIC", json!({"addresses": ["10.0.0.0/8"]})), &[], &[]),
        (entry("DNS", json!({"addresses": ["10.0.0.0/8"]})), &["addresses[0]"], &[]),
        (entry("DNS", json!({"addresses": ["a.b.c"]})), &["addresses[0]"], &[]),
        (entry("NONE", json!({"exportTo": ["~"]})), &[], &[]),
        (entry("NONE", json!({"exportTo": ["~", "a"]})), &["exportTo"], &[]),
        (entry("NONE", json!({"exportTo": [".", "own"]})), &["exportTo[1]"], &[]),
    ];
    check("ServiceEntry", rows);
}

#[test]
fn ports() {
    let ports = |ports: Json| entry("STATIC", json!({"ports": ports}));
    let rows: [Row<'static>; 7] = [
        (ports(json!([port("a", 1, "HTTP"), port("b", 2, "tcp")])), &[], &[]),
        (ports(json!([port("a", 1, "HTTP"), port("a", 2, "HTTP")])), &["ports[1].name"], &[]),
        (ports(json!([port("a", 1, "HTTP"), port("b", 1, "HTTP")])), &["ports[1].number"], &[]),
        (ports(json!([port("", 1, "")])), &["ports[0].name"], &[]),
        (ports(json!([port("a", 0, "HTTP")])), &["ports[0].number"], &[]),
        (ports(json!([port("a", 1, "SCTP")])), &["ports[0].protocol"], &[]),
        (
            ports(json!([{"name": "a", "number": 1, "protocol": "HTTP", "targetPort": 70000}])),
            &["ports[0].targetPort"],
            &[],
        ),
    ];
    check("ServiceEntry", rows);
    let tcp = entry("NONE", json!({"ports": [port("a", 1, "TCP")]}));
    check("ServiceEntry", [(tcp, &[][..], &["ports[0]"][..])]);
    let mut meta = meta();
    meta.labels.insert("networking.istio.io/enable-autoallocate-ip".into(), "false".into());
    check_as("ServiceEntry", &meta, ports(json!([port("a", 1, "")])), &[], &["ports[0]"]);
}

#[test]
fn endpoints_by_resolution() {
    let of = |resolution, endpoint: Json| entry(resolution, json!({"endpoints": [endpoint]}));
    let rows: [Row<'static>; 18] = [
        (of("NONE", json!({"address": "10.0.0.1"})), &["endpoints"], &[]),
        (of("STATIC", json!({"address": "10.0.0.1", "ports": {"http": 8080}})), &[], &[]),
        (of("STATIC", json!({"address": "a.example.com"})), &["endpoints[0].address"], &[]),
        (of("STATIC", json!({"address": "unix:///a"})), &[], &[]),
        (of("STATIC", json!({"network": "n"})), &[], &["endpoints[0].address"]),
        (
            of("STATIC", json!({"address": "10.0.0.1", "ports": {"grpc": 1}})),
            &["endpoints[0].ports[grpc]"],
            &[],
        ),
        (
            of("STATIC", json!({"address": "10.0.0.1", "labels": {"a": "-"}})),
            &["endpoints[0].labels[a]"],
            &[],
        ),
        (entry("DNS", json!({})), &[], &[]),
        (entry("DNS", json!({"hosts": ["*.example.com"]})), &["hosts[0]"], &[]),
        (of("DNS", json!({"address": "b.example.com"})), &[], &[]),
        (of("DNS", json!({"address": "10.0.0.1"})), &[], &[]),
        (of("DNS", json!({"address": "*.example.com"})), &["endpoints[0].address"], &[]),
        (of("DNS", json!({"address": "unix:///a"})), &["endpoints[0].address"], &[]),
        (of("DNS", json!({"address": "b.com", "ports": {"h": 1}})), &["endpoints[0].ports[h]"], &[]),
        (of("DNS_ROUND_ROBIN", json!({"address": "b.com"})), &[], &[]),
        (
            entry("DNS_ROUND_ROBIN", json!({"endpoints": [{"address": "b.com"}, {"address": "c.com"}]})),
            &["endpoints"],
            &[],
        ),
        (entry("NONE", json!({"workloadSelector": {"labels": {"a": "b"}}})), &[], &["workloadSelector"]),
        (
            entry(
                "STATIC",
                json!({"workloadSelector": {"labels": {"a": "b"}}, "endpoints": [{"address": "10.0.0.1"}]}),
            ),
            &["workloadSelector"],
            &[],
        ),
    ];
    check("ServiceEntry", rows);
}

#[test]
fn several_hosts_are_told_apart() {
    let two = |resolution, protocol, more: Json| {
        let mut entry =
            entry(resolution, json!({"hosts": ["a.com", "b.com"], "ports": [port("a", 1, protocol)]}));
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let rows: [Row<'static>; 5] = [
        (two("DNS", "HTTP", json!({})), &[], &[]),
        (two("DNS", "TLS", json!({})), &[], &[]),
        (two("DNS", "TCP", json!({})), &["ports[0].protocol"], &[]),
        (two("NONE", "MONGO", json!({})), &[], &[]),
        (two("DNS", "TLS", json!({"addresses": ["10.0.0.1"]})), &[], &["hosts"]),
    ];
    check("ServiceEntry", rows);
}

#[test]
fn dynamic_dns() {
    let of = |more: Json| {
        let mut wild = json!({"hosts": ["*.example.com"]});
        wild.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry("DYNAMIC_DNS", wild)
    };
    let rows: [Row<'static>; 5] = [
        (of(json!({})), &[], &[]),
        (of(json!({"hosts": ["a.com"]})), &["hosts[0]"], &[]),
        (of(json!({"addresses": ["10.0.0.1"]})), &["addresses"], &[]),
        (of(json!({"endpoints": [{"address": "10.0.0.1"}]})), &["endpoints"], &[]),
        (of(json!({"ports": [port("a", 1, "HTTPS")]})), &["ports[0].protocol"], &[]),
    ];
    check("ServiceEntry", rows);
    let mut meta = meta();
    meta.labels.insert("istio.io/use-waypoint".into(), "a".into());
    let internal = of(json!({"location": "MESH_INTERNAL"}));
    check_as("ServiceEntry", &meta, internal.clone(), &["location"], &[]);
    check_as("ServiceEntry", &self::meta(), internal, &[], &[]);
}

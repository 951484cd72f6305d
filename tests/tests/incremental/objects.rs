//! Random objects of a small world: few names, so that changes meet.

mod kube;
mod policy;
mod traffic;

use std::sync::LazyLock;

use serde_json::{Value, json};

/// A small generator (xorshift64*): the same seed gives the same sequence everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap_or(0) % n
    }

    pub fn one<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

const NAMESPACES: [&str; 3] = ["one", "two", "istio-system"];
const APPS: [&str; 3] = ["a", "b", "c"];
const HOSTS: [&str; 6] =
    ["a", "b", "a.one.svc.cluster.local", "b.two.svc.cluster.local", "db.example.com", "*.example.com"];

/// A random object. Objects of equal kind, namespace and name replace each other.
pub fn object(dice: &mut Dice) -> Value {
    match dice.below(30) {
        0..=2 => kube::service(dice),
        3..=5 => kube::slice(dice),
        6 => kube::pod(dice),
        7 => kube::namespace(dice),
        8 => kube::node(dice),
        9 => kube::ingress(dice),
        10 => kube::ingress_class(dice),
        11 | 12 => traffic::virtual_service(dice),
        13 | 14 => traffic::destination_rule(dice),
        15 | 16 => traffic::gateway(dice),
        17 | 18 => traffic::service_entry(dice),
        19 => traffic::workload_entry(dice),
        20 => traffic::workload_group(dice),
        21 => traffic::sidecar(dice),
        22 => traffic::proxy_config(dice),
        23 | 24 => policy::policy(dice),
        25 => secret(dice),
        26 => grant(dice),
        27 => policy::telemetry(dice),
        28 => policy::extension(dice),
        _ => policy::envoy_filter(dice),
    }
}

/// Settings of the mesh.
pub const MESHES: [&str; 5] = [
    "{}",
    r#"{"ingressControllerMode": "DEFAULT", "accessLogFile": "/dev/stdout"}"#,
    r#"{"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}, "trustDomainAliases": ["old"]}"#,
    r#"{"discoverySelectors": [{"matchLabels": {"seen": "yes"}}]}"#,
    r#"{"serviceEntryVisibility": {"defaultVisibility": "NAMESPACE"}}"#,
];
/// Networks of the mesh.
pub const NETWORKS: [&str; 2] = [
    "{}",
    r#"{"networks": {"n1": {"endpoints": [{"fromCidr": "10.9.0.0/24"}], "gateways": [{"address": "192.0.2.9", "port": 15443}]}}}"#,
];

/// Names that extensions are asked for by, whether there are such or not.
pub const EXTENSIONS: [&str; 4] = [
    "extensions.istio.io/trafficextension/one.x",
    "extensions.istio.io/trafficextension/two.x",
    "extensions.istio.io/trafficextension/istio-system.x",
    "x",
];

/// Names that secrets are asked for by, whether there are such or not.
pub const SECRETS: [&str; 6] = [
    "kubernetes://tls-a",
    "kubernetes://tls-a-cacert",
    "kubernetes://two/tls-a",
    "kubernetes-gateway://istio-system/tls-b",
    "kubernetes-gateway://two/tls-a",
    "configmap://two/tls-a",
];

/// Two certificates with their keys.
static PAIRS: LazyLock<[(String, String); 2]> = LazyLock::new(|| {
    [(); 2].map(|()| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["a.test".to_owned()]).expect("a name");
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    })
});

fn secret(dice: &mut Dice) -> Value {
    let (namespace, name) = (dice.one(&NAMESPACES[1..]), dice.one(&["tls-a", "tls-b", "tls-a-cacert"]));
    let (certificate, key) = &PAIRS[dice.below(2)];
    let mut data = json!({"tls.crt": certificate, "tls.key": key});
    match dice.below(4) {
        0 => data["ca.crt"] = certificate.as_str().into(),
        1 => data = json!({"cacert": certificate}),
        2 => data["tls.key"] = PAIRS[0].1.as_str().into(),
        _ => {}
    }
    let kind = if dice.chance(20) { "ConfigMap" } else { "Secret" };
    let field = if kind == "Secret" { "stringData" } else { "data" };
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, field: data})
}

fn grant(dice: &mut Dice) -> Value {
    let from = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": dice.one(&NAMESPACES[1..])});
    let mut to = json!({"group": "", "kind": "Secret"});
    if dice.chance(50) {
        to["name"] = dice.one(&["tls-a", "tls-b"]).into();
    }
    named(
        "gateway.networking.k8s.io/v1",
        "ReferenceGrant",
        "two",
        "grant",
        json!({"from": [from], "to": [to]}),
    )
}

fn named(api: &str, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

fn istio(group: &str, kind: &str, dice: &mut Dice, names: &[&str], spec: Value) -> Value {
    let namespace = dice.one(&NAMESPACES);
    named(&format!("{group}.istio.io/v1"), kind, namespace, dice.one(names), spec)
}

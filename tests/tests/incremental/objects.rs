//! Random objects of a small world: few names, so that changes meet.

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
    match dice.below(20) {
        0..=2 => service(dice),
        3..=5 => slice(dice),
        6 => pod(dice),
        7 => namespace(dice),
        8 | 9 => virtual_service(dice),
        10 | 11 => destination_rule(dice),
        12 => gateway(dice),
        13 => service_entry(dice),
        14 => workload_entry(dice),
        15 => sidecar(dice),
        16 => policy(dice),
        17 => secret(dice),
        18 => grant(dice),
        _ => shaping(dice),
    }
}

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

fn service(dice: &mut Dice) -> Value {
    let (namespace, name) = (dice.one(&NAMESPACES), dice.one(&APPS));
    let port = dice.one(&["http", "tcp", "grpc-x", "auto", "https"]);
    let n = dice.below(3);
    let mut spec = json!({
        "selector": {"app": name},
        "ports": [{"name": port, "port": 80 + n, "targetPort": 8080}],
        "clusterIP": format!("10.96.{}.{}", namespace.len(), 1 + name.as_bytes()[0] % 10),
    });
    match dice.below(8) {
        0 => spec["clusterIP"] = json!("None"),
        1 => {
            spec = json!({"type": "ExternalName", "externalName": "b.two.svc.cluster.local", "ports": spec["ports"]});
        }
        2 => spec["ports"].as_array_mut().expect("a list").push(json!({"name": "tcp-more", "port": 9000})),
        3 => spec["internalTrafficPolicy"] = json!("Local"),
        _ => {}
    }
    let mut out = named("v1", "Service", namespace, name, spec);
    if dice.chance(15) {
        out["metadata"]["annotations"] =
            json!({"networking.istio.io/exportTo": dice.one(&[".", "*", "two", "~"])});
    }
    out
}

fn slice(dice: &mut Dice) -> Value {
    let (namespace, name) = (dice.one(&NAMESPACES), dice.one(&APPS));
    let count = 1 + dice.below(3);
    let endpoints: Vec<_> = (0..count)
        .map(|i| {
            let mut endpoint = json!({
                "addresses": [format!("10.1.{}.{}", namespace.len(), 10 * (1 + i) + dice.below(2))],
                "conditions": {"ready": dice.chance(85)},
            });
            if i == 0 && name == "a" && namespace == "one" {
                endpoint["addresses"] = json!(["10.244.0.1"]);
                endpoint["targetRef"] = json!({"kind": "Pod", "name": "a-1", "namespace": "one"});
            }
            endpoint
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{name}-{}", dice.below(2)), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": dice.one(&["http", "tcp", "auto"]), "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

fn pod(dice: &mut Dice) -> Value {
    let mut labels = json!({"app": dice.one(&["a", "b"]), "version": dice.one(&["v1", "v2"])});
    if dice.chance(50) {
        labels["security.istio.io/tlsMode"] = json!("istio");
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a-1", "namespace": "one", "labels": labels},
        "spec": {"serviceAccountName": dice.one(&["a", "b"]), "nodeName": "node",
            "containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": "10.244.0.1", "podIPs": [{"ip": "10.244.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn namespace(dice: &mut Dice) -> Value {
    let mut out =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": dice.one(&NAMESPACES)}});
    if dice.chance(50) {
        out["metadata"]["annotations"] = json!({"networking.istio.io/traffic-distribution": "PreferClose"});
    }
    out
}

fn destination(dice: &mut Dice) -> Value {
    let mut out = json!({"host": dice.one(&HOSTS[..5])});
    if dice.chance(40) {
        out["subset"] = json!(dice.one(&["v1", "v2"]));
    }
    if dice.chance(40) {
        out["port"] = json!({"number": 80 + dice.below(3)});
    }
    out
}

fn virtual_service(dice: &mut Dice) -> Value {
    let weight = dice.below(101);
    let mut http = json!({"route": [
        {"destination": destination(dice), "weight": weight},
        {"destination": destination(dice), "weight": 100 - weight},
    ]});
    match dice.below(5) {
        0 => http["match"] = json!([{"uri": {"prefix": "/x"}, "sourceLabels": {"version": "v1"}}]),
        1 => http["match"] = json!([{"headers": {"x": {"exact": "1"}}, "sourceNamespace": "one"}]),
        2 => http["retries"] = json!({"attempts": 3, "perTryTimeout": "1s"}),
        3 => http["fault"] = json!({"abort": {"httpStatus": 500, "percentage": {"value": 10}}}),
        _ => http["timeout"] = json!("5s"),
    }
    let mut spec = json!({"hosts": [dice.one(&HOSTS)], "http": [http]});
    match dice.below(5) {
        0 => spec["gateways"] = json!(["istio-system/gw"]),
        1 => spec["gateways"] = json!(["mesh", "istio-system/gw"]),
        2 => spec["tcp"] = json!([{"route": [{"destination": destination(dice)}]}]),
        3 => spec["exportTo"] = json!([dice.one(&[".", "two"])]),
        _ => {}
    }
    istio("networking", "VirtualService", dice, &["x", "y"], spec)
}

fn destination_rule(dice: &mut Dice) -> Value {
    let policy = match dice.below(6) {
        0 => json!({"loadBalancer": {"simple": "ROUND_ROBIN"}}),
        1 => json!({"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}}),
        2 => json!({"tls": {"mode": dice.one(&["DISABLE", "SIMPLE", "ISTIO_MUTUAL"])}}),
        3 => json!({"outlierDetection": {"consecutive5xxErrors": 1 + dice.below(3)}}),
        4 => json!({"connectionPool": {"tcp": {"maxConnections": 1 + dice.below(5)}}}),
        _ => json!({}),
    };
    let mut spec = json!({"host": dice.one(&HOSTS), "trafficPolicy": policy, "subsets": [
        {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}]});
    match dice.below(6) {
        0 => spec["workloadSelector"] = json!({"matchLabels": {"version": "v1"}}),
        1 => spec["exportTo"] = json!(["."]),
        _ => {}
    }
    istio("networking", "DestinationRule", dice, &["x", "y"], spec)
}

fn gateway(dice: &mut Dice) -> Value {
    let credential = dice.one(&["cert", SECRETS[3], SECRETS[4]]);
    let server = match dice.below(4) {
        0 => json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}),
        1 => {
            json!({"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*.example.com"],
            "tls": {"mode": dice.one(&["SIMPLE", "MUTUAL"]), "credentialName": credential}})
        }
        2 => json!({"port": {"number": 443, "name": "tls", "protocol": "TLS"}, "hosts": ["*"],
            "tls": {"mode": "PASSTHROUGH"}}),
        _ => json!({"port": {"number": 9000, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}),
    };
    let name = dice.one(&["gw", "gw2"]);
    let spec = json!({"selector": {"istio": "ingressgateway"}, "servers": [server]});
    named("networking.istio.io/v1", "Gateway", "istio-system", name, spec)
}

fn service_entry(dice: &mut Dice) -> Value {
    let mut spec = json!({
        "hosts": [dice.one(&HOSTS[3..])],
        "location": dice.one(&["MESH_EXTERNAL", "MESH_INTERNAL"]),
        "ports": [{"number": dice.one(&["443", "5432", "80"]).parse::<u16>().expect("a number"),
            "name": dice.one(&["tls", "http", "tcp"]), "protocol": dice.one(&["TLS", "HTTP", "TCP"])}],
    });
    match dice.below(4) {
        0 => spec["resolution"] = json!("NONE"),
        1 => {
            spec["resolution"] = json!("STATIC");
            spec["workloadSelector"] = json!({"labels": {"app": "a"}});
        }
        2 => {
            spec["resolution"] = json!("STATIC");
            spec["endpoints"] = json!([{"address": format!("10.9.0.{}", 1 + dice.below(3))}]);
        }
        _ => spec["resolution"] = json!("DNS"),
    }
    if dice.chance(30) {
        spec["addresses"] = json!(["10.200.0.1"]);
    }
    istio("networking", "ServiceEntry", dice, &["x", "y"], spec)
}

fn workload_entry(dice: &mut Dice) -> Value {
    let spec = json!({"address": format!("10.8.0.{}", 1 + dice.below(3)), "labels": {"app": dice.one(&APPS)},
        "serviceAccount": "vm"});
    istio("networking", "WorkloadEntry", dice, &["x", "y"], spec)
}

fn sidecar(dice: &mut Dice) -> Value {
    let mut spec =
        json!({"egress": [{"hosts": [dice.one(&["./*", "*/*", "two/*", "*/b.two.svc.cluster.local"])]}]});
    match dice.below(4) {
        0 => spec["workloadSelector"] = json!({"labels": {"version": "v1"}}),
        1 => spec["outboundTrafficPolicy"] = json!({"mode": "REGISTRY_ONLY"}),
        2 => {
            spec["ingress"] = json!([{"port": {"number": 8080, "name": "http", "protocol": "HTTP"},
                "defaultEndpoint": "127.0.0.1:8080"}]);
        }
        _ => {}
    }
    istio("networking", "Sidecar", dice, &["x", "y"], spec)
}

fn policy(dice: &mut Dice) -> Value {
    match dice.below(3) {
        0 => {
            let mode = dice.one(&["STRICT", "PERMISSIVE", "DISABLE"]);
            let mut spec = json!({"mtls": {"mode": mode}});
            if dice.chance(40) {
                spec["selector"] = json!({"matchLabels": {"app": "a"}});
                spec["portLevelMtls"] = json!({"8080": {"mode": "DISABLE"}});
            }
            istio("security", "PeerAuthentication", dice, &["default", "x"], spec)
        }
        1 => {
            let mut spec = json!({"action": dice.one(&["ALLOW", "DENY"]), "rules": [{
                "from": [{"source": {"namespaces": ["one"]}}],
                "to": [{"operation": {"methods": ["GET"]}}]}]});
            if dice.chance(40) {
                spec["selector"] = json!({"matchLabels": {"app": "a"}});
            }
            istio("security", "AuthorizationPolicy", dice, &["x", "y"], spec)
        }
        _ => {
            let spec = json!({"jwtRules": [{"issuer": "i", "jwks": "{\"keys\":[]}"}]});
            istio("security", "RequestAuthentication", dice, &["x"], spec)
        }
    }
}

fn shaping(dice: &mut Dice) -> Value {
    if dice.chance(50) {
        let spec =
            json!({"accessLogging": [{"providers": [{"name": "envoy"}], "disabled": dice.chance(50)}]});
        return istio("telemetry", "Telemetry", dice, &["default"], spec);
    }
    let spec = json!({"configPatches": [{
        "applyTo": "CLUSTER", "match": {"context": "ANY"},
        "patch": {"operation": "MERGE", "value": {"connect_timeout": format!("{}s", 1 + dice.below(4))}}}]});
    let namespace = dice.one(&NAMESPACES);
    named("networking.istio.io/v1alpha3", "EnvoyFilter", namespace, "x", spec)
}

//! Objects of Kubernetes.

use super::{APPS, Dice, NAMESPACES, named};
use serde_json::{Value, json};

pub(super) fn service(dice: &mut Dice) -> Value {
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

pub(super) fn slice(dice: &mut Dice) -> Value {
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

pub(super) fn pod(dice: &mut Dice) -> Value {
    let (name, namespace, ip) = [("a-1", "one", "10.244.0.1"), ("b-1", "two", "10.244.0.2")][dice.below(2)];
    let mut labels = json!({"app": dice.one(&["a", "b"]), "version": dice.one(&["v1", "v2"])});
    if dice.chance(50) {
        labels["security.istio.io/tlsMode"] = json!("istio");
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"serviceAccountName": dice.one(&["a", "b"]), "nodeName": "node",
            "containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        "status": {"phase": dice.one(&["Running", "Running", "Failed"]), "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// A node that Pods are on, in a zone, or one that gateways by node ports are reached at.
pub(super) fn node(dice: &mut Dice) -> Value {
    let labels =
        json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": dice.one(&["z", "z2"])});
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node", "labels": labels},
        "status": {"addresses": [{"type": "ExternalIP", "address": dice.one(&["192.0.2.1", "192.0.2.2"])}]}})
}

pub(super) fn namespace(dice: &mut Dice) -> Value {
    let name = dice.one(&NAMESPACES);
    let mut out = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {}}});
    if dice.chance(30) {
        out["metadata"]["annotations"] = json!({"networking.istio.io/traffic-distribution": "PreferClose"});
    }
    if dice.chance(60) {
        out["metadata"]["labels"]["seen"] = json!("yes");
    }
    if name == "istio-system" && dice.chance(30) {
        out["metadata"]["labels"]["topology.istio.io/network"] = json!("n1");
    }
    out
}

pub(super) fn ingress(dice: &mut Dice) -> Value {
    let path = |dice: &mut Dice| {
        let port = if dice.chance(50) {
            json!({"name": dice.one(&["http", "tcp", "auto"])})
        } else {
            json!({"number": 80 + dice.below(3)})
        };
        json!({"path": dice.one(&["/", "/a", "/a/b/"]), "pathType": dice.one(&["Exact", "Prefix"]),
            "backend": {"service": {"name": dice.one(&APPS), "port": port}}})
    };
    let rule = json!({"host": dice.one(&["", "x.test", "*.example.com"]), "http": {"paths": [path(dice), path(dice)]}});
    let mut spec = json!({"rules": [rule]});
    if dice.chance(40) {
        spec["tls"] = json!([{"hosts": ["x.test"], "secretName": "tls-b"}]);
    }
    if dice.chance(50) {
        spec["ingressClassName"] = json!("mine");
    }
    let (namespace, name) = (dice.one(&NAMESPACES[..2]), dice.one(&["i", "j"]));
    let mut out = named("networking.k8s.io/v1", "Ingress", namespace, name, spec);
    if dice.chance(50) {
        out["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "istio"});
    }
    out
}

pub(super) fn ingress_class(dice: &mut Dice) -> Value {
    let controller = dice.one(&["istio.io/ingress-controller", "example.com/other"]);
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "mine"},
        "spec": {"controller": controller}})
}

//! How traffic goes.

use super::{APPS, Dice, HOSTS, NAMESPACES, SECRETS, istio, named};
use serde_json::{Value, json};

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

pub(super) fn virtual_service(dice: &mut Dice) -> Value {
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
    if dice.chance(15) {
        return delegate(dice, &http);
    }
    if dice.chance(20) {
        http.as_object_mut().expect("an object").remove("route");
        http["delegate"] = json!({"name": "leaf", "namespace": dice.one(&["one", "two"])});
    }
    let mut spec = json!({"hosts": [dice.one(&HOSTS)], "http": [http]});
    match dice.below(5) {
        0 => spec["gateways"] = json!([dice.one(&["istio-system/gw", "two/gw"])]),
        1 => spec["gateways"] = json!(["mesh", "istio-system/gw"]),
        2 => spec["tcp"] = json!([{"route": [{"destination": destination(dice)}]}]),
        3 => spec["exportTo"] = json!([dice.one(&[".", "two"])]),
        _ => {}
    }
    istio("networking", "VirtualService", dice, &["x", "y"], spec)
}

/// What another VirtualService delegates to.
fn delegate(dice: &mut Dice, http: &Value) -> Value {
    let mut spec = json!({"http": [http]});
    if dice.chance(30) {
        spec["exportTo"] = json!(["."]);
    }
    named("networking.istio.io/v1", "VirtualService", dice.one(&["one", "two"]), "leaf", spec)
}

pub(super) fn destination_rule(dice: &mut Dice) -> Value {
    let policy = match dice.below(7) {
        0 => json!({"loadBalancer": {"simple": "ROUND_ROBIN"}}),
        1 => json!({"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}}),
        2 => json!({"tls": {"mode": dice.one(&["DISABLE", "SIMPLE", "ISTIO_MUTUAL"])}}),
        3 => json!({"outlierDetection": {"consecutive5xxErrors": 1 + dice.below(3)}}),
        5 => {
            json!({"loadBalancer": {"localityLbSetting": {"enabled": true, "failoverPriority": ["topology.kubernetes.io/zone"]}},
            "outlierDetection": {}})
        }
        4 => json!({"connectionPool": {"tcp": {"maxConnections": 1 + dice.below(5)}}}),
        _ => Value::Null,
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

pub(super) fn gateway(dice: &mut Dice) -> Value {
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
    named("networking.istio.io/v1", "Gateway", dice.one(&["istio-system", "istio-system", "two"]), name, spec)
}

pub(super) fn service_entry(dice: &mut Dice) -> Value {
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
        _ => {
            spec["resolution"] = json!("DNS");
            if spec["hosts"][0].as_str().is_some_and(|host| host.starts_with('*')) {
                spec["endpoints"] = json!([{"address": "db.example.com"}]);
            }
        }
    }
    if dice.chance(30) {
        spec["addresses"] = json!(["10.200.0.1"]);
    }
    istio("networking", "ServiceEntry", dice, &["x", "y"], spec)
}

pub(super) fn workload_entry(dice: &mut Dice) -> Value {
    let spec = json!({"address": format!("10.8.0.{}", 1 + dice.below(3)), "labels": {"app": dice.one(&APPS)},
        "serviceAccount": "vm", "network": dice.one(&["", "n1"]), "locality": dice.one(&["", "r/z2"])});
    istio("networking", "WorkloadEntry", dice, &["x", "y"], spec)
}

pub(super) fn sidecar(dice: &mut Dice) -> Value {
    let mut spec =
        json!({"egress": [{"hosts": [dice.one(&["./*", "*/*", "two/*", "*/b.two.svc.cluster.local"])]}]});
    if dice.chance(20) {
        spec["egress"] = json!([{"port": {"number": 81, "name": "x", "protocol": dice.one(&["HTTP", "TCP"])},
            "hosts": [dice.one(&["./*", "two/*"])]}, {"hosts": ["*/*"]}]);
    }
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

pub(super) fn workload_group(dice: &mut Dice) -> Value {
    let spec =
        json!({"metadata": {"labels": {"app": dice.one(&APPS)}}, "template": {"serviceAccount": "vm"}});
    istio("networking", "WorkloadGroup", dice, &["x"], spec)
}

/// Settings of proxies that are fixed when they start.
pub(super) fn proxy_config(dice: &mut Dice) -> Value {
    let mut spec = json!({"concurrency": dice.below(3)});
    if dice.chance(50) {
        spec["selector"] = json!({"matchLabels": {"app": "a"}});
    }
    named("networking.istio.io/v1beta1", "ProxyConfig", dice.one(&NAMESPACES), "x", spec)
}

//! Who may do what, what is seen of it, and what users change by hand.

use super::{Dice, NAMESPACES, istio, named};
use serde_json::{Value, json};

pub(super) fn policy(dice: &mut Dice) -> Value {
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

/// The selector of some policies.
fn select(dice: &mut Dice, spec: &mut Value) {
    match dice.below(4) {
        0 => spec["selector"] = json!({"matchLabels": {"app": "a"}}),
        1 => {
            spec["targetRefs"] =
                json!([{"group": "networking.istio.io", "kind": "ServiceEntry", "name": "x"}]);
        }
        _ => {}
    }
}

pub(super) fn telemetry(dice: &mut Dice) -> Value {
    let mut spec = match dice.below(3) {
        0 => json!({"accessLogging": [{"providers": [{"name": "envoy"}], "disabled": dice.chance(50)}]}),
        1 => {
            json!({"tracing": [{"randomSamplingPercentage": dice.below(100), "providers": [{"name": "zipkin"}]}]})
        }
        _ => {
            json!({"metrics": [{"providers": [{"name": "prometheus"}], "overrides": [{"disabled": dice.chance(50)}]}]})
        }
    };
    if dice.chance(40) {
        spec["selector"] = json!({"matchLabels": {"version": "v1"}});
    }
    istio("telemetry", "Telemetry", dice, &["default", "x"], spec)
}

pub(super) fn extension(dice: &mut Dice) -> Value {
    if dice.chance(50) {
        let spec = json!({"url": "oci://registry.test/m:1", "phase": dice.one(&["AUTHN", "STATS"]),
            "imagePullSecret": "tls-a", "selector": {"matchLabels": {"app": dice.one(&["a", "b"])}}});
        return named("extensions.istio.io/v1alpha1", "WasmPlugin", dice.one(&NAMESPACES), "x", spec);
    }
    let mut spec = json!({"lua": {"inlineCode": format!("-- {}", dice.below(3))}});
    select(dice, &mut spec);
    spec.as_object_mut().expect("an object").remove("targetRefs");
    named("extensions.istio.io/v1alpha1", "TrafficExtension", dice.one(&NAMESPACES), "x", spec)
}

pub(super) fn envoy_filter(dice: &mut Dice) -> Value {
    let number = 1 + dice.below(4);
    let merge = |value: Value| json!({"operation": "MERGE", "value": value});
    let lua = json!({"name": "x", "typed_config":
        {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua", "inlineCode": "-- x"}});
    let (apply_to, patch) = match dice.below(8) {
        0 | 1 => ("CLUSTER", merge(json!({"connect_timeout": format!("{number}s")}))),
        2 => ("LISTENER", merge(json!({"per_connection_buffer_limit_bytes": number}))),
        3 => ("ROUTE_CONFIGURATION", merge(json!({"request_headers_to_remove": [format!("x{number}")]}))),
        4 => ("VIRTUAL_HOST", merge(json!({"retry_policy": {"num_retries": number}}))),
        5 => ("HTTP_FILTER", json!({"operation": "INSERT_FIRST", "value": lua})),
        6 => ("EXTENSION_CONFIG", json!({"operation": "ADD", "value": lua})),
        _ => ("HTTP_ROUTE", merge(json!({"name": format!("r{number}")}))),
    };
    let context = dice.one(&["ANY", "SIDECAR_OUTBOUND", "SIDECAR_INBOUND", "GATEWAY"]);
    let mut spec =
        json!({"configPatches": [{"applyTo": apply_to, "match": {"context": context}, "patch": patch}]});
    match dice.below(4) {
        0 => spec["workloadSelector"] = json!({"labels": {"version": "v1"}}),
        1 => spec["priority"] = json!(number),
        _ => {}
    }
    let (namespace, name) = (dice.one(&NAMESPACES), dice.one(&["x", "y"]));
    named("networking.istio.io/v1alpha3", "EnvoyFilter", namespace, name, spec)
}

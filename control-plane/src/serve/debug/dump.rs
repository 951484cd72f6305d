//! What a proxy should have, in the form of Envoy's own configuration dump.

use axum::http::StatusCode;
use meltemi_api::json::to_json;
use meltemi_server::{Connection, Resource};
use serde_json::{Value, json};
use std::sync::Arc;

use super::{Answer, Look, NOT_CONNECTED, Query, proxies};

const PREFIX: &str = "type.googleapis.com/";
/// `[redacted]`, as JSON writes bytes.
const REDACTED: &str = "W3JlZGFjdGVkXQ==";

/// istiod's short names of types.
const TYPES: [(&str, &str); 8] = [
    ("cds", "envoy.config.cluster.v3.Cluster"),
    ("eds", "envoy.config.endpoint.v3.ClusterLoadAssignment"),
    ("lds", "envoy.config.listener.v3.Listener"),
    ("rds", "envoy.config.route.v3.RouteConfiguration"),
    ("sds", "envoy.extensions.transport_sockets.tls.v3.Secret"),
    ("ecds", "envoy.config.core.v3.TypedExtensionConfig"),
    ("nds", "istio.networking.nds.v1.NameTable"),
    ("pcds", "istio.mesh.v1alpha1.ProxyConfig"),
];

/// The dump of one proxy.
pub(super) fn config_dump(look: &Look, query: &Query) -> Answer {
    let connection = match proxies::find(look, query) {
        Ok(connection) => connection,
        Err(answer) => return answer,
    };
    if let Some(types) = query.get("types") {
        let configs = types.split(',').flat_map(|short| list(&connection, short)).collect::<Value>();
        return Answer::Json(json!({ "configs": configs }));
    }
    Answer::Json(dump(&connection, query.has("include_eds")))
}

/// The resources of one type.
pub(super) fn of_type(look: &Look, query: &Query, short: &str) -> Answer {
    match proxies::find(look, query) {
        Ok(connection) => Answer::Json(json!({"configs": list(&connection, short)})),
        Err(answer) => answer,
    }
}

/// The dump of one connection, should there be one of that id.
pub(crate) fn of_proxy(look: &Look, id: &str) -> Result<Value, &'static str> {
    let query = Query::read(&format!("proxyID={id}"));
    match config_dump(look, &query) {
        Answer::Json(dump) => Ok(dump),
        Answer::Problem(StatusCode::BAD_REQUEST, text) => Err(text),
        _ => Err(NOT_CONNECTED),
    }
}

fn dump(connection: &Connection, with_endpoints: bool) -> Value {
    let clusters: Value = resources(connection, "cds").iter().map(|r| json!({"cluster": r.json()})).collect();
    let listeners: Value = resources(connection, "lds")
        .iter()
        .map(|r| {
            let state = json!({"versionInfo": r.version(), "listener": r.json()});
            json!({"name": r.name(), "activeState": state})
        })
        .collect();
    let versioned = |short, field: &str| -> Value {
        resources(connection, short)
            .iter()
            .map(|r| json!({"versionInfo": r.version(), field: r.json()}))
            .collect()
    };
    let part = |name: &str, field: &str, list: Value| json!({"@type": format!("{PREFIX}envoy.admin.v3.{name}"), field: list});
    let mut configs = vec![json!({"@type": format!("{PREFIX}envoy.admin.v3.BootstrapConfigDump")})];
    configs.push(part("ClustersConfigDump", "dynamicActiveClusters", clusters));
    if with_endpoints {
        let endpoints = versioned("eds", "endpointConfig");
        configs.push(part("EndpointsConfigDump", "dynamicEndpointConfigs", endpoints));
    }
    configs.push(part("ListenersConfigDump", "dynamicListeners", listeners));
    configs.push(json!({"@type": format!("{PREFIX}envoy.admin.v3.ScopedRoutesConfigDump")}));
    configs.push(part("RoutesConfigDump", "dynamicRouteConfigs", versioned("rds", "routeConfig")));
    configs.push(part("SecretsConfigDump", "dynamicActiveSecrets", versioned("sds", "secret")));
    configs.push(part("EcdsConfigDump", "ecdsFilters", versioned("ecds", "ecdsFilter")));
    json!({ "configs": configs })
}

fn list(connection: &Connection, short: &str) -> Vec<Value> {
    resources(connection, short).iter().map(Shown::json).collect()
}

/// A resource with its type.
struct Shown {
    type_url: String,
    resource: Arc<Resource>,
}

impl Shown {
    fn name(&self) -> &str {
        &self.resource.name
    }

    fn version(&self) -> String {
        self.resource.version_text()
    }

    /// The resource as an `Any` reads in JSON. Private keys are left out.
    fn json(&self) -> Value {
        let mut out = json!({"@type": self.type_url});
        match to_json(&self.type_url, &self.resource.body) {
            Ok(Value::Object(fields)) => {
                for (name, mut value) in fields {
                    redact(&name, &mut value);
                    out[name] = value;
                }
            }
            Ok(_) => {}
            Err(error) => out["error"] = format!("cannot be shown: {error}").into(),
        }
        out
    }
}

/// What a proxy should have of a type that it asks for.
fn resources(connection: &Connection, short: &str) -> Vec<Shown> {
    let Some((_, name)) = TYPES.iter().find(|(known, _)| *known == short) else { return Vec::new() };
    let type_url = format!("{PREFIX}{name}");
    let Some(state) = connection.types().into_iter().find(|t| *t.status.type_url == *type_url) else {
        return Vec::new();
    };
    let subscription = state.status.subscription;
    let Some(all) = connection.proxy.view().resources(&type_url, &subscription) else { return Vec::new() };
    all.iter()
        .filter(|r| subscription.covers(&r.name))
        .map(|r| Shown { type_url: type_url.clone(), resource: r.clone() })
        .collect()
}

/// Takes secrets out of a JSON value.
fn redact(name: &str, value: &mut Value) {
    match value {
        _ if matches!(
            name,
            "privateKey" | "privateKeyProvider" | "password" | "genericSecret" | "sessionTicketKeys"
        ) =>
        {
            *value = json!({"inlineBytes": REDACTED});
        }
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| redact(name, value)),
        Value::Array(items) => items.iter_mut().for_each(|value| redact("", value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_never_shown() {
        let mut secret =
            json!({"privateKey": {"inlineString": "s3cret"}, "certificateChain": {"inlineBytes": "eA=="}});
        redact("tlsCertificate", &mut secret);
        assert_eq!(secret["privateKey"], json!({"inlineBytes": REDACTED}));
        assert_eq!(secret["certificateChain"]["inlineBytes"], "eA==");
    }
}

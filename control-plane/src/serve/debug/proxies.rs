//! Connected proxies.

use meltemi_server::{Connection, TypeState};
use meltemi_world::Proxy;
use serde_json::{Map, Value, json};
use std::sync::Arc;

use super::{Answer, Look, NO_PROXY_ID, NOT_CONNECTED, Query, services, time};
use axum::http::StatusCode;

/// The fields that name the nonces of a type, as well as the map by type does; istiod's older clients read these.
const FIELDS: [(&str, &str); 5] = [
    ("type.googleapis.com/envoy.config.cluster.v3.Cluster", "cluster"),
    ("type.googleapis.com/envoy.config.listener.v3.Listener", "listener"),
    ("type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "route"),
    ("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "endpoint"),
    ("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "extensionconfig"),
];

/// The connection that `proxyID` names: a part of its id is enough, as in istiod.
pub(super) fn find(look: &Look, query: &Query) -> Result<Arc<Connection>, Answer> {
    let id = query.get("proxyID").ok_or(Answer::Problem(StatusCode::BAD_REQUEST, NO_PROXY_ID))?;
    let found = look.proxies.connections().into_iter().find(|c| c.id.contains(id));
    found.ok_or(Answer::Problem(StatusCode::NOT_FOUND, NOT_CONNECTED))
}

/// What each proxy was sent and accepted.
pub(super) fn syncz(look: &Look, query: &Query) -> Answer {
    let of_namespace =
        |c: &Arc<Connection>| query.get("namespace").is_none_or(|ns| c.metadata("NAMESPACE") == Some(ns));
    Answer::Json(look.proxies.connections().iter().filter(|c| of_namespace(c)).map(|c| sync(c)).collect())
}

fn sync(connection: &Connection) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, text: &str| {
        if !text.is_empty() {
            out.insert(name.to_owned(), text.into());
        }
    };
    let id = &connection.node.id;
    put("cluster_id", connection.metadata("CLUSTER_ID").unwrap_or_default());
    put("proxy", id);
    put("proxy_type", id.split('~').next().unwrap_or_default());
    put("istio_version", connection.metadata("ISTIO_VERSION").unwrap_or_default());
    let mut resources = Map::new();
    for state in connection.types() {
        let status = &state.status;
        let [sent, acked] =
            [&status.nonce_sent, &status.nonce_acked].map(|n| n.as_deref().unwrap_or_default());
        if let Some((_, field)) = FIELDS.iter().find(|(url, _)| *url == &*status.type_url) {
            put(&format!("{field}_sent"), sent);
            put(&format!("{field}_acked"), acked);
        }
        resources.insert(status.type_url.to_string(), resource(&state, sent, acked));
    }
    if !resources.is_empty() {
        out.insert("resources".to_owned(), resources.into());
    }
    out.into()
}

fn resource(state: &TypeState, sent: &str, acked: &str) -> Value {
    let mut out = Map::new();
    let error = state.status.error.as_deref().unwrap_or_default();
    let sent_at = state.sent_at.map(time).unwrap_or_default();
    for (name, text) in [("sent", sent), ("acked", acked), ("sentTime", &sent_at), ("lastError", error)] {
        if !text.is_empty() {
            out.insert(name.to_owned(), text.into());
        }
    }
    out.into()
}

/// What is known of each connection.
pub(super) fn adsz(look: &Look, query: &Query) -> Answer {
    if query.get("push").is_some() {
        // A proxy has all that it should have, or is about to: there is nothing that could be pushed.
        return Answer::Text(format!("Pushed to {} servers\n", look.proxies.len()));
    }
    let connections = match query.get("proxyID") {
        None => look.proxies.connections(),
        Some(_) => match find(look, query) {
            Ok(connection) => vec![connection],
            Err(answer) => return answer,
        },
    };
    let clients = connections.iter().map(|c| {
        let mut client = brief(c);
        let metadata = c.node.metadata.as_ref().map(meltemi_api::wkt::struct_to_json).unwrap_or_default();
        if let Some(labels) = metadata.get("LABELS") {
            client["labels"] = labels.clone();
        }
        client["metadata"] = metadata;
        if let Some(locality) = &c.node.locality {
            client["locality"] =
                json!({"region": locality.region, "zone": locality.zone, "sub_zone": locality.sub_zone});
        }
        client["watches"] = watches(c);
        client
    });
    Answer::Json(json!({"totalClients": connections.len(), "clients": clients.collect::<Value>()}))
}

fn watches(connection: &Connection) -> Value {
    let of_type = |state: TypeState| {
        let subscription = &state.status.subscription;
        let names: Value = subscription.names().iter().map(|n| n.to_string()).collect();
        (state.status.type_url.to_string(), names)
    };
    Value::Object(connection.types().into_iter().map(of_type).collect())
}

/// The connections, in short.
pub(super) fn connections(look: &Look, _: &Query) -> Answer {
    let all = look.proxies.connections();
    Answer::Json(
        json!({"totalClients": all.len(), "clients": all.iter().map(|c| brief(c)).collect::<Value>()}),
    )
}

fn brief(connection: &Connection) -> Value {
    json!({
        "connectionId": &*connection.id,
        "connectedAt": time(connection.connected_at),
        "address": connection.peer.address.map(|a| a.to_string()).unwrap_or_default(),
    })
}

/// The service ports that each proxy stands behind.
pub(super) fn instancesz(look: &Look, _: &Query) -> Answer {
    let snapshot = look.world.snapshot();
    let mut out = Map::new();
    for connection in look.proxies.connections() {
        let Ok(announced) = Proxy::from_node(&connection.node, &snapshot.settings.domain) else { continue };
        let targets = snapshot.service_targets(&snapshot.resolve(&announced));
        let target = |t: &meltemi_world::registry::ServiceTarget| {
            let mut port = services::port(&t.port);
            port["TargetPort"] = t.target_port.into();
            json!({"Service": services::service(&snapshot, &t.service), "Port": port})
        };
        out.insert(connection.node.id.clone(), targets.iter().map(target).collect());
    }
    Answer::Json(out.into())
}

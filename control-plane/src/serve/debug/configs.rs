//! Configuration objects, the mesh's configuration, and what is wrong with them.

use meltemi_world::{Config, Kind, Meta, Snapshot};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

use super::{Answer, Look, Query};
use crate::sources::Diagnostic;
use crate::sources::decode::{UNDATED, kinds};

/// How many secrets are shown that proxies cannot have.
const MOST_SECRETS: usize = 1000;

/// All configuration objects, as Kubernetes would show them. One that was refused as it stands has `rejected`, the reasons;
/// what else is shown of it is its last good version, if there is one.
pub(super) fn configz(look: &Look, _: &Query) -> Answer {
    let snapshot = look.world.snapshot();
    let s: &Snapshot = &snapshot;
    let mut out = Vec::new();
    list(&mut out, Kind::AuthorizationPolicy, s.authorization_policies.values());
    list(&mut out, Kind::DestinationRule, s.destination_rules.values());
    list(&mut out, Kind::EnvoyFilter, s.envoy_filters.values());
    list(&mut out, Kind::Gateway, s.all_gateways());
    list(&mut out, Kind::PeerAuthentication, s.peer_authentications.values());
    list(&mut out, Kind::ProxyConfig, s.proxy_configs.values());
    list(&mut out, Kind::RequestAuthentication, s.request_authentications.values());
    list(&mut out, Kind::ServiceEntry, s.service_entries.values());
    list(&mut out, Kind::Sidecar, s.sidecars.values());
    list(&mut out, Kind::Telemetry, s.telemetries.values());
    list(&mut out, Kind::VirtualService, s.all_virtual_services());
    list(&mut out, Kind::WasmPlugin, s.wasm_plugins.values());
    list(&mut out, Kind::WorkloadEntry, s.workload_entries.values());
    list(&mut out, Kind::WorkloadGroup, s.workload_groups.values());
    for finding in look.world.findings().iter().filter(|f| f.is_error()) {
        reject(&mut out, finding);
    }
    Answer::Json(out.into())
}

fn reject(out: &mut Vec<Value>, finding: &Diagnostic) {
    let Some(resource) = kinds::RESOURCES.iter().find(|r| r.crd && r.kind.name() == finding.kind) else {
        return;
    };
    let (namespace, name) = (&*finding.object.namespace, &*finding.object.name);
    // A finding about all objects of a kind names none of them.
    if namespace.is_empty() || name.is_empty() {
        return;
    }
    let same = |o: &Value| {
        let meta = &o["metadata"];
        o["kind"] == finding.kind.as_str() && meta["name"] == name && meta["namespace"] == namespace
    };
    let at = out.iter().position(same).unwrap_or_else(|| {
        let api = format!("{}/{}", resource.group, resource.versions[0]);
        let metadata = json!({"name": name, "namespace": namespace});
        out.push(json!({"kind": finding.kind, "apiVersion": api, "metadata": metadata}));
        out.len() - 1
    });
    let reason = match finding.field.as_str() {
        "" => finding.message.clone(),
        field => format!("{field}: {}", finding.message),
    };
    match &mut out[at]["rejected"] {
        Value::Array(reasons) => reasons.push(reason.into()),
        none => *none = json!([reason]),
    }
}

fn list<'a, T: Serialize + 'a>(
    out: &mut Vec<Value>,
    kind: Kind,
    objects: impl Iterator<Item = &'a std::sync::Arc<Config<T>>>,
) {
    let resource = kinds::resource(kind);
    let api = resource.map(|r| format!("{}/{}", r.group, r.versions[0])).unwrap_or_default();
    out.extend(objects.map(|object| {
        let spec = serde_json::to_value(&object.spec).unwrap_or_default();
        json!({"kind": kind.name(), "apiVersion": api, "metadata": metadata(&object.meta), "spec": spec})
    }));
}

fn metadata(meta: &Meta) -> Value {
    let mut out = Map::new();
    out.insert("name".to_owned(), (*meta.name).into());
    out.insert("namespace".to_owned(), (*meta.namespace).into());
    if !meta.resource_version.is_empty() {
        out.insert("resourceVersion".to_owned(), (*meta.resource_version).into());
    }
    if meta.generation != 0 {
        out.insert("generation".to_owned(), meta.generation.into());
    }
    out.insert("creationTimestamp".to_owned(), creation(meta.creation).map_or(Value::Null, Value::from));
    for (name, labels) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
        if !labels.is_empty() {
            let all = labels.iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
            out.insert(name.to_owned(), Value::Object(all));
        }
    }
    out.into()
}

/// When something was created, if that is known.
pub(super) fn creation(seconds: i64) -> Option<String> {
    let known = seconds != 0 && seconds != UNDATED;
    known.then(|| jiff::Timestamp::from_second(seconds).ok()).flatten().map(|t| t.to_string())
}

/// The kinds that are read.
pub(super) fn resourcesz(_: &Look, _: &Query) -> Answer {
    let kind =
        |r: &kinds::Resource| json!({"Group": r.group, "Version": r.versions[0], "Kind": r.kind.name()});
    Answer::Json(kinds::RESOURCES.iter().map(kind).collect())
}

/// The mesh's configuration.
pub(super) fn mesh(look: &Look, _: &Query) -> Answer {
    Answer::Json(serde_json::to_value(&*look.world.snapshot().mesh).unwrap_or_default())
}

/// What is wrong: first what the sources found, object by object, then what the world found when it put them together,
/// patches that do not apply, and secrets that cannot be had.
pub(super) fn problems(look: &Look, _: &Query) -> Answer {
    let snapshot = look.world.snapshot();
    let of_world = snapshot.diagnostics.values().flat_map(|all| all.iter()).map(|d| {
        json!({"severity": "warning", "kind": d.kind.name(), "object": d.object.to_string(), "field": d.field,
            "message": d.message})
    });
    let of_sources = look.world.findings();
    let patches = look.patches.of(&snapshot).into_iter().map(|f| {
        json!({"severity": "warning", "kind": Kind::EnvoyFilter.name(), "object": f.filter.to_string(),
            "field": format!("spec.configPatches[{}]", f.at), "message": format!("does not apply: {}", f.reason)})
    });
    Answer::Json(of_sources.iter().map(finding).chain(of_world).chain(patches).chain(secrets(look)).collect())
}

/// The secrets that connected proxies ask for and cannot have, of each kind of proxy once.
fn secrets(look: &Look) -> impl Iterator<Item = Value> {
    let mut found = BTreeSet::new();
    for connection in look.proxies.connections() {
        let proxy = connection.peer.identities.first().unwrap_or(&connection.node.id);
        found.extend(connection.proxy.problems().into_iter().map(|(name, why)| (proxy.clone(), name, why)));
        if found.len() >= MOST_SECRETS {
            break;
        }
    }
    found.into_iter().take(MOST_SECRETS).map(|(proxy, name, why)| {
        json!({"severity": "error", "kind": "secret", "object": *name, "proxy": proxy, "message": why})
    })
}

fn finding(finding: &Diagnostic) -> Value {
    let mut out = json!({"severity": finding.severity.name(), "message": finding.message});
    let mut put = |field: &str, text: String| {
        if !text.is_empty() {
            out[field] = text.into();
        }
    };
    put("at", finding.place.as_ref().map(ToString::to_string).unwrap_or_default());
    put("kind", finding.kind.clone());
    put("object", finding.object.to_string());
    put("field", finding.field.clone());
    out
}

/// What the world found, by object, in the shape of istiod's page.
pub(super) fn push_status(look: &Look, _: &Query) -> Answer {
    let snapshot = look.world.snapshot();
    let mut by_object = Map::new();
    for finding in snapshot.diagnostics.values().flat_map(|all| all.iter()) {
        by_object.insert(format!("{} {}", finding.kind, finding.object), json!({"message": finding.message}));
    }
    Answer::Json(json!({"ProxyStatus": {"meltemi_findings": by_object}}))
}

//! Istio's own objects: metadata and a `spec` that is a protobuf message.

use meltemi_api::k8s::ObjectMeta;
use meltemi_api::object::under_spec;
use meltemi_api::validate::{self, Finding, Findings, Validate};
use meltemi_world::config::{Config, Status};
use meltemi_world::convert::project;
use meltemi_world::{Kind, Object};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

use super::{Bad, Cx, Json, relaxed};

/// What stands around a `spec`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    metadata: ObjectMeta,
    #[serde(skip)]
    spec: Value,
    #[serde(skip)]
    status: Option<Arc<Status>>,
}

/// Reads an object of Istio's.
pub(super) fn read(cx: &mut Cx<'_>, json: Json<'_>) -> Result<Object, Bad> {
    let envelope = envelope(cx, json)?;
    Ok(match cx.kind {
        Kind::VirtualService => Object::VirtualService(config(cx, envelope)?),
        Kind::DestinationRule => Object::DestinationRule(config(cx, envelope)?),
        Kind::ServiceEntry => Object::ServiceEntry(config(cx, envelope)?),
        Kind::WorkloadEntry => Object::WorkloadEntry(config(cx, envelope)?),
        Kind::WorkloadGroup => Object::WorkloadGroup(config(cx, envelope)?),
        Kind::Sidecar => Object::Sidecar(config(cx, envelope)?),
        Kind::Gateway => Object::Gateway(config(cx, envelope)?),
        Kind::EnvoyFilter => Object::EnvoyFilter(config(cx, envelope)?),
        Kind::ProxyConfig => Object::ProxyConfig(config(cx, envelope)?),
        Kind::PeerAuthentication => Object::PeerAuthentication(config(cx, envelope)?),
        Kind::RequestAuthentication => Object::RequestAuthentication(config(cx, envelope)?),
        Kind::AuthorizationPolicy => Object::AuthorizationPolicy(config(cx, envelope)?),
        Kind::Telemetry => Object::Telemetry(config(cx, envelope)?),
        Kind::WasmPlugin => Object::WasmPlugin(config(cx, envelope)?),
        Kind::TrafficExtension => Object::TrafficExtension(config(cx, envelope)?),
        other => return Err(Bad::new("kind", format!("{other} is not read yet"))),
    })
}

fn envelope(cx: &mut Cx<'_>, json: Json<'_>) -> Result<Envelope, Bad> {
    let mut value = match json {
        Json::Text(text) => super::parse(text)?,
        Json::Value(value) => value,
    };
    let spec = value.get_mut("spec").map(Value::take).unwrap_or_default();
    let status = value.get("status").and_then(|status| read_status(cx.kind, status));
    if let Some(object) = value.as_object_mut() {
        for field in ["apiVersion", "kind", "spec", "status"] {
            object.remove(field);
        }
    }
    let decoded = meltemi_api::object::decode::<Envelope>(value)?;
    for field in decoded.unknown {
        // Of metadata only some fields are read, and an apiserver adds many.
        if !field.starts_with("metadata.") {
            cx.warn(&field, NO_SUCH_FIELD);
        }
    }
    Ok(Envelope { spec, status: status.map(Arc::new), ..decoded.value })
}

const NO_SUCH_FIELD: &str = "no such field, so it has no effect; check its spelling and indentation";

fn config<T: DeserializeOwned + Default + Validate>(
    cx: &mut Cx<'_>,
    mut envelope: Envelope,
) -> Result<Arc<Config<T>>, Bad> {
    cx.complete(&mut envelope.metadata)?;
    let mut meta = project::meta(&envelope.metadata);
    meta.creation = cx.creation(&envelope.metadata);
    meta.status = envelope.status;
    let spec = spec::<T>(cx, envelope.spec)?;
    let mut found = validate::object(&envelope.metadata, &spec);
    if !found.errors.is_empty() {
        return Err(refused(&mut found));
    }
    for finding in found.partial {
        cx.warn(&finding.field, &format!("{}; this part has no effect", finding.message));
    }
    for finding in found.warnings {
        cx.warn(&finding.field, &finding.message);
    }
    Ok(Arc::new(Config { meta, spec }))
}

fn spec<T: DeserializeOwned + Default>(cx: &mut Cx<'_>, json: Value) -> Result<T, Bad> {
    if json.is_null() {
        return Ok(T::default());
    }
    let in_file = cx.default_namespace.is_some();
    let decode = if in_file { relaxed::decode::<T> } else { meltemi_api::object::decode::<T> };
    let decoded = decode(json).map_err(|mut error| {
        error.field = error.field_of_spec();
        error
    })?;
    for field in decoded.unknown {
        cx.warn(&under_spec(&field), NO_SUCH_FIELD);
    }
    Ok(decoded.value)
}

/// The first error, which has a field of its own, and the others after it.
fn refused(found: &mut Findings) -> Bad {
    let Finding { field, mut message } = found.errors.remove(0);
    for other in &found.errors {
        message.push_str("; ");
        message.push_str(&other.to_string());
    }
    Bad { field, message }
}

/// What the mesh reads of a status. One that cannot be read counts as none: users do not write it.
fn read_status(kind: Kind, status: &Value) -> Option<Status> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Raw {
        addresses: Vec<Address>,
        conditions: Vec<Condition>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Address {
        host: String,
        value: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Condition {
        r#type: String,
        status: String,
    }
    if !matches!(kind, Kind::ServiceEntry | Kind::WorkloadEntry) {
        return None;
    }
    let raw = Raw::deserialize(status).ok()?;
    let healthy = raw.conditions.iter().find(|c| c.r#type == "Healthy").map(|c| c.status == "True");
    let addresses = raw.addresses.into_iter().map(|a| (a.host.into(), a.value.into())).collect();
    let status = Status { addresses, healthy };
    (status != Status::default()).then_some(status)
}

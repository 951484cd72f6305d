//! Objects of Kubernetes itself; what is kept of them is decided in [`meltemi_world::convert::project`].

use meltemi_api::k8s;
use meltemi_world::convert::project;
use meltemi_world::{Config, Kind, NsName, Object};
use std::sync::Arc;

use super::{Bad, Cx, Json, Outcome, Read, istio, read as whole};
use crate::sources::diagnostic::{Diagnostic, Severity};

/// Reads an object of any kind that is read. `None`: it is in order, and nothing of the mesh.
pub(super) fn read(cx: &mut Cx<'_>, json: Json<'_>) -> Result<Option<Object>, Bad> {
    Ok(Some(match cx.kind {
        Kind::Namespace => {
            let mut from: k8s::Namespace = whole(json)?;
            cx.complete(&mut from.metadata)?;
            Object::Namespace(Arc::new(project::namespace(&from)))
        }
        Kind::Node => {
            let mut from: k8s::Node = whole(json)?;
            cx.complete(&mut from.metadata)?;
            Object::Node(Arc::new(project::node(&from)))
        }
        Kind::Pod => {
            let mut from: k8s::Pod = whole(json)?;
            cx.complete(&mut from.metadata)?;
            Object::Pod(Arc::new(project::pod(&from)))
        }
        Kind::EndpointSlice => {
            let mut from: k8s::EndpointSlice = whole(json)?;
            cx.complete(&mut from.metadata)?;
            let Some(slice) = project::slice(&from) else {
                let label = format!("metadata.labels[{}]", k8s::EndpointSlice::SERVICE_LABEL);
                cx.note(&label, "names no Service of this cluster, so the endpoints have no effect");
                return Ok(None);
            };
            Object::EndpointSlice(Arc::new(slice))
        }
        Kind::Service => {
            let mut from: k8s::Service = whole(json)?;
            cx.complete(&mut from.metadata)?;
            let creation = cx.creation(&from.metadata);
            let mut service = project::service(from);
            service.meta.creation = creation;
            Object::Service(Arc::new(service))
        }
        Kind::Secret => {
            let mut from: k8s::Secret = whole(json)?;
            cx.complete(&mut from.metadata)?;
            Object::Secret(Arc::new(project::secret(from)))
        }
        Kind::ConfigMap => {
            let mut from: k8s::ConfigMap = whole(json)?;
            cx.complete(&mut from.metadata)?;
            Object::ConfigMap(Arc::new(project::config_map(from)))
        }
        Kind::Ingress => {
            let mut from: k8s::Ingress = whole(json)?;
            cx.complete(&mut from.metadata)?;
            let mut meta = project::meta(&from.metadata);
            meta.creation = cx.creation(&from.metadata);
            Object::Ingress(Arc::new(Config { meta, spec: from.spec }))
        }
        Kind::IngressClass => {
            let mut from: k8s::IngressClass = whole(json)?;
            cx.complete(&mut from.metadata)?;
            let meta = project::meta(&from.metadata);
            Object::IngressClass(Arc::new(Config { meta, spec: from.spec }))
        }
        Kind::ReferenceGrant => {
            let mut from: k8s::ReferenceGrant = whole(json)?;
            cx.complete(&mut from.metadata)?;
            let meta = project::meta(&from.metadata);
            Object::ReferenceGrant(Arc::new(Config { meta, spec: from.spec }))
        }
        _ => istio::read(cx, json)?,
    }))
}

/// Reads the older form of endpoints, as slices.
pub(super) fn endpoints(json: serde_json::Value, id: &NsName) -> Outcome {
    let bad = |field: &str, message: String| Outcome::Rejected {
        id: None,
        finding: Diagnostic::new(Severity::Error, "Endpoints", id, field, message),
    };
    let mut from: k8s::Endpoints = match whole(Json::Value(json)) {
        Ok(from) => from,
        Err(e) => return bad(&e.field, format!("{}; correct the field", e.message)),
    };
    if id.name.is_empty() {
        return bad("metadata.name", "missing: it is the name of the Service".to_owned());
    }
    from.metadata.namespace = id.namespace.to_string();
    let slices = project::slices_of_endpoints(&from).into_iter();
    let objects = slices.map(|slice| Object::EndpointSlice(Arc::new(slice))).collect();
    Outcome::Read(Read { name: id.clone(), objects, warnings: Vec::new() })
}

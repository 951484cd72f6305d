//! What is wrong with the input.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::{Look, json};
use crate::sources::Diagnostic;

pub(super) fn router() -> Router<Look> {
    Router::new().route("/debug/problems", get(problems))
}

/// First what the sources found, object by object, then what the world found when it put objects together.
async fn problems(State(look): State<Look>) -> Response {
    let snapshot = look.world.snapshot();
    let of_world = snapshot.diagnostics.values().flat_map(|all| all.iter()).map(|d| {
        json!({"severity": "warning", "kind": d.kind.name(), "object": d.object.to_string(), "field": d.field,
            "message": d.message})
    });
    json(&look.world.findings().iter().map(finding).chain(of_world).collect())
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

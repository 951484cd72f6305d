//! What the control plane knows, for people and for istioctl: istiod's pages, in its shapes.

mod index;
mod problems;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::http::Look;

/// The connected proxies, and what each should have.
pub trait Proxies: Send + Sync + 'static {
    /// The connections.
    fn registry(&self) -> &meltemi_server::Registry;
}

/// All pages.
pub fn router(look: Look) -> Router {
    index::router().merge(problems::router()).with_state(look)
}

/// JSON as istiod writes it: indented if `?pretty`, which people want; everywhere here, since it costs little.
fn json(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value:#}\n")).into_response()
}

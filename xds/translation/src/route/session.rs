//! Persistent sessions: a cookie or header that keeps a client at the host that answered first.
//!
//! Source: Istio `MaybeBuildStatefulSessionFilterConfig`.

use crate::{Cx, wire};
use meltemi_api::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_api::envoy::extensions::filters::http::stateful_session::v3::{
    StatefulSession, StatefulSessionPerRoute, stateful_session_per_route::Override,
};
use meltemi_api::envoy::extensions::http::stateful_session::{
    cookie::v3::CookieBasedSessionState, header::v3::HeaderBasedSessionState,
};
use meltemi_api::envoy::r#type::http::v3::Cookie;
use meltemi_api::wkt::Any;
use meltemi_world::Service;

/// The name of the filter.
pub(super) const FILTER: &str = "envoy.filters.http.stateful_session";

/// The filter's settings for traffic to `service`; `None` unless the feature is on and the service's labels ask.
pub(super) fn per_route(cx: &Cx<'_>, service: &Service) -> Option<Any> {
    let features = cx.features();
    if !features.persistent_session_filter {
        return None;
    }
    let label = |name: &str| service.labels.get(name).filter(|value| !value.is_empty());
    let state =
        match (label(&features.persistent_session_label), label(&features.persistent_session_header_label)) {
            (Some(cookie), _) => by_cookie(cookie),
            (None, Some(header)) => by_header(header),
            (None, None) => return None,
        };
    let session = StatefulSession { session_state: Some(state), ..Default::default() };
    Some(wire::any(&StatefulSessionPerRoute { r#override: Some(Override::StatefulSession(session)) }))
}

/// `NAME` or `NAME:PATH`. Without a lifetime, the cookie ends with the browser's session.
fn by_cookie(label: &str) -> TypedExtensionConfig {
    let (name, path) = label.split_once(':').unwrap_or((label, "/"));
    let cookie = Cookie { name: name.to_owned(), path: path.to_owned(), ..Default::default() };
    TypedExtensionConfig {
        name: "envoy.http.stateful_session.cookie".to_owned(),
        typed_config: Some(wire::any(&CookieBasedSessionState { cookie: Some(cookie) })),
    }
}

fn by_header(name: &str) -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: "envoy.http.stateful_session.header".to_owned(),
        typed_config: Some(wire::any(&HeaderBasedSessionState { name: name.to_owned() })),
    }
}

//! Who may look at what.
//!
//! As in istiod, callers from the same host see everything: port-forwarding and `exec` come from there. Others would have
//! to prove an identity, which no server here can check yet, so they are refused, whatever
//! `ENABLE_DEBUG_ENDPOINT_AUTH` says: istiod, too, then only stops to look at the namespace.

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;

/// What a caller from another host is told.
const REFUSED: &str =
    "debugging is for callers from this host, such as kubectl port-forward and kubectl exec\n";

/// Lets only callers from this host through.
pub(super) async fn debugging(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if !is_local(peer) {
        return (StatusCode::UNAUTHORIZED, REFUSED).into_response();
    }
    next.run(request).await
}

/// Lets only callers from this host through, if `required`.
pub(super) async fn metrics(
    State(required): State<bool>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if required && !is_local(peer) {
        return (StatusCode::FORBIDDEN, "METRICS_LOCALHOST_ACCESS_ONLY is set\n").into_response();
    }
    next.run(request).await
}

fn is_local(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

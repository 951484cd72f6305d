//! Passes Envoy's xDS streams on to istiod, byte for byte, with the workload's token added.
//!
//! Envoy's part is a Unix socket. Each stream gets a connection of its own, and ends with it: Envoy then begins anew, and
//! announces what it has.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use tokio::net::UnixListener;
use tower::Service;

use crate::{Error, metrics::Metrics, upstream::Upstream};

/// gRPC's codes.
const UNIMPLEMENTED: u16 = 12;
const UNAVAILABLE: u16 = 14;

struct Proxy {
    istiod: Upstream,
    metrics: Arc<Metrics>,
}

/// Serves the socket until the task is dropped.
pub async fn serve(listener: UnixListener, istiod: Upstream, metrics: Arc<Metrics>) -> Result<(), Error> {
    let proxy = Arc::new(Proxy { istiod, metrics });
    let app = Router::new().fallback(forward).with_state(proxy);
    Ok(axum::serve(listener, app).await?)
}

async fn forward(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    // Whoever reaches the socket may ask for configuration as this workload, and for nothing else.
    if !request.uri().path().starts_with("/envoy.service.") {
        return failure(UNIMPLEMENTED, "only Envoy's discovery services are passed on");
    }
    match send(&proxy.istiod, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!("no configuration for Envoy: {error}");
            proxy.metrics.istiod_connection_failures.inc();
            failure(UNAVAILABLE, &error.to_string())
        }
    }
}

async fn send(istiod: &Upstream, request: Request) -> Result<Response, Error> {
    let mut channel = istiod.connect().await?;
    let (mut parts, body) = request.into_parts();
    istiod.authorize(&mut parts.headers)?;
    let failed = |e: tonic::transport::Error| Error::server(istiod.address(), crate::upstream::chain(&e));
    futures::future::poll_fn(|cx| channel.poll_ready(cx)).await.map_err(failed)?;
    let answer = channel.call(http::Request::from_parts(parts, tonic::body::Body::new(body))).await;
    let response = answer.map_err(failed)?;
    Ok(response.map(Body::new))
}

/// An answer without messages, as gRPC has it: the status is in the headers.
fn failure(code: u16, message: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", code.into());
    // gRPC wants other bytes escaped; a reason without them is good enough for a log.
    let plain: String = message.chars().filter(|c| (' '..='~').contains(c) && *c != '%').collect();
    if let Ok(message) = HeaderValue::from_str(&plain) {
        headers.insert("grpc-message", message);
    }
    response
}

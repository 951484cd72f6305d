//! Readiness, version and metrics.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use meltemi_server::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::access;
use super::debug;
use crate::authority;
use crate::config;
use crate::jwks::Settled;
use crate::metrics::Metrics;
use crate::patches::FailedPatches;
use crate::store::Shared;
use crate::version::BUILD;

/// What the servers look at.
#[derive(Clone)]
pub struct Look {
    /// The world.
    pub world: Arc<Shared>,
    /// What is counted.
    pub metrics: Metrics,
    /// The connected proxies, and what they have.
    pub proxies: Arc<Registry>,
    /// Patches of EnvoyFilters that failed.
    pub patches: FailedPatches,
    /// Whether keys of JWT issuers were asked for once.
    pub keys: Settled,
    /// The certificate authority, if there is one.
    pub authority: Option<authority::State>,
    /// Switches of debugging.
    pub switches: Arc<config::Debug>,
}

/// What is served on `--httpAddr`: readiness, and debugging if it is wanted there. Without `--monitoringAddr`, what
/// belongs there as well.
pub fn main(look: &Look, with_monitoring: bool) -> Router {
    let mut router = Router::new().route("/ready", get(ready)).with_state(look.clone());
    if look.switches.on_http || with_monitoring {
        router = router.merge(debugging(look));
    }
    if with_monitoring {
        router = router.merge(measures(look));
    }
    router
}

/// What is served on `--monitoringAddr`.
pub fn monitoring(look: &Look) -> Router {
    measures(look).merge(debugging(look))
}

fn measures(look: &Look) -> Router {
    let local_only = from_fn_with_state(look.switches.metrics_localhost_only, access::metrics);
    let metrics = Router::new().route("/metrics", get(metrics)).layer(local_only);
    metrics.route("/version", get(|| async { BUILD.to_string() })).with_state(look.clone())
}

fn debugging(look: &Look) -> Router {
    debug::router(look.clone()).layer(from_fn(access::debugging)).merge(debug::index())
}

async fn ready(State(look): State<Look>) -> Response {
    let certified = look.authority.as_ref().is_none_or(authority::State::ready);
    if look.world.is_complete() && look.keys.get() && certified {
        return (StatusCode::OK, "").into_response();
    }
    let mut missing: Vec<String> = look.world.waiting().iter().map(ToString::to_string).collect();
    if missing.is_empty() {
        let (what, there) = ("keys of JWT issuers", look.keys.get());
        missing.push(if there { "the certificate authority" } else { what }.to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not read yet: {}\n", missing.join(", "))).into_response()
}

async fn metrics(State(look): State<Look>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], look.metrics.text())
}

/// Serves until `stop`, then lets what is under way end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "a server ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::debug::tests::{look, not_ready};
    use axum::body::Body;
    use axum::extract::connect_info::MockConnectInfo;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn get(router: Router, from: &str, path: &str) -> (u16, String) {
        let from: SocketAddr = from.parse().unwrap();
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.layer(MockConnectInfo(from)).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    const HERE: &str = "127.0.0.1:1";
    const ELSEWHERE: &str = "10.0.0.1:1";

    #[tokio::test(flavor = "multi_thread")]
    async fn readiness_names_what_is_missing() {
        let (status, text) = get(main(&not_ready(), false), ELSEWHERE, "/ready").await;
        assert_eq!((status, text.as_str()), (503, "not read yet: files\n"));
        assert_eq!(get(main(&look(), false), ELSEWHERE, "/ready").await.0, 200);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn debugging_is_for_callers_from_this_host() {
        for (from, status) in [(HERE, 200), ("[::ffff:127.0.0.1]:1", 200), ("[::1]:1", 200), (ELSEWHERE, 401)]
        {
            assert_eq!(get(monitoring(&look()), from, "/debug/syncz").await.0, status, "{from}");
        }
        assert_eq!(get(monitoring(&look()), ELSEWHERE, "/debug").await.0, 200);
        assert_eq!(get(monitoring(&look()), HERE, "/debug/nothing").await.0, 404);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn monitoring_moves_to_the_main_server_where_it_has_none_of_its_own() {
        assert_eq!(get(main(&look(), false), HERE, "/metrics").await.0, 404);
        for path in ["/metrics", "/version", "/debug/mesh"] {
            assert_eq!(get(main(&look(), true), HERE, path).await.0, 200, "{path}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn switches_close_debugging_and_metrics() {
        let mut look = look();
        let mut switches = (*look.switches).clone();
        (switches.on_http, switches.metrics_localhost_only) = (false, true);
        look.switches = Arc::new(switches);
        assert_eq!(get(main(&look, false), HERE, "/debug/mesh").await.0, 404);
        assert_eq!(get(monitoring(&look), ELSEWHERE, "/metrics").await.0, 403);
        assert_eq!(get(monitoring(&look), HERE, "/metrics").await.0, 200);
    }
}

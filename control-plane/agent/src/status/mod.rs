//! The status server (15020): readiness, merged metrics, the application's probes, and orders to drain and to quit.

pub mod client;
mod insecure;
mod probes;
mod ready;
mod scrape;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, RawQuery, State},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http::{HeaderMap, StatusCode, Uri, header};
use tokio::{net::TcpListener, sync::watch};

pub use probes::Probes;
pub use ready::Readiness;
pub use scrape::Scrape;

use crate::{
    Error,
    envoy::Admin,
    metrics::Metrics,
    settings::{Role, Settings},
};

/// What was ordered over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Nothing.
    #[default]
    None,
    /// `/drain`: Envoy drains already; end at once when a signal comes.
    Drained,
    /// `/quitquitquit`: end now.
    Quit,
}

/// The status server's parts.
pub struct Status {
    admin: Admin,
    role: Role,
    readiness: Readiness,
    scrape: Scrape,
    probes: Probes,
    metrics: Arc<Metrics>,
    orders: watch::Sender<Order>,
}

impl Status {
    /// Reads what the settings say of probes and metrics. The receiver tells of orders.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<(Self, watch::Receiver<Order>), Error> {
        let admin = Admin::new(settings.admin());
        let own_port = settings.proxy.port("statusPort");
        let own_ports = [own_port, settings.status_port, settings.prometheus_port];
        let own_address = settings.addresses.first().copied();
        let application =
            own_address.filter(|_| !settings.app_probes_to_localhost).unwrap_or(settings.localhost());
        let (orders, ordered) = watch::channel(Order::None);
        let status = Self {
            admin,
            role: settings.role,
            readiness: Readiness::default(),
            scrape: Scrape::read(&settings.app_metrics, admin, &own_ports, Arc::clone(&metrics))?,
            probes: Probes::read(&settings.app_probes, application, own_port)?,
            metrics,
            orders,
        };
        Ok((status, ordered))
    }

    /// Serves until the task is dropped.
    pub async fn serve(self, listener: TcpListener) -> Result<(), Error> {
        let app = Router::new()
            .route("/healthz/ready", get(ready))
            .route("/stats/prometheus", get(metrics))
            .route("/metrics", get(metrics))
            .route("/quitquitquit", post(quit))
            .route("/drain", post(drain))
            .route("/app-health/{*rest}", any(probe))
            .route("/app-lifecycle/{*rest}", any(probe))
            .with_state(Arc::new(self));
        Ok(axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?)
    }
}

async fn ready(State(status): State<Arc<Status>>) -> Response {
    if *status.orders.borrow() == Order::Quit {
        return (StatusCode::SERVICE_UNAVAILABLE, "the agent ends").into_response();
    }
    match status.readiness.check(status.admin).await {
        Ok(()) => {
            status.metrics.ready();
            StatusCode::OK.into_response()
        }
        Err(missing) => {
            tracing::debug!("Envoy proxy is NOT ready: {missing}");
            (StatusCode::SERVICE_UNAVAILABLE, missing).into_response()
        }
    }
}

async fn metrics(
    State(status): State<Arc<Status>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    status.scrape.page(&query.unwrap_or_default(), headers.get(header::ACCEPT)).await
}

async fn probe(State(status): State<Arc<Status>>, uri: Uri, headers: HeaderMap) -> Response {
    status.probes.ask(uri.path(), &headers).await
}

async fn quit(State(status): State<Arc<Status>>, ConnectInfo(from): ConnectInfo<SocketAddr>) -> Response {
    if let Some(refusal) = refuse_strangers(from) {
        return refusal;
    }
    status.orders.send_replace(Order::Quit);
    "OK".into_response()
}

async fn drain(State(status): State<Arc<Status>>, ConnectInfo(from): ConnectInfo<SocketAddr>) -> Response {
    if let Some(refusal) = refuse_strangers(from) {
        return refusal;
    }
    if let Err(error) = status.admin.drain(status.role == Role::Sidecar, true).await {
        tracing::warn!("Envoy does not drain: {error}");
    }
    status.orders.send_replace(Order::Drained);
    "OK".into_response()
}

fn refuse_strangers(from: SocketAddr) -> Option<Response> {
    let local = from.ip().to_canonical().is_loopback();
    (!local).then(|| (StatusCode::FORBIDDEN, "Only requests from localhost are allowed").into_response())
}

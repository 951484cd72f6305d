//! Connection pools: limits, time-outs, keepalive, retry budgets, and HTTP/2 settings.
//!
//! A limit of 0 cannot be told from one that is not set, so it means "not set".
//! Source: Istio `ClusterBuilder.applyConnectionPool`, `applyTCPKeepalive`, `shouldH2Upgrade`.

use super::draft::Draft;
use crate::Cx;
use meltemi_api::envoy::config::cluster::v3::{
    CircuitBreakers, UpstreamConnectionOptions,
    circuit_breakers::{Thresholds, thresholds},
};
use meltemi_api::envoy::config::core::v3 as core;
use meltemi_api::envoy::r#type::v3::Percent;
use meltemi_api::istio::mesh::v1alpha1::mesh_config;
use meltemi_api::istio::networking::v1alpha3::{
    ConnectionPoolSettings,
    connection_pool_settings::{HttpSettings, TcpSettings, http_settings::H2UpgradePolicy, tcp_settings},
    traffic_policy::RetryBudget,
};
use meltemi_api::wkt::to_prost_duration;
use meltemi_world::Protocol;

/// The retries that may run at once, in per cent of active requests, where a budget does not say.
const DEFAULT_BUDGET_PERCENT: f64 = 20.0;
/// The retries that may always run at once, where a budget does not say.
const DEFAULT_MIN_CONCURRENCY: u32 = 3;

/// What shapes a connection pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pool<'a> {
    pub(super) settings: Option<&'a ConnectionPoolSettings>,
    pub(super) retry_budget: Option<&'a RetryBudget>,
}

/// Applies pool settings to a cluster; its protocol must be chosen already.
pub(super) fn apply(cx: &Cx<'_>, draft: &mut Draft, pool: &Pool<'_>) {
    apply_limits(cx, draft, pool);
    let http = pool.settings.and_then(|s| s.http.as_ref());
    apply_http(draft, http, pool.settings.and_then(|s| s.tcp.as_ref()));
}

/// Applies limits and the settings of TCP, not those of HTTP.
pub(super) fn apply_limits(cx: &Cx<'_>, draft: &mut Draft, pool: &Pool<'_>) {
    let http = pool.settings.and_then(|s| s.http.as_ref());
    let tcp = pool.settings.and_then(|s| s.tcp.as_ref());
    let timeout = tcp.and_then(|t| t.connect_timeout.as_ref()).map(to_prost_duration);
    draft.cluster.connect_timeout = timeout.or_else(|| default_connect_timeout(cx));
    draft.cluster.upstream_connection_options = keepalive(cx, tcp);
    draft.cluster.circuit_breakers = Some(CircuitBreakers {
        thresholds: vec![thresholds(cx, http, tcp, pool.retry_budget)],
        ..Default::default()
    });
}

/// MeshConfig `connectTimeout`.
pub(super) fn default_connect_timeout(cx: &Cx<'_>) -> Option<prost_types::Duration> {
    cx.mesh().connect_timeout.as_ref().map(to_prost_duration)
}

/// Whether an outbound cluster speaks HTTP/2 though its port does not say so.
pub(super) fn upgrades_to_http2(
    cx: &Cx<'_>,
    protocol: Protocol,
    settings: Option<&ConnectionPoolSettings>,
) -> bool {
    if let Some(http) = settings.and_then(|s| s.http.as_ref()) {
        if http.use_client_protocol {
            return false;
        }
        match http.h2_upgrade_policy() {
            // Whoever asks for it on this very port knows that it speaks HTTP, declared or not.
            H2UpgradePolicy::Upgrade => return true,
            H2UpgradePolicy::DoNotUpgrade => return false,
            H2UpgradePolicy::Default => {}
        }
    }
    protocol.is_http() && cx.mesh().h2_upgrade_policy() == mesh_config::H2UpgradePolicy::Upgrade
}

/// Envoy's default limits are too low for a mesh whose Pods come and go, so Istio has none by default.
fn thresholds(
    cx: &Cx<'_>,
    http: Option<&HttpSettings>,
    tcp: Option<&TcpSettings>,
    budget: Option<&RetryBudget>,
) -> Thresholds {
    let limit = |value: i32| Some(if value > 0 { value as u32 } else { u32::MAX });
    Thresholds {
        max_connections: limit(tcp.map_or(0, |t| t.max_connections)),
        max_pending_requests: limit(http.map_or(0, |h| h.http1_max_pending_requests)),
        max_requests: limit(http.map_or(0, |h| h.http2_max_requests)),
        max_retries: limit(http.map_or(0, |h| h.max_retries)),
        track_remaining: !cx.features().disable_track_remaining,
        retry_budget: budget.map(retry_budget),
        ..Default::default()
    }
}

fn retry_budget(budget: &RetryBudget) -> thresholds::RetryBudget {
    let min = budget.min_retry_concurrency;
    thresholds::RetryBudget {
        budget_percent: Some(Percent {
            value: budget.percent.as_ref().map_or(DEFAULT_BUDGET_PERCENT, |p| p.value),
        }),
        budget_interval: budget.budget_interval.as_ref().map(to_prost_duration),
        min_retry_concurrency: Some(if min > 0 { min } else { DEFAULT_MIN_CONCURRENCY }),
    }
}

/// The mesh's keepalive with the pool's laid over it.
fn keepalive(cx: &Cx<'_>, tcp: Option<&TcpSettings>) -> Option<UpstreamConnectionOptions> {
    let of_pool = tcp.and_then(|t| t.tcp_keepalive.as_ref());
    let of_mesh = cx.mesh().tcp_keepalive.as_ref();
    if of_pool.is_none() && of_mesh.is_none() {
        return None;
    }
    let mut out = core::TcpKeepalive::default();
    for settings in [of_mesh, of_pool].into_iter().flatten() {
        let tcp_settings::TcpKeepalive { probes, time, interval } = settings;
        let seconds = |d: &meltemi_api::wkt::Duration| d.seconds as u32;
        out.keepalive_probes = (*probes > 0).then_some(*probes).or(out.keepalive_probes);
        out.keepalive_time = time.as_ref().map(seconds).or(out.keepalive_time);
        out.keepalive_interval = interval.as_ref().map(seconds).or(out.keepalive_interval);
    }
    Some(UpstreamConnectionOptions { tcp_keepalive: Some(out), ..Default::default() })
}

fn apply_http(draft: &mut Draft, http: Option<&HttpSettings>, tcp: Option<&TcpSettings>) {
    let idle = http.and_then(|h| h.idle_timeout.as_ref()).or_else(|| tcp?.idle_timeout.as_ref());
    let age = tcp.and_then(|t| t.max_connection_duration.as_ref());
    let requests = http.map_or(0, |h| h.max_requests_per_connection as u32);
    let streams = http.map_or(0, |h| h.max_concurrent_streams as u32);
    let keepalive = http.and_then(|h| h.http2_keep_alive.as_ref());
    if idle.is_some() || age.is_some() || requests > 0 || streams > 0 || keepalive.is_some() {
        let common = draft.http().common_http_protocol_options.get_or_insert_default();
        common.idle_timeout = idle.map(to_prost_duration).or(common.idle_timeout);
        common.max_connection_duration = age.map(to_prost_duration).or(common.max_connection_duration);
        common.max_requests_per_connection = (requests > 0).then_some(requests);
        if let Some(http2) = draft.http2() {
            http2.max_concurrent_streams = (streams > 0).then_some(streams);
            http2.connection_keepalive = keepalive.map(|k| core::KeepaliveSettings {
                interval: k.interval.as_ref().map(to_prost_duration),
                timeout: k.timeout.as_ref().map(to_prost_duration),
                ..Default::default()
            });
        }
    }
    if http.is_some_and(|h| h.use_client_protocol) {
        draft.use_downstream_protocol();
    }
}

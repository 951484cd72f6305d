//! Connection pools and outlier detection, of DestinationRules, Sidecars and the mesh.

use super::scalar::{duration_at, not_negative, percent};
use super::{At, Findings};
use crate::istio::networking::v1alpha3::connection_pool_settings::http_settings::H2UpgradePolicy;
use crate::istio::networking::v1alpha3::connection_pool_settings::{HttpSettings, TcpSettings};
use crate::istio::networking::v1alpha3::{ConnectionPoolSettings, OutlierDetection};

/// Checks outlier detection.
#[expect(deprecated, reason = "users may still write it")]
pub fn outlier_detection(at: &At<'_>, outlier: Option<&OutlierDetection>, out: &mut Findings) {
    let Some(outlier) = outlier else { return };
    duration_at(&at.field("baseEjectionTime"), outlier.base_ejection_time.as_ref(), out);
    duration_at(&at.field("interval"), outlier.interval.as_ref(), out);
    if outlier.consecutive_errors != 0 {
        out.warn(
            &at.field("consecutiveErrors"),
            "is deprecated; write consecutiveGatewayErrors or consecutive5xxErrors",
        );
    }
    let local = outlier.consecutive_local_origin_failures.as_ref().is_some_and(|n| n.value > 0);
    if local && !outlier.split_external_local_origin_errors {
        out.error(
            &at.field("consecutiveLocalOriginFailures"),
            "counts only with splitExternalLocalOriginErrors: true; set that",
        );
    }
    out.check(&at.field("maxEjectionPercent"), percent(outlier.max_ejection_percent));
    out.check(&at.field("minHealthPercent"), percent(outlier.min_health_percent));
}

/// Checks a connection pool.
pub fn connection_pool(at: &At<'_>, pool: Option<&ConnectionPoolSettings>, out: &mut Findings) {
    let Some(pool) = pool else { return };
    if pool.http.is_none() && pool.tcp.is_none() {
        return out.error(at, "is empty; give it tcp or http, or leave it out");
    }
    if let Some(http) = &pool.http {
        self::http(&at.field("http"), http, out);
    }
    if let Some(tcp) = &pool.tcp {
        self::tcp(&at.field("tcp"), tcp, out);
    }
}

fn http(at: &At<'_>, http: &HttpSettings, out: &mut Findings) {
    for (field, value) in [
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ] {
        not_negative(&at.field(field), value, out);
    }
    duration_at(&at.field("idleTimeout"), http.idle_timeout.as_ref(), out);
    if http.h2_upgrade_policy() == H2UpgradePolicy::Upgrade && http.use_client_protocol {
        out.error(&at.field("useClientProtocol"), "contradicts h2UpgradePolicy: UPGRADE; remove one of them");
    }
    let Some(keepalive) = &http.http2_keep_alive else { return };
    let at = at.field("http2KeepAlive");
    for (field, value) in [("interval", &keepalive.interval), ("timeout", &keepalive.timeout)] {
        match value {
            None => out.error(&at.field(field), "is missing; give it a duration"),
            value => duration_at(&at.field(field), value.as_ref(), out),
        }
    }
}

fn tcp(at: &At<'_>, tcp: &TcpSettings, out: &mut Findings) {
    not_negative(&at.field("maxConnections"), tcp.max_connections, out);
    duration_at(&at.field("connectTimeout"), tcp.connect_timeout.as_ref(), out);
    duration_at(&at.field("maxConnectionDuration"), tcp.max_connection_duration.as_ref(), out);
    // Less than a millisecond turns the timeout off.
    let off = |d: &crate::wkt::Duration| d.seconds == 0 && d.nanos.abs() < 1_000_000;
    duration_at(&at.field("idleTimeout"), tcp.idle_timeout.as_ref().filter(|d| !off(d)), out);
    if let Some(keepalive) = &tcp.tcp_keepalive {
        let at = at.field("tcpKeepalive");
        duration_at(&at.field("time"), keepalive.time.as_ref(), out);
        duration_at(&at.field("interval"), keepalive.interval.as_ref(), out);
    }
}

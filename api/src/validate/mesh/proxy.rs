//! The proxies' own settings, as the mesh gives their defaults.

use super::super::{At, Findings, scalar, tls};
use super::{address, port};
use crate::istio::mesh::v1alpha1::private_key_provider::Provider;
use crate::istio::mesh::v1alpha1::proxy_config::{ClusterName, ConnectionSettings};
use crate::istio::mesh::v1alpha1::tracing::Tracer;
use crate::istio::mesh::v1alpha1::{AuthenticationPolicy, PrivateKeyProvider, ProxyConfig, Tracing};
use crate::wkt::Duration;

/// The smallest window of HTTP/2, in bytes. Source: RFC 9113, initial window size.
const MIN_WINDOW: i64 = 65_535;

/// Checks them where they stand at `at`.
pub(super) fn config(at: &At<'_>, proxy: &ProxyConfig, out: &mut Findings) {
    for (field, value) in [("configPath", &proxy.config_path), ("binaryPath", &proxy.binary_path)] {
        if value.is_empty() {
            out.error(&at.field(field), "is empty; write a path, or remove the field");
        }
    }
    match &proxy.cluster_name {
        Some(ClusterName::ServiceCluster(name)) if name.is_empty() => {
            out.error(&at.field("serviceCluster"), "is empty; write a name, or remove the field");
        }
        Some(_) => {}
        None => {
            out.error(&at.field("serviceCluster"), "missing, as is tracingServiceName; write one of them")
        }
    }
    let drain = proxy.drain_duration.unwrap_or_default();
    out.check(&at.field("drainDuration"), scalar::duration(&drain).or_else(|| whole_seconds(&drain)));
    out.check(&at.field("discoveryAddress"), address(&proxy.discovery_address));
    if let Some(tracing) = &proxy.tracing {
        check_tracing(&at.field("tracing"), tracing, out);
    }
    addresses(at, proxy, out);
    if proxy.proxy_metadata.contains_key("ISTIO_META_DNS_AUTO_ALLOCATE") {
        let at = at.field("proxyMetadata");
        out.warn(
            &at.key("ISTIO_META_DNS_AUTO_ALLOCATE"),
            "is deprecated: the control plane allocates addresses itself",
        );
    }
    out.check(&at.field("proxyAdminPort"), port(proxy.proxy_admin_port));
    out.check(&at.field("statusPort"), port(proxy.status_port));
    if AuthenticationPolicy::try_from(proxy.control_plane_auth_policy)
        .is_ok_and(|policy| policy == AuthenticationPolicy::Inherit)
    {
        out.error(
            &at.field("controlPlaneAuthPolicy"),
            "there is nothing to inherit from; write NONE or MUTUAL_TLS",
        );
    }
    if let Some(provider) = &proxy.private_key_provider {
        private_key(&at.field("privateKeyProvider"), provider, out);
    }
    if let Some(settings) = &proxy.connection_settings {
        connections(&at.field("connectionSettings"), settings, out);
    }
}

fn whole_seconds(value: &Duration) -> Option<String> {
    (value.nanos != 0).then(|| format!("{value} is too exact; write whole seconds"))
}

/// Addresses of services that may be set.
#[allow(deprecated, reason = "the deprecated field is still read")]
fn addresses(at: &At<'_>, proxy: &ProxyConfig, out: &mut Findings) {
    let mut check = |at: &At<'_>, text: &str| {
        if !text.is_empty() {
            out.check(at, address(text));
        }
    };
    check(&at.field("statsdUdpAddress"), &proxy.statsd_udp_address);
    check(&at.field("envoyMetricsServiceAddress"), &proxy.envoy_metrics_service_address);
    for (field, service) in [
        ("envoyMetricsService", &proxy.envoy_metrics_service),
        ("envoyAccessLogService", &proxy.envoy_access_log_service),
    ] {
        if let Some(service) = service {
            check(&at.field(field).field("address"), &service.address);
        }
    }
}

fn check_tracing(at: &At<'_>, tracing: &Tracing, out: &mut Findings) {
    // Written by a user for each node to fill in.
    let on_node = |text: &str| address(&text.replacen("$(HOST_IP)", "127.0.0.1", 1));
    #[allow(deprecated, reason = "the deprecated tracer is still read")]
    match &tracing.tracer {
        Some(Tracer::Zipkin(zipkin)) => {
            out.check(&at.field("zipkin").field("address"), on_node(&zipkin.address))
        }
        Some(Tracer::Datadog(datadog)) => {
            out.check(&at.field("datadog").field("address"), on_node(&datadog.address))
        }
        Some(Tracer::Lightstep(lightstep)) => {
            let at = at.field("lightstep");
            out.check(&at.field("address"), address(&lightstep.address));
            if lightstep.access_token.is_empty() {
                out.error(&at.field("accessToken"), "missing: write the token");
            }
        }
        _ => {}
    }
    tls::client(&at.field("tlsSettings"), "", tracing.tls_settings.as_ref(), out);
}

fn private_key(at: &At<'_>, provider: &PrivateKeyProvider, out: &mut Findings) {
    let (field, delay) = match &provider.provider {
        None => return out.error(at, "has no provider; write cryptomb or qat, or remove the field"),
        Some(Provider::Cryptomb(cryptomb)) => ("cryptomb", &cryptomb.poll_delay),
        Some(Provider::Qat(qat)) => ("qat", &qat.poll_delay),
    };
    if delay.is_none_or(|delay| delay.seconds == 0 && delay.nanos == 0) {
        out.error(&at.field(field).field("pollDelay"), "missing or 0; write a duration such as 10ms");
    }
}

fn connections(at: &At<'_>, s: &ConnectionSettings, out: &mut Findings) {
    let least = [
        (
            "listenerPerConnectionBufferLimitBytes",
            s.listener_per_connection_buffer_limit_bytes.map(|v| i64::from(v.value)),
            0,
        ),
        (
            "clusterPerConnectionBufferLimitBytes",
            s.cluster_per_connection_buffer_limit_bytes.map(|v| i64::from(v.value)),
            0,
        ),
        ("httpMaxConcurrentStreams", s.http_max_concurrent_streams.map(|v| i64::from(v.value)), 1),
        (
            "http2InitialStreamWindowSize",
            s.http2_initial_stream_window_size.map(|v| i64::from(v.value)),
            MIN_WINDOW,
        ),
        (
            "http2InitialConnectionWindowSize",
            s.http2_initial_connection_window_size.map(|v| i64::from(v.value)),
            MIN_WINDOW,
        ),
        ("listenerConnectionLimit", s.listener_connection_limit.map(|v| i64::from(v.value)), 1),
        (
            "globalDownstreamConnectionLimit",
            s.global_downstream_connection_limit.map(|v| i64::from(v.value)),
            1,
        ),
    ];
    for (field, value, least) in least {
        if let Some(value) = value.filter(|value| *value < least) {
            out.error(&at.field(field), format!("{value} is too small; write {least} or more"));
        }
    }
    for (field, value) in [
        ("httpIdleTimeout", &s.http_idle_timeout),
        ("httpMaxConnectionDuration", &s.http_max_connection_duration),
        ("httpDrainTimeout", &s.http_drain_timeout),
        ("httpRequestTimeout", &s.http_request_timeout),
        ("httpRequestHeadersTimeout", &s.http_request_headers_timeout),
        ("httpStreamIdleTimeout", &s.http_stream_idle_timeout),
        ("httpMaxStreamDuration", &s.http_max_stream_duration),
    ] {
        if let Some(value) = value.filter(|v| v.seconds < 0 || v.nanos < 0) {
            out.error(&at.field(field), format!("{value} is negative; write 0s or more"));
        }
    }
}

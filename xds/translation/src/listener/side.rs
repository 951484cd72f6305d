//! What all listeners of one side of a proxy have in common, found once.

use super::connection_settings;
use crate::Cx;
use crate::extension::Extensions;
use crate::proxy_headers::{ListenerClass, ProxyHeaders};
use crate::security;
use crate::telemetry::Telemetry;
use meltemi_api::istio::mesh::v1alpha1::proxy_config::ConnectionSettings;
use meltemi_api::wkt;

/// One side of a proxy: traffic to the workload, traffic from it, or a gateway's traffic.
#[derive(Clone)]
pub struct Side<'a> {
    /// The context.
    pub cx: Cx<'a>,
    /// Which side.
    pub class: ListenerClass,
    /// The headers that the proxy adds.
    pub headers: ProxyHeaders,
    /// Access logs, tracing and metrics.
    pub telemetry: Telemetry,
    /// Authentication and authorization filters.
    pub security: security::Filters,
    /// Filters that users add.
    pub extensions: Extensions,
    /// ProxyConfig `connectionSettings`.
    pub connection_settings: ConnectionSettings,
    /// How long a TCP connection, or an HTTP connection without requests, may be idle (node metadata
    /// `IDLE_TIMEOUT`).
    pub idle_timeout: Option<prost_types::Duration>,
}

impl<'a> Side<'a> {
    /// Finds what listeners of `class` have in common.
    pub fn new(cx: &Cx<'a>, class: ListenerClass) -> Self {
        let idle_timeout = cx.proxy.metadata.idle_timeout.parse::<wkt::Duration>();
        Self {
            cx: *cx,
            class,
            headers: ProxyHeaders::of(cx, class),
            telemetry: Telemetry::of(cx, class),
            security: security::Filters::of(cx, class),
            extensions: Extensions::of(cx, class),
            connection_settings: connection_settings::of_proxy(cx),
            idle_timeout: idle_timeout.ok().as_ref().map(wkt::to_prost_duration),
        }
    }

    /// The primary address that stands for all addresses of the proxy.
    pub fn wildcard(&self) -> &'static str {
        if self.cx.proxy.supports_v4() { "0.0.0.0" } else { "::" }
    }

    /// What the HTTP inspector says of plain text that is HTTP. HTTP/1.0 would be rejected unless it is accepted, so
    /// otherwise it passes as TCP.
    pub fn plaintext_http_alpn(&self) -> Vec<String> {
        let http10 = self.cx.features().http10.then_some("http/1.0");
        http10.into_iter().chain(["http/1.1", "h2c"]).map(str::to_owned).collect()
    }

    /// Whether HTTP/1.0 is accepted.
    pub fn accepts_http10(&self) -> bool {
        self.cx.features().http10 || self.cx.proxy.metadata.http10 == "1"
    }

    /// How many connections a listener's socket accepts at once; `None` for Envoy's default.
    pub fn max_accepts(&self) -> Option<u32> {
        Some(self.cx.features().max_connections_per_event).filter(|max| *max > 0)
    }

    /// How long a client may take to establish TLS; `None` for no limit.
    pub fn transport_timeout(&self) -> Option<prost_types::Duration> {
        let seconds = self.cx.features().gateway_transport_timeout_s;
        (seconds > 0).then(|| wkt::seconds(i64::from(seconds)))
    }
}

//! Filters that are the same everywhere, encoded once, and how a filter is named and packed.
//!
//! Source: Istio `pilot/pkg/xds/filters/filters.go`.

use crate::wire;
use meltemi_api::envoy::config::listener::v3::{Filter, ListenerFilter, filter, listener_filter};
use meltemi_api::envoy::extensions::filters::http::{
    cors::v3::Cors, fault::v3::HttpFault, grpc_stats::v3 as grpc_stats, grpc_web::v3::GrpcWeb,
    router::v3::Router, stateful_session::v3::StatefulSession,
};
use meltemi_api::envoy::extensions::filters::listener::{
    http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst, original_src::v3::OriginalSrc,
    proxy_protocol::v3::ProxyProtocol, tls_inspector::v3::TlsInspector,
};
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use meltemi_api::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use meltemi_api::istio_wire::envoy::config::filter::http::alpn::v2alpha1::{
    FilterConfig as AlpnConfig,
    filter_config::{AlpnOverride, Protocol},
};
use meltemi_api::udpa::r#type::v1::TypedStruct;
use meltemi_api::wkt::{Any, json_to_struct};
use prost::{Message, Name};
use serde_json::json;
use std::sync::LazyLock;

/// The name of the TCP proxy.
pub const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";
/// The name of the HTTP connection manager.
pub const HTTP_CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
/// The name of the filter that resolves the name (SNI) of a TLS connection.
pub const SNI_DYNAMIC_FORWARD_PROXY: &str = "envoy.extensions.filters.network.sni_dynamic_forward_proxy";
/// The name of the filter that counts what Istio's dashboards show.
pub const STATS: &str = "istio.stats";
/// The packet mark of connections that pilot-agent's iptables rules let pass.
const ORIGINAL_SRC_MARK: u32 = 1337;
/// How much of a connection's start the TLS inspector reads at first, in bytes. Envoy's default is 64 KiB.
const TLS_READ_BUFFER: u32 = 512;

/// An HTTP filter.
pub fn http<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    http_any(name, wire::any(config))
}

/// An HTTP filter, its configuration packed already.
pub fn http_any(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// A network filter.
pub fn network<M: Message + Name>(name: &str, config: &M) -> Filter {
    network_any(name, wire::any(config))
}

/// A network filter, its configuration packed already.
pub fn network_any(name: &str, config: Any) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(config)) }
}

/// A listener filter.
pub fn listener<M: Message + Name>(name: &str, config: &M) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(wire::any(config))),
        ..Default::default()
    }
}

/// The TCP proxy as a filter.
pub fn tcp_proxy(config: &TcpProxy) -> Filter {
    network(TCP_PROXY, config)
}

/// The HTTP connection manager as a filter.
pub fn http_connection_manager(config: &HttpConnectionManager) -> Filter {
    network(HTTP_CONNECTION_MANAGER, config)
}

/// Routes may configure CORS.
pub static CORS: LazyLock<HttpFilter> = LazyLock::new(|| http("envoy.filters.http.cors", &Cors::default()));

/// Routes may configure faults.
pub static FAULT: LazyLock<HttpFilter> =
    LazyLock::new(|| http("envoy.filters.http.fault", &HttpFault::default()));

/// Translates gRPC-Web.
pub static GRPC_WEB: LazyLock<HttpFilter> =
    LazyLock::new(|| http("envoy.filters.http.grpc_web", &GrpcWeb::default()));

/// Counts messages of gRPC streams.
pub static GRPC_STATS: LazyLock<HttpFilter> = LazyLock::new(|| {
    let all = grpc_stats::filter_config::PerMethodStatSpecifier::StatsForAllMethods(false);
    let config = grpc_stats::FilterConfig {
        emit_filter_state: true,
        per_method_stat_specifier: Some(all),
        ..Default::default()
    };
    http("envoy.filters.http.grpc_stats", &config)
});

/// Persistent sessions, off until a route configures them.
pub static EMPTY_SESSION: LazyLock<HttpFilter> =
    LazyLock::new(|| http("envoy.filters.http.stateful_session", &StatefulSession::default()));

/// Tells the server by ALPN what the client spoke. `istio` is for servers of old; what follows is for servers
/// outside the mesh, since the filter cannot know which server a request goes to.
pub static ALPN: LazyLock<HttpFilter> = LazyLock::new(|| {
    let over = |protocol: Protocol, names: [&str; 3]| AlpnOverride {
        upstream_protocol: protocol as i32,
        alpn_override: names.map(str::to_owned).to_vec(),
    };
    let alpn_override = vec![
        over(Protocol::Http10, ["istio-http/1.0", "istio", "http/1.0"]),
        over(Protocol::Http11, ["istio-http/1.1", "istio", "http/1.1"]),
        over(Protocol::Http2, ["istio-h2", "istio", "h2"]),
    ];
    http("istio.alpn", &AlpnConfig { alpn_override })
});

/// Forwards requests. `quiet`: responses carry none of the `x-envoy-*` headers.
pub fn router(quiet: bool) -> HttpFilter {
    http("envoy.filters.http.router", &Router { suppress_envoy_headers: quiet, ..Default::default() })
}

/// The HTTP filter by which proxies tell each other what they are.
///
/// `side` is `downstream` or `upstream`; `mesh_only`: external servers are told nothing.
pub fn peer_metadata(side: &str, mesh_only: bool, additional_labels: &[String]) -> HttpFilter {
    let headers = if mesh_only { json!({"skip_external_clusters": true}) } else { json!({}) };
    let mut value = serde_json::Map::new();
    value.insert(format!("{side}_discovery"), json!([{"istio_headers": {}}, {"workload_discovery": {}}]));
    value.insert(format!("{side}_propagation"), json!([{"istio_headers": headers}]));
    if !additional_labels.is_empty() {
        value.insert("additional_labels".to_owned(), json!(additional_labels));
    }
    let config = TypedStruct {
        type_url: "type.googleapis.com/io.istio.http.peer_metadata.Config".to_owned(),
        value: Some(json_to_struct(&value)),
    };
    http(crate::metadata_exchange::NAME, &config)
}

/// Finds the name (SNI) and the protocols (ALPN) that a TLS client asks for.
pub static TLS_INSPECTOR: LazyLock<ListenerFilter> = LazyLock::new(|| {
    let config = TlsInspector { initial_read_buffer_size: Some(TLS_READ_BUFFER), ..Default::default() };
    listener("envoy.filters.listener.tls_inspector", &config)
});

/// Finds out whether a client speaks HTTP.
pub static HTTP_INSPECTOR: LazyLock<ListenerFilter> =
    LazyLock::new(|| listener("envoy.filters.listener.http_inspector", &HttpInspector::default()));

/// Restores the address that a redirected connection went to.
pub static ORIGINAL_DST: LazyLock<ListenerFilter> =
    LazyLock::new(|| listener("envoy.filters.listener.original_dst", &OriginalDst::default()));

/// Connects to the application from the client's address.
pub static ORIGINAL_SRC: LazyLock<ListenerFilter> = LazyLock::new(|| {
    let config = OriginalSrc { mark: ORIGINAL_SRC_MARK, ..Default::default() };
    listener("envoy.filters.listener.original_src", &config)
});

/// Reads the PROXY protocol.
pub static PROXY_PROTOCOL: LazyLock<ListenerFilter> =
    LazyLock::new(|| listener("envoy.filters.listener.proxy_protocol", &ProxyProtocol::default()));

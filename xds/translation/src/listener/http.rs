//! The HTTP connection manager that all chains for HTTP share: outbound, inbound, and of gateways.
//!
//! Source: Istio `buildHTTPConnectionManager` (`listener_builder.go`).

use super::{Side, connection_settings, filters};
use crate::cluster::dynamic_dns;
use crate::extension::Phase;
use crate::proxy_headers::ListenerClass;
use crate::{header_case, wire};
use hcm::{
    CodecType, InternalAddressConfig, PathWithEscapedSlashesAction, RouteSpecifier,
    ServerHeaderTransformation, UpgradeConfig,
};
use meltemi_api::envoy::config::core::v3::{Http3ProtocolOptions, HttpProtocolOptions};
use meltemi_api::envoy::config::listener::v3::Filter;
use meltemi_api::envoy::config::route::v3::RouteConfiguration;
use meltemi_api::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use meltemi_api::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as forward_proxy;
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager as hcm,
};
use meltemi_api::istio::mesh::v1alpha1::mesh_config::proxy_path_normalization::NormalizationType;
use meltemi_api::wkt;
use meltemi_world::{Protocol, Resolution, Service, host};

/// Where the routes of a chain come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Routes {
    /// A RouteConfiguration that Envoy asks for by this name.
    Rds(String),
    /// Part of the listener.
    Inline(Box<RouteConfiguration>),
}

/// What distinguishes one chain for HTTP from another.
#[derive(Clone, Debug)]
pub struct HttpOptions<'s> {
    /// Where its routes come from.
    pub routes: Routes,
    /// The prefix of its statistics, with its delimiter.
    pub stat_prefix: String,
    /// What the port is declared to speak.
    pub protocol: Protocol,
    /// The port: of the service outbound, of the workload inbound.
    pub port: u32,
    /// Whether the client's address is that of the connection (a gateway's), not of `x-forwarded-for`.
    pub use_remote_address: bool,
    /// Whether headers of the metadata exchange are kept from external servers.
    pub mx_headers_for_mesh_only: bool,
    /// Whether clients come by HTTP/3.
    pub http3: bool,
    /// The service that the chain is for, where it is for one.
    pub service: Option<&'s Service>,
    /// Fields that the caller sets; others are filled in.
    pub base: HttpConnectionManager,
}

impl<'s> HttpOptions<'s> {
    /// Options of a chain of `side`; `stat_prefix` is left empty.
    pub fn new(side: &Side<'_>, routes: Routes, protocol: Protocol, port: u32) -> Self {
        Self {
            routes,
            stat_prefix: String::new(),
            protocol,
            port,
            use_remote_address: false,
            mx_headers_for_mesh_only: side.headers.skip_istio_mx_headers,
            http3: false,
            service: None,
            base: HttpConnectionManager::default(),
        }
    }
}

/// The filter of a chain for HTTP.
pub fn filter(side: &Side<'_>, options: HttpOptions<'_>) -> Filter {
    filters::http_connection_manager(&connection_manager(side, options))
}

/// The HTTP connection manager of a chain.
pub fn connection_manager(side: &Side<'_>, options: HttpOptions<'_>) -> HttpConnectionManager {
    let mut manager = options.base.clone();
    set_codec(side, &options, &mut manager);
    set_headers(side, &mut manager);
    set_normalization(side, &mut manager);
    manager.stat_prefix.clone_from(&options.stat_prefix);
    manager.use_remote_address = Some(options.use_remote_address);
    manager.upgrade_configs =
        vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }];
    if let Some(idle) = side.idle_timeout {
        manager.common_http_protocol_options =
            Some(HttpProtocolOptions { idle_timeout: Some(idle), ..Default::default() });
    }
    manager.stream_idle_timeout = Some(wkt::seconds(0));
    connection_settings::apply(&side.connection_settings, &mut manager);
    manager.access_log.clone_from(&side.telemetry.access_logs.http);
    manager.tracing.clone_from(&side.telemetry.tracing.config);
    manager.request_id_extension = Some(side.telemetry.tracing.request_id.clone());
    manager.internal_address_config = internal_addresses(side, options.use_remote_address);
    manager.http_filters = http_filters(side, &options);
    manager.route_specifier = Some(match options.routes {
        Routes::Rds(route_config_name) => {
            RouteSpecifier::Rds(Rds { config_source: Some(wire::ads()), route_config_name })
        }
        Routes::Inline(routes) => RouteSpecifier::RouteConfig(*routes),
    });
    manager
}

fn set_codec(side: &Side<'_>, options: &HttpOptions<'_>, manager: &mut HttpConnectionManager) {
    if options.http3 {
        manager.codec_type = CodecType::Http3 as i32;
        manager.http3_protocol_options = Some(Http3ProtocolOptions::default());
    }
    if side.accepts_http10() {
        manager.http_protocol_options.get_or_insert_default().accept_http_10 = true;
    }
    if let Some(format) = header_case::format(&side.cx) {
        manager.http_protocol_options.get_or_insert_default().header_key_format = Some(format);
    }
    manager.proxy_100_continue = side.cx.features().continue_headers;
}

fn set_headers(side: &Side<'_>, manager: &mut HttpConnectionManager) {
    let headers = &side.headers;
    manager.server_name.clone_from(&headers.server_name);
    if headers.server_header_transformation != ServerHeaderTransformation::Overwrite {
        manager.server_header_transformation = headers.server_header_transformation as i32;
    }
    manager.generate_request_id = headers.generate_request_id;
    manager.append_x_forwarded_port = headers.x_forwarded_port;
}

/// MeshConfig `pathNormalization`.
fn set_normalization(side: &Side<'_>, manager: &mut HttpConnectionManager) {
    let chosen =
        side.cx.mesh().path_normalization.as_ref().map_or(NormalizationType::Default, |p| p.normalization());
    let decode = chosen == NormalizationType::DecodeAndMergeSlashes;
    manager.normalize_path = Some(chosen != NormalizationType::None);
    manager.merge_slashes = decode || chosen == NormalizationType::MergeSlashes;
    let slashes = if decode {
        PathWithEscapedSlashesAction::UnescapeAndForward
    } else {
        PathWithEscapedSlashesAction::KeepUnchanged
    };
    manager.path_with_escaped_slashes_action = slashes as i32;
}

/// Addresses whose headers are trusted. Envoy trusts none by itself, and where it takes the client's address from the
/// connection, it would strip the headers of clients within the mesh.
///
/// Source: Istio `MeshNetworksToEnvoyInternalAddressConfig`.
fn internal_addresses(side: &Side<'_>, use_remote_address: bool) -> Option<InternalAddressConfig> {
    use meltemi_api::istio::mesh::v1alpha1::network::network_endpoints::Ne;
    if !use_remote_address && !side.cx.features().hcm_internal_networks {
        return None;
    }
    let networks = side.cx.snapshot.networks.networks.values();
    let cidrs = networks.flat_map(|n| &n.endpoints).filter_map(|e| match &e.ne {
        Some(Ne::FromCidr(cidr)) => wire::prefix(cidr),
        _ => None,
    });
    let mut prefixes: Vec<_> = cidrs.collect();
    prefixes.sort_unstable_by_key(|p| (p.addr(), p.prefix_len()));
    let cidr_ranges: Vec<_> = prefixes.into_iter().map(wire::cidr_range).collect();
    (!cidr_ranges.is_empty()).then(|| InternalAddressConfig { cidr_ranges, ..Default::default() })
}

/// The HTTP filters of a chain, in Istio's order.
fn http_filters(side: &Side<'_>, options: &HttpOptions<'_>) -> Vec<HttpFilter> {
    let (cx, features) = (&side.cx, side.cx.features());
    let outbound = side.class == ListenerClass::SidecarOutbound;
    let inbound = side.class == ListenerClass::SidecarInbound;
    let mut out = Vec::with_capacity(12);
    // Before authorization, so that requests that it rejects are counted for the right peer.
    out.extend(peer_metadata(side, options));
    out.extend_from_slice(&side.security.http_custom);
    out.extend(side.extensions.http(Phase::Authn, options.port));
    out.extend_from_slice(&side.security.http_authentication);
    out.extend(side.extensions.http(Phase::Authz, options.port));
    out.extend_from_slice(&side.security.http_authorization);
    out.extend(side.extensions.http(Phase::Stats, options.port));
    out.extend(side.extensions.http(Phase::Unspecified, options.port));
    if options.protocol == Protocol::GrpcWeb {
        out.push(filters::GRPC_WEB.clone());
    }
    out.push(filters::GRPC_STATS.clone());
    if !inbound && features.alpn_filter && cx.proxy.istio_extensions.alpn {
        out.push(filters::ALPN.clone());
    }
    out.push(filters::FAULT.clone());
    out.push(filters::CORS.clone());
    out.extend_from_slice(&side.telemetry.stats.http);
    if !inbound && features.persistent_session_filter {
        out.push(filters::EMPTY_SESSION.clone());
    }
    let dynamic = options.service.filter(|s| outbound && is_dynamic_wildcard(s));
    out.extend(dynamic.map(|service| dynamic_forward_proxy(dynamic_dns::service_cache(cx, service))));
    if outbound && dynamic_dns::is_allow_any(cx) {
        // On every chain, since each route configuration ends with the virtual host for unknown names.
        out.push(dynamic_forward_proxy(dynamic_dns::allow_any_cache(cx)));
    }
    out.push(filters::router(side.headers.suppress_debug_headers));
    out
}

fn peer_metadata(side: &Side<'_>, options: &HttpOptions<'_>) -> Option<HttpFilter> {
    let features = side.cx.features();
    if !features.metadata_exchange || !side.cx.proxy.istio_extensions.peer_metadata {
        return None;
    }
    let labels = &features.mx_additional_labels;
    Some(match side.class {
        ListenerClass::SidecarInbound => filters::peer_metadata("downstream", false, labels),
        _ => filters::peer_metadata("upstream", options.mx_headers_for_mesh_only, labels),
    })
}

/// Whether the proxy resolves the names of a wildcard service itself (ServiceEntry `DYNAMIC_DNS`).
pub(super) fn is_dynamic_wildcard(service: &Service) -> bool {
    service.resolution == Resolution::DynamicDns && host::is_wildcard(&service.hostname)
}

fn dynamic_forward_proxy(cache: DnsCacheConfig) -> HttpFilter {
    let cache = forward_proxy::filter_config::ImplementationSpecifier::DnsCacheConfig(cache);
    let config = forward_proxy::FilterConfig { implementation_specifier: Some(cache), ..Default::default() };
    filters::http("envoy.filters.http.dynamic_forward_proxy", &config)
}

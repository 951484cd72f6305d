//! ProxyConfig `connectionSettings`: time-outs, HTTP/2 limits and normalization of all HTTP listeners of a proxy.
//!
//! Source: Istio `pilot/pkg/networking/core/connection_settings.go`.

use crate::Cx;
use meltemi_api::envoy::config::core::v3::{
    Http2ProtocolOptions, HttpProtocolOptions, http_protocol_options::HeadersWithUnderscoresAction,
};
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::PathWithEscapedSlashesAction,
};
use meltemi_api::istio::mesh::v1alpha1::proxy_config::ConnectionSettings;
use meltemi_api::istio::mesh::v1alpha1::proxy_config::connection_settings::{
    HeadersWithUnderscoresAction as Underscores, PathWithEscapedSlashesAction as Slashes, Profile,
};
use meltemi_api::wkt::{Duration, to_prost_duration};

/// The proxy's settings: its own, else the mesh's. A gateway with the profile EDGE has Envoy's recommendations for
/// proxies at the edge where a setting is missing.
pub fn of_proxy(cx: &Cx<'_>) -> ConnectionSettings {
    let own = cx.proxy_config().and_then(|c| c.connection_settings.as_ref());
    let mesh = cx.mesh().default_config.as_ref().and_then(|c| c.connection_settings.as_ref());
    let mut settings = own.or(mesh).cloned().unwrap_or_default();
    if cx.proxy.is_router() && settings.profile() == Profile::Edge {
        fill_for_edge(&mut settings);
    }
    settings
}

fn fill_for_edge(settings: &mut ConnectionSettings) {
    let seconds = |seconds| Duration { seconds, nanos: 0 };
    settings.listener_per_connection_buffer_limit_bytes.get_or_insert(32_768.into());
    settings.http_idle_timeout.get_or_insert(seconds(3600));
    settings.http_stream_idle_timeout.get_or_insert(seconds(300));
    settings.http_request_timeout.get_or_insert(seconds(300));
    settings.http_request_headers_timeout.get_or_insert(seconds(60));
    settings.http_max_concurrent_streams.get_or_insert(100.into());
    settings.http2_initial_stream_window_size.get_or_insert(65_536.into());
    settings.http2_initial_connection_window_size.get_or_insert(1_048_576.into());
    settings.http_merge_slashes.get_or_insert(true.into());
    if settings.http_headers_with_underscores_action() == Underscores::HeadersWithUnderscoresUnspecified {
        settings.set_http_headers_with_underscores_action(Underscores::HeadersWithUnderscoresRejectRequest);
    }
    if settings.http_path_with_escaped_slashes_action() == Slashes::PathWithEscapedSlashesUnspecified {
        settings.set_http_path_with_escaped_slashes_action(Slashes::UnescapeAndRedirect);
    }
}

/// A limit as Envoy wants it; `None` for one that is missing or negative.
pub fn limit(value: Option<i32>) -> Option<u32> {
    value.and_then(|v| u32::try_from(v).ok())
}

/// Applies the settings over those that MeshConfig makes.
pub(super) fn apply(settings: &ConnectionSettings, manager: &mut HttpConnectionManager) {
    apply_timeouts(settings, manager);
    apply_http2(settings, manager);
    let action = match settings.http_headers_with_underscores_action() {
        Underscores::HeadersWithUnderscoresUnspecified => None,
        Underscores::HeadersWithUnderscoresAllow => Some(HeadersWithUnderscoresAction::Allow),
        Underscores::HeadersWithUnderscoresRejectRequest => Some(HeadersWithUnderscoresAction::RejectRequest),
        Underscores::HeadersWithUnderscoresDropHeader => Some(HeadersWithUnderscoresAction::DropHeader),
    };
    if let Some(action) = action {
        common(manager).headers_with_underscores_action = action as i32;
    }
    if let Some(merge) = &settings.http_merge_slashes {
        manager.merge_slashes = merge.value;
    }
    let action = match settings.http_path_with_escaped_slashes_action() {
        Slashes::PathWithEscapedSlashesUnspecified => return,
        Slashes::KeepUnchanged => PathWithEscapedSlashesAction::KeepUnchanged,
        Slashes::RejectRequest => PathWithEscapedSlashesAction::RejectRequest,
        Slashes::UnescapeAndRedirect => PathWithEscapedSlashesAction::UnescapeAndRedirect,
        Slashes::UnescapeAndForward => PathWithEscapedSlashesAction::UnescapeAndForward,
    };
    manager.path_with_escaped_slashes_action = action as i32;
}

fn apply_timeouts(settings: &ConnectionSettings, manager: &mut HttpConnectionManager) {
    let set = |field: &mut Option<prost_types::Duration>, value: &Option<Duration>| {
        if let Some(value) = value {
            *field = Some(to_prost_duration(value));
        }
    };
    if settings.http_idle_timeout.is_some()
        || settings.http_max_connection_duration.is_some()
        || settings.http_max_stream_duration.is_some()
    {
        let common = common(manager);
        set(&mut common.idle_timeout, &settings.http_idle_timeout);
        set(&mut common.max_connection_duration, &settings.http_max_connection_duration);
        set(&mut common.max_stream_duration, &settings.http_max_stream_duration);
    }
    set(&mut manager.stream_idle_timeout, &settings.http_stream_idle_timeout);
    set(&mut manager.request_timeout, &settings.http_request_timeout);
    set(&mut manager.request_headers_timeout, &settings.http_request_headers_timeout);
    set(&mut manager.drain_timeout, &settings.http_drain_timeout);
}

fn apply_http2(settings: &ConnectionSettings, manager: &mut HttpConnectionManager) {
    let streams = settings.http_max_concurrent_streams.as_ref().map(|v| v.value);
    let stream_window = settings.http2_initial_stream_window_size.as_ref().map(|v| v.value);
    let connection_window = settings.http2_initial_connection_window_size.as_ref().map(|v| v.value);
    if streams.or(stream_window).or(connection_window).is_none() {
        return;
    }
    let http2: &mut Http2ProtocolOptions = manager.http2_protocol_options.get_or_insert_default();
    http2.max_concurrent_streams = limit(streams).or(http2.max_concurrent_streams);
    http2.initial_stream_window_size = limit(stream_window).or(http2.initial_stream_window_size);
    http2.initial_connection_window_size = limit(connection_window).or(http2.initial_connection_window_size);
}

fn common(manager: &mut HttpConnectionManager) -> &mut HttpProtocolOptions {
    manager.common_http_protocol_options.get_or_insert_default()
}

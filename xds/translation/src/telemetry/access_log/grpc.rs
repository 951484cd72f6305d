//! Access logs that Envoy streams to a service: Envoy's own protocol, and OpenTelemetry.

use super::{file, log};
use crate::Cx;
use crate::extension_provider::{ServiceCluster, lookup};
use crate::telemetry::provider;
use meltemi_api::envoy::config::accesslog::v3::AccessLog;
use meltemi_api::envoy::config::core::v3::ApiVersion;
use meltemi_api::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use meltemi_api::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use meltemi_api::envoy_types::opentelemetry::proto::common::v1::{
    AnyValue, KeyValue, KeyValueList, any_value,
};
use meltemi_api::istio::mesh::v1alpha1::mesh_config::extension_provider::{
    EnvoyHttpGrpcV3LogProvider, EnvoyOpenTelemetryLogProvider, EnvoyTcpGrpcV3LogProvider,
};
use meltemi_api::wkt::to_prost_struct;
use prost_types::{Struct, value::Kind};

/// The name of the log of HTTP requests, where a provider gives none.
const HTTP_LOG: &str = "http_envoy_accesslog";
/// The name of the log of TCP connections, where a provider gives none.
pub(super) const TCP_LOG: &str = "tcp_envoy_accesslog";
/// The name of the log of connections that no filter chain wants.
pub(super) const LISTENER_LOG: &str = "listener_envoy_accesslog";
/// The name of OpenTelemetry logs, where a provider gives none.
const OTEL_LOG: &str = "otel_envoy_accesslog";

const HTTP_LOGGER: &str = "envoy.access_loggers.http_grpc";
const TCP_LOGGER: &str = "envoy.tcp_grpc_access_log";
const OTEL_LOGGER: &str = "envoy.access_loggers.open_telemetry";

/// The cluster of ProxyConfig `envoyAccessLogService`, part of the bootstrap.
const SERVICE_CLUSTER: &str = "envoy_accesslog_service";

/// What the metadata exchange found out about peers.
const PEERS: [&str; 2] = ["upstream_peer", "downstream_peer"];
/// The same, as proxies before 1.24 called it.
const OLD_PEERS: [&str; 4] =
    ["wasm.upstream_peer", "wasm.upstream_peer_id", "wasm.downstream_peer", "wasm.downstream_peer_id"];

/// HTTP requests, to MeshConfig's service.
pub(super) fn service_http() -> AccessLog {
    let common_config = Some(common(HTTP_LOG, SERVICE_CLUSTER, "", all_peers()));
    log(HTTP_LOGGER, &HttpGrpcAccessLogConfig { common_config, ..Default::default() })
}

/// TCP connections, to MeshConfig's service.
pub(super) fn service_tcp(name: &str) -> AccessLog {
    let common_config = Some(common(name, SERVICE_CLUSTER, "", all_peers()));
    log(TCP_LOGGER, &TcpGrpcAccessLogConfig { common_config })
}

/// HTTP requests, to a provider.
pub(super) fn http(cx: &Cx<'_>, to: &EnvoyHttpGrpcV3LogProvider) -> Option<AccessLog> {
    let backend = lookup(cx, &to.service, to.port)?;
    let config = HttpGrpcAccessLogConfig {
        common_config: Some(to_backend(&to.log_name, HTTP_LOG, &backend, &to.filter_state_objects_to_log)),
        additional_request_headers_to_log: to.additional_request_headers_to_log.clone(),
        additional_response_headers_to_log: to.additional_response_headers_to_log.clone(),
        additional_response_trailers_to_log: to.additional_response_trailers_to_log.clone(),
    };
    Some(log(HTTP_LOGGER, &config))
}

/// TCP connections, to a provider.
pub(super) fn tcp(cx: &Cx<'_>, to: &EnvoyTcpGrpcV3LogProvider) -> Option<AccessLog> {
    let backend = lookup(cx, &to.service, to.port)?;
    let common_config = Some(to_backend(&to.log_name, TCP_LOG, &backend, &to.filter_state_objects_to_log));
    Some(log(TCP_LOGGER, &TcpGrpcAccessLogConfig { common_config }))
}

/// To an OpenTelemetry collector.
#[allow(deprecated)] // Istio names the collector in `common_config`, which proxies of all versions read
pub(super) fn open_telemetry(cx: &Cx<'_>, to: &EnvoyOpenTelemetryLogProvider) -> Option<AccessLog> {
    let backend = lookup(cx, &to.service, to.port)?;
    let format = to.log_format.as_ref();
    let text = format.map(|f| f.text.as_str()).filter(|t| !t.is_empty()).unwrap_or(file::TEXT_FORMAT);
    let labels = format.and_then(|f| f.labels.as_ref()).map(to_prost_struct).unwrap_or_default();
    let name = if to.log_name.is_empty() { OTEL_LOG } else { &to.log_name };
    let config = OpenTelemetryAccessLogConfig {
        common_config: Some(common(name, &backend.cluster, &backend.hostname, all_peers())),
        disable_builtin_labels: true,
        body: Some(string(text)),
        formatters: file::formatters(std::iter::once(text).chain(file::texts(&labels))),
        attributes: attributes(&labels),
        ..Default::default()
    };
    Some(log(OTEL_LOGGER, &config))
}

/// Labels as attributes; a label that is no text becomes an empty one.
fn attributes(labels: &Struct) -> Option<KeyValueList> {
    let pair = |(key, value): (&String, &prost_types::Value)| {
        let text = match &value.kind {
            Some(Kind::StringValue(text)) => text.as_str(),
            _ => "",
        };
        KeyValue { key: key.clone(), value: Some(string(text)), ..Default::default() }
    };
    (!labels.fields.is_empty()).then(|| KeyValueList { values: labels.fields.iter().map(pair).collect() })
}

fn string(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}

fn to_backend(name: &str, default: &str, to: &ServiceCluster, state: &[String]) -> CommonGrpcAccessLogConfig {
    let state = if state.is_empty() { PEERS.map(str::to_owned).to_vec() } else { state.to_vec() };
    common(if name.is_empty() { default } else { name }, &to.cluster, &to.hostname, state)
}

fn common(name: &str, cluster: &str, authority: &str, state: Vec<String>) -> CommonGrpcAccessLogConfig {
    CommonGrpcAccessLogConfig {
        log_name: name.to_owned(),
        grpc_service: Some(provider::grpc(cluster, authority)),
        transport_api_version: ApiVersion::V3 as i32,
        filter_state_objects_to_log: state,
        ..Default::default()
    }
}

fn all_peers() -> Vec<String> {
    PEERS.iter().chain(&OLD_PEERS).map(|s| (*s).to_owned()).collect()
}

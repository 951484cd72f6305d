//! Access logs: which, where to, in which format, and of which requests.
//!
//! Telemetry resources and MeshConfig `defaultProviders.accessLogging` choose providers; where neither says anything,
//! MeshConfig's older fields count (`accessLogFile`, `enableEnvoyAccessLogService`).
//! Source: Istio `pilot/pkg/networking/core/accesslog.go`, `pilot/pkg/model/telemetry_logging.go`.

mod choose;
mod file;
mod grpc;

use super::{provider, workload_mode};
use crate::proxy_headers::ListenerClass;
use crate::{Cx, wire};
use access_log::ConfigType;
use access_log_filter::FilterSpecifier;
use meltemi_api::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, ExtensionFilter, ResponseFlagFilter, access_log,
    access_log_filter, extension_filter,
};
use meltemi_api::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use meltemi_api::istio::mesh::v1alpha1::mesh_config::{ExtensionProvider, extension_provider::Provider};
use meltemi_api::istio::telemetry::v1alpha1::Telemetry;
use prost::{Message, Name};

/// The provider that is in MeshConfig by default: its format is the mesh's.
const BUILT_IN: &str = "envoy";

/// The access logs of one side of a proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessLogs {
    /// Of HTTP requests.
    pub http: Vec<AccessLog>,
    /// Of TCP connections.
    pub tcp: Vec<AccessLog>,
    /// Of connections that no filter chain wants.
    pub listener: Vec<AccessLog>,
}

impl AccessLogs {
    /// The access logs for listeners of `class`.
    pub(super) fn of(cx: &Cx<'_>, class: ListenerClass, applicable: &[&Telemetry]) -> Self {
        let defaults = provider::defaults(cx, |d| &d.access_logging);
        let chosen = choose::providers(applicable, &defaults, workload_mode(class));
        let of_providers = chosen.and_then(|chosen| Self::of_providers(cx, &chosen));
        let mut logs = of_providers.unwrap_or_else(|| Self::of_mesh(cx));
        if cx.mesh().disable_envoy_listener_log {
            logs.listener.clear();
        }
        logs
    }

    fn of_mesh(cx: &Cx<'_>) -> Self {
        let mesh = cx.mesh();
        let mut out = Self::default();
        if !mesh.access_log_file.is_empty() {
            let log = file::of_mesh(&mesh.access_log_file, mesh);
            out.listener.push(filtered(log.clone(), vec![unmatched_only()]));
            out.http.push(log.clone());
            out.tcp.push(log);
        }
        if mesh.enable_envoy_access_log_service {
            out.http.push(grpc::service_http());
            out.tcp.push(grpc::service_tcp(grpc::TCP_LOG));
            out.listener.push(filtered(grpc::service_tcp(grpc::LISTENER_LOG), vec![unmatched_only()]));
        }
        out
    }

    /// The logs of the chosen providers that can log; `None` where none of them can, disabled or not.
    fn of_providers(cx: &Cx<'_>, chosen: &choose::Providers<'_>) -> Option<Self> {
        let find = |name: &str| provider::find(cx, name).and_then(|p| of_provider(cx, p));
        let usable: Vec<_> = chosen.iter().filter_map(|(name, choice)| Some((find(name)?, choice))).collect();
        if usable.is_empty() {
            return None;
        }
        let mut out = Self::default();
        for (log, choice) in usable.into_iter().filter(|(_, choice)| !choice.disabled) {
            let own = choice.expression.map(matching);
            let log_of_all = filtered(log.clone(), own.clone().into_iter().collect());
            out.listener.push(filtered(log, std::iter::once(unmatched_only()).chain(own).collect()));
            out.http.push(log_of_all.clone());
            out.tcp.push(log_of_all);
        }
        Some(out)
    }
}

/// The access log of a provider; `None` for one that keeps none, or whose service does not exist.
fn of_provider(cx: &Cx<'_>, provider: &ExtensionProvider) -> Option<AccessLog> {
    match provider.provider.as_ref()? {
        Provider::EnvoyFileAccessLog(file) => {
            let by_mesh = provider.name == BUILT_IN && file.log_format.is_none() && !file.omit_empty_values;
            Some(if by_mesh { file::of_mesh(&file.path, cx.mesh()) } else { file::of_provider(file) })
        }
        Provider::EnvoyHttpAls(http) => grpc::http(cx, http),
        Provider::EnvoyTcpAls(tcp) => grpc::tcp(cx, tcp),
        Provider::EnvoyOtelAls(otel) => grpc::open_telemetry(cx, otel),
        _ => None,
    }
}

fn log<M: Message + Name>(name: &str, config: &M) -> AccessLog {
    let config_type = Some(ConfigType::TypedConfig(wire::any(config)));
    AccessLog { name: name.to_owned(), config_type, ..Default::default() }
}

fn filtered(mut log: AccessLog, mut filters: Vec<AccessLogFilter>) -> AccessLog {
    log.filter = match filters.len() {
        0 | 1 => filters.pop(),
        _ => Some(filter(FilterSpecifier::AndFilter(AndFilter { filters }))),
    };
    log
}

/// Only connections that no filter chain matched (response flag NR): the chain logs all others.
fn unmatched_only() -> AccessLogFilter {
    filter(FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter { flags: vec!["NR".to_owned()] }))
}

/// Only what a CEL expression is true for.
fn matching(expression: &str) -> AccessLogFilter {
    let config = ExpressionFilter { expression: expression.to_owned(), ..Default::default() };
    filter(FilterSpecifier::ExtensionFilter(ExtensionFilter {
        name: "envoy.access_loggers.extension_filters.cel".to_owned(),
        config_type: Some(extension_filter::ConfigType::TypedConfig(wire::any(&config))),
    }))
}

fn filter(specifier: FilterSpecifier) -> AccessLogFilter {
    AccessLogFilter { filter_specifier: Some(specifier) }
}

//! The tracers that MeshConfig's providers stand for.

use super::open_telemetry;
use crate::extension_provider::lookup;
use crate::telemetry::provider;
use crate::{Cx, wire};
use meltemi_api::envoy::config::core::v3::{HttpService, HttpUri, http_uri::HttpUpstreamType};
use meltemi_api::envoy::config::trace::v3::{
    DatadogConfig, SkyWalkingConfig, ZipkinConfig, tracing,
    zipkin_config::{CollectorEndpointVersion, TraceContextOption},
};
use meltemi_api::istio::mesh::v1alpha1::mesh_config::{
    ExtensionProvider,
    extension_provider::{
        DatadogTracingProvider, Provider, SkyWalkingTracingProvider, ZipkinTracingProvider,
        zipkin_tracing_provider,
    },
};
use meltemi_api::wkt::{self, Any, to_prost_duration};

/// From this version on, proxies send to Zipkin by an HTTP service with time-out and headers.
const ZIPKIN_HTTP_SERVICE: (u32, u32) = (1, 29);
/// From this version on, proxies may pass on traces in W3C's form beside Zipkin's.
const ZIPKIN_W3C: (u32, u32) = (1, 28);
/// Where Zipkin takes spans, unless a provider says otherwise.
const ZIPKIN_PATH: &str = "/api/v2/spans";
/// How long sending to Zipkin may take, in seconds, unless a provider says otherwise; Envoy wants to be told.
const ZIPKIN_TIMEOUT: i64 = 5;

/// A tracer.
pub(super) struct Tracer {
    /// Its configuration.
    pub(super) config: tracing::Http,
    /// The longest value of the tag of the path, in bytes; 0 for no limit of its own.
    pub(super) max_tag_length: u32,
    /// Whether it decides by itself what is traced.
    pub(super) samples: bool,
    /// Whether a request to a server has a span of its own.
    pub(super) starts_span: bool,
}

/// The tracer of a provider; `None` for one that does not trace, or whose service does not exist.
pub(super) fn of_provider(cx: &Cx<'_>, provider: &ExtensionProvider) -> Option<Tracer> {
    let gateway = cx.proxy.is_router();
    let tracer = |name: &str, config: Any, max_tag_length, samples, starts_span| Tracer {
        config: tracing::Http {
            name: name.to_owned(),
            config_type: Some(tracing::http::ConfigType::TypedConfig(config)),
        },
        max_tag_length,
        samples,
        starts_span,
    };
    Some(match provider.provider.as_ref()? {
        Provider::Zipkin(p) => {
            tracer("envoy.tracers.zipkin", zipkin(cx, p)?, p.max_tag_length, false, gateway)
        }
        Provider::Datadog(p) => {
            tracer("envoy.tracers.datadog", datadog(cx, p)?, p.max_tag_length, false, gateway)
        }
        Provider::Skywalking(p) => tracer("envoy.tracers.skywalking", skywalking(cx, p)?, 0, false, true),
        Provider::Opentelemetry(p) => {
            let config = wire::any(&open_telemetry::config(cx, p)?);
            tracer("envoy.tracers.opentelemetry", config, p.max_tag_length, p.sampling.is_some(), gateway)
        }
        _ => return None,
    })
}

fn zipkin(cx: &Cx<'_>, provider: &ZipkinTracingProvider) -> Option<Any> {
    use zipkin_tracing_provider::TraceContextOption as Chosen;
    let to = lookup(cx, &provider.service, provider.port)?;
    let path = if provider.path.is_empty() { ZIPKIN_PATH } else { &provider.path };
    let mut config = ZipkinConfig {
        collector_endpoint_version: CollectorEndpointVersion::HttpJson as i32,
        trace_id_128bit: !provider.enable_64bit_trace_id,
        shared_span_context: Some(false),
        ..Default::default()
    };
    if cx.proxy.istio_version_is_at_least(ZIPKIN_HTTP_SERVICE) {
        let timeout = provider.timeout.as_ref().map_or(wkt::seconds(ZIPKIN_TIMEOUT), to_prost_duration);
        config.collector_service = Some(HttpService {
            http_uri: Some(http_uri(format!("http://{}{path}", to.hostname), &to.cluster, Some(timeout))),
            request_headers_to_add: provider::headers(cx, &provider.headers),
            ..Default::default()
        });
    } else {
        config.collector_cluster = to.cluster;
        config.collector_endpoint = path.to_owned();
        config.collector_hostname = to.hostname.to_string();
    }
    if cx.proxy.istio_version_is_at_least(ZIPKIN_W3C)
        && provider.trace_context_option() == Chosen::UseB3WithW3cPropagation
    {
        config.trace_context_option = TraceContextOption::UseB3WithW3cPropagation as i32;
    }
    Some(wire::any(&config))
}

fn datadog(cx: &Cx<'_>, provider: &DatadogTracingProvider) -> Option<Any> {
    let to = lookup(cx, &provider.service, provider.port)?;
    Some(wire::any(&DatadogConfig {
        collector_cluster: to.cluster,
        // Spans tell who made them, not who they are for.
        service_name: cx.proxy.service_cluster.to_string(),
        collector_hostname: to.hostname.to_string(),
        ..Default::default()
    }))
}

fn skywalking(cx: &Cx<'_>, provider: &SkyWalkingTracingProvider) -> Option<Any> {
    let to = lookup(cx, &provider.service, provider.port)?;
    let grpc_service = Some(provider::grpc(&to.cluster, &to.hostname));
    Some(wire::any(&SkyWalkingConfig { grpc_service, ..Default::default() }))
}

/// A URI that is reached by a cluster.
pub(super) fn http_uri(uri: String, cluster: &str, timeout: Option<prost_types::Duration>) -> HttpUri {
    HttpUri { uri, timeout, http_upstream_type: Some(HttpUpstreamType::Cluster(cluster.to_owned())) }
}

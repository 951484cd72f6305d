//! The OpenTelemetry tracer: exporter, resource detectors, sampler.

use super::tracer::http_uri;
use crate::extension_provider::{ServiceCluster, lookup};
use crate::telemetry::provider;
use crate::{Cx, wire};
use meltemi_api::envoy::config::core::v3::{HttpService, TypedExtensionConfig};
use meltemi_api::envoy::config::trace::v3::OpenTelemetryConfig;
use meltemi_api::envoy::extensions::tracers::opentelemetry::{
    resource_detectors::v3::{DynatraceResourceDetectorConfig, EnvironmentResourceDetectorConfig},
    samplers::v3::DynatraceSamplerConfig,
};
use meltemi_api::istio::mesh::v1alpha1::mesh_config::extension_provider::{
    self as api, OpenTelemetryTracingProvider, ServiceAttributeEnrichment,
    open_telemetry_tracing_provider::{DynatraceSampler, Sampling},
};
use meltemi_api::wkt::to_prost_duration;

/// Where Dynatrace tells how much to sample.
const DYNATRACE_SAMPLING: &str = "api/v2/samplingConfiguration";

/// The tracer's configuration; `None` where the provider's service does not exist.
pub(super) fn config(cx: &Cx<'_>, from: &OpenTelemetryTracingProvider) -> Option<OpenTelemetryConfig> {
    let to = lookup(cx, &from.service, from.port)?;
    let mut config = OpenTelemetryConfig {
        service_name: service_name(cx, from),
        resource_detectors: resource_detectors(from),
        ..Default::default()
    };
    match &from.http {
        Some(http) => config.http_service = Some(http_service(cx, &to, &http.path, http)),
        None => {
            let mut service = provider::grpc(&to.cluster, &to.hostname);
            if let Some(grpc) = &from.grpc {
                service.timeout = grpc.timeout.as_ref().map(to_prost_duration);
                service.initial_metadata = provider::metadata(cx, &grpc.initial_metadata);
            }
            config.grpc_service = Some(service);
        }
    }
    if let Some(Sampling::DynatraceSampler(sampler)) = &from.sampling {
        config.sampler = Some(dynatrace_sampler(cx, &to, from, sampler)?);
    }
    Some(config)
}

fn by_conventions(from: &OpenTelemetryTracingProvider) -> bool {
    from.service_attribute_enrichment() == ServiceAttributeEnrichment::OtelSemanticConventions
}

/// The name of the service that the proxy stands for. By OpenTelemetry's conventions for Kubernetes, the first of:
/// annotation, instance label, name label, workload, Pod.
fn service_name(cx: &Cx<'_>, from: &OpenTelemetryTracingProvider) -> String {
    let proxy = cx.proxy;
    if !by_conventions(from) {
        return proxy.service_cluster.to_string();
    }
    let candidates = [
        proxy.metadata.annotations.get("resource.opentelemetry.io/service.name").map(String::as_str),
        proxy.labels.get("app.kubernetes.io/instance"),
        proxy.labels.get("app.kubernetes.io/name"),
        Some(proxy.metadata.workload_name.as_str()),
    ];
    let found = candidates.into_iter().flatten().find(|name| !name.is_empty());
    let pod = || proxy.name().split_once('.').map(|(pod, _)| pod).filter(|pod| !pod.is_empty());
    found.or_else(pod).unwrap_or("unknown_service").to_owned()
}

fn resource_detectors(from: &OpenTelemetryTracingProvider) -> Vec<TypedExtensionConfig> {
    let detectors = from.resource_detectors.as_ref();
    let environment = detectors.is_some_and(|d| d.environment.is_some());
    let dynatrace = detectors.is_some_and(|d| d.dynatrace.is_some());
    let of_environment = || TypedExtensionConfig {
        name: "envoy.tracers.opentelemetry.resource_detectors.environment".to_owned(),
        typed_config: Some(wire::any(&EnvironmentResourceDetectorConfig::default())),
    };
    let of_dynatrace = || TypedExtensionConfig {
        name: "envoy.tracers.opentelemetry.resource_detectors.dynatrace".to_owned(),
        typed_config: Some(wire::any(&DynatraceResourceDetectorConfig::default())),
    };
    let mut out = Vec::new();
    out.extend(environment.then(of_environment));
    out.extend(dynatrace.then(of_dynatrace));
    // By the conventions, the environment may override what the name says.
    out.extend((by_conventions(from) && !environment).then(of_environment));
    out
}

/// The sampler asks the exporter's own host, unless it has a service of its own.
fn dynatrace_sampler(
    cx: &Cx<'_>,
    exporter: &ServiceCluster,
    from: &OpenTelemetryTracingProvider,
    sampler: &DynatraceSampler,
) -> Option<TypedExtensionConfig> {
    let service = match &sampler.http_service {
        None => http_service(cx, exporter, DYNATRACE_SAMPLING, from.http.as_ref()?),
        Some(own) => {
            let to = lookup(cx, &own.service, own.port)?;
            let http = own.http.clone().unwrap_or_default();
            http_service(cx, &to, &http.path, &http)
        }
    };
    let config = DynatraceSamplerConfig {
        tenant: sampler.tenant.clone(),
        cluster_id: sampler.cluster_id,
        root_spans_per_minute: sampler.root_spans_per_minute,
        http_service: Some(service),
    };
    Some(TypedExtensionConfig {
        name: "envoy.tracers.opentelemetry.samplers.dynatrace".to_owned(),
        typed_config: Some(wire::any(&config)),
    })
}

fn http_service(cx: &Cx<'_>, to: &ServiceCluster, path: &str, http: &api::HttpService) -> HttpService {
    let timeout = http.timeout.as_ref().map(to_prost_duration);
    HttpService {
        http_uri: Some(http_uri(join(&to.hostname, path), &to.cluster, timeout)),
        request_headers_to_add: provider::headers(cx, &http.headers),
        ..Default::default()
    }
}

/// Joins host and path to a path without `.`, `..` and repeated slashes; a slash at the end stays (Go `url.JoinPath`).
fn join(host: &str, path: &str) -> String {
    let mut parts = vec![host];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if path.ends_with('/') { joined + "/" } else { joined }
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn paths_are_joined_cleanly() {
        assert_eq!(join("h", "/v1/traces"), "h/v1/traces");
        assert_eq!(join("h", "v1//./x/../traces/"), "h/v1/traces/");
        assert_eq!(join("h", ""), "h");
    }
}

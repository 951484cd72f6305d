//! MeshConfig `extensionProviders`: which one a name means, and what requests to it carry.

use crate::Cx;
use meltemi_api::envoy::config::core::v3::{
    GrpcService, HeaderValue, HeaderValueOption, grpc_service, header_value_option::HeaderAppendAction,
};
use meltemi_api::istio::mesh::v1alpha1::mesh_config::{
    DefaultProviders, ExtensionProvider,
    extension_provider::{HttpHeader, http_header},
};
use meltemi_api::istio::telemetry::v1alpha1::ProviderRef;

/// The provider of a name; its case does not matter.
pub(super) fn find<'a>(cx: &Cx<'a>, name: &str) -> Option<&'a ExtensionProvider> {
    cx.mesh().extension_providers.iter().find(|p| p.name.eq_ignore_ascii_case(name))
}

/// MeshConfig `defaultProviders`, a list of it.
pub(super) fn defaults<'a>(cx: &Cx<'a>, list: fn(&DefaultProviders) -> &Vec<String>) -> Vec<&'a str> {
    cx.mesh()
        .default_providers
        .as_ref()
        .map_or_else(Vec::new, |d| list(d).iter().map(String::as_str).collect())
}

/// The names that a Telemetry resource gives.
pub(super) fn names(references: &[ProviderRef]) -> Vec<&str> {
    references.iter().map(|r| r.name.as_str()).collect()
}

/// A gRPC service in a cluster.
pub(super) fn grpc(cluster: &str, authority: &str) -> GrpcService {
    let service = grpc_service::EnvoyGrpc {
        cluster_name: cluster.to_owned(),
        authority: authority.to_owned(),
        ..Default::default()
    };
    GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(service)),
        ..Default::default()
    }
}

/// Headers that requests to a provider carry.
pub(super) fn headers(cx: &Cx<'_>, headers: &[HttpHeader]) -> Vec<HeaderValueOption> {
    let option = |header| HeaderValueOption {
        header: Some(header),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..Default::default()
    };
    metadata(cx, headers).into_iter().map(option).collect()
}

/// Metadata that gRPC streams to a provider carry.
pub(super) fn metadata(cx: &Cx<'_>, headers: &[HttpHeader]) -> Vec<HeaderValue> {
    let value = |h: &HttpHeader| match &h.header_value {
        Some(http_header::HeaderValue::Value(value)) => value.clone(),
        Some(http_header::HeaderValue::EnvName(name)) => {
            cx.snapshot.settings.environment.get(name).to_owned()
        }
        None => String::new(),
    };
    headers
        .iter()
        .map(|h| HeaderValue { key: h.name.clone(), value: value(h), ..Default::default() })
        .collect()
}

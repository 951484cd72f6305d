//! Tags of spans: Istio's own, and those that users add.

use crate::Cx;
use custom_tag::{Environment, Header, Literal, Metadata, Type};
use meltemi_api::envoy::r#type::metadata::v3::{
    MetadataKey, MetadataKind, metadata_key::PathSegment, metadata_key::path_segment, metadata_kind,
};
use meltemi_api::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use meltemi_api::istio::mesh::v1alpha1::tracing::custom_tag as mesh;
use meltemi_api::istio::telemetry::v1alpha1::tracing::{self as telemetry, custom_tag as chosen};
use std::collections::BTreeMap;

/// From this version on, proxies know tags with format strings.
const FORMATTED: (u32, u32) = (1, 29);

/// Tags that show what policies in dry-run mode would have decided, with where the RBAC filter notes that.
const DRY_RUN: [(&str, &str); 4] = [
    ("istio.authorization.dry_run.allow_policy.name", "istio_dry_run_allow_shadow_effective_policy_id"),
    ("istio.authorization.dry_run.allow_policy.result", "istio_dry_run_allow_shadow_engine_result"),
    ("istio.authorization.dry_run.deny_policy.name", "istio_dry_run_deny_shadow_effective_policy_id"),
    ("istio.authorization.dry_run.deny_policy.result", "istio_dry_run_deny_shadow_engine_result"),
];

/// All tags in order of name. Those of Telemetry resources replace those of ProxyConfig.
pub(super) fn all(
    cx: &Cx<'_>,
    with_istio_tags: bool,
    chosen: Option<&BTreeMap<String, telemetry::CustomTag>>,
) -> Vec<CustomTag> {
    let mut out = if with_istio_tags { of_istio(cx) } else { Vec::new() };
    match chosen {
        Some(chosen) => out.extend(chosen.iter().filter_map(|(name, tag)| of_telemetry(cx, name, tag))),
        None => out.extend(of_proxy_config(cx)),
    }
    out.sort_by(|a, b| a.tag.cmp(&b.tag));
    out
}

/// What the proxy's workload is, and the results of policies in dry-run mode.
fn of_istio(cx: &Cx<'_>) -> Vec<CustomTag> {
    let (labels, metadata) = (&cx.proxy.labels, &cx.proxy.metadata);
    let label = |key| labels.get(key).unwrap_or_default();
    let workload = [
        ("istio.canonical_revision", label("service.istio.io/canonical-revision"), "latest"),
        ("istio.canonical_service", label("service.istio.io/canonical-name"), "unknown"),
        ("istio.mesh_id", &metadata.mesh_id, "unknown"),
        ("istio.namespace", &metadata.namespace, "default"),
        ("istio.cluster_id", &metadata.cluster_id, "unknown"),
    ];
    let literal = |(name, value, default): (&str, &str, &str)| {
        let value = if value.is_empty() { default } else { value };
        tag(name, Type::Literal(Literal { value: value.to_owned() }))
    };
    workload.into_iter().map(literal).chain(DRY_RUN.map(|(name, key)| of_rbac(name, key))).collect()
}

fn of_rbac(name: &str, key: &str) -> CustomTag {
    let segment = Some(path_segment::Segment::Key(key.to_owned()));
    let request = metadata_kind::Kind::Request(metadata_kind::Request {});
    let metadata = Metadata {
        kind: Some(MetadataKind { kind: Some(request) }),
        metadata_key: Some(MetadataKey {
            key: "envoy.filters.http.rbac".to_owned(),
            path: vec![PathSegment { segment }],
        }),
        ..Default::default()
    };
    tag(name, Type::Metadata(metadata))
}

fn of_telemetry(cx: &Cx<'_>, name: &str, custom: &telemetry::CustomTag) -> Option<CustomTag> {
    let value = match custom.r#type.as_ref() {
        Some(chosen::Type::Literal(l)) => literal(&l.value),
        Some(chosen::Type::Environment(e)) => environment(&e.name, &e.default_value),
        Some(chosen::Type::Header(h)) => header(&h.name, &h.default_value),
        Some(chosen::Type::Formatter(f)) if cx.proxy.istio_version_is_at_least(FORMATTED) => {
            Type::Value(f.value.clone())
        }
        Some(chosen::Type::Formatter(_)) => return None,
        None => return Some(CustomTag { tag: name.to_owned(), r#type: None }),
    };
    Some(tag(name, value))
}

fn of_proxy_config(cx: &Cx<'_>) -> Vec<CustomTag> {
    let custom = cx.proxy_config().and_then(|c| c.tracing.as_ref()).map(|t| &t.custom_tags);
    let one = |(name, custom): (&String, &meltemi_api::istio::mesh::v1alpha1::tracing::CustomTag)| {
        let value = match custom.r#type.as_ref()? {
            mesh::Type::Literal(l) => literal(&l.value),
            mesh::Type::Environment(e) => environment(&e.name, &e.default_value),
            mesh::Type::Header(h) => header(&h.name, &h.default_value),
        };
        Some(tag(name, value))
    };
    custom.into_iter().flatten().filter_map(one).collect()
}

fn tag(name: &str, value: Type) -> CustomTag {
    CustomTag { tag: name.to_owned(), r#type: Some(value) }
}

fn literal(value: &str) -> Type {
    Type::Literal(Literal { value: value.to_owned() })
}

fn environment(name: &str, default: &str) -> Type {
    Type::Environment(Environment { name: name.to_owned(), default_value: default.to_owned() })
}

fn header(name: &str, default: &str) -> Type {
    Type::RequestHeader(Header { name: name.to_owned(), default_value: default.to_owned() })
}

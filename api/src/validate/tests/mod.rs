//! Tables of objects, each with the fields that are wrong.

mod destination_rule;
mod envoy_filter;
mod gateway;
mod http_route;
mod service_entry;
mod sidecar;
mod virtual_service;
mod workload;

use super::{Finding, admit};
use crate::k8s::ObjectMeta;
use serde_json::{Value as Json, json};

/// A `spec`, the fields that make it refused, and those that istiod warns of; all without the `spec.` before.
type Row<'a> = (Json, &'a [&'a str], &'a [&'a str]);

fn meta() -> ObjectMeta {
    ObjectMeta { name: "a".into(), namespace: "own".into(), ..ObjectMeta::default() }
}

/// Checks a table of objects that have no labels or annotations.
fn check(kind: &str, rows: impl IntoIterator<Item = Row<'static>>) {
    for (spec, errors, warnings) in rows {
        check_as(kind, &meta(), spec, errors, warnings);
    }
}

fn check_as(kind: &str, meta: &ObjectMeta, spec: Json, errors: &[&str], warnings: &[&str]) {
    let found = admit(kind, meta, spec.clone()).unwrap();
    let refused: Vec<Finding> = found.errors.into_iter().chain(found.partial).collect();
    assert_eq!(fields(&refused), errors, "{kind} {spec}\n{refused:#?}");
    assert_eq!(fields(&found.warnings), warnings, "{kind} {spec}\n{:#?}", found.warnings);
}

/// Each field once: several things may be wrong with it.
fn fields(findings: &[Finding]) -> Vec<&str> {
    let mut fields: Vec<&str> =
        findings.iter().map(|f| f.field.strip_prefix("spec.").unwrap_or(&f.field)).collect();
    fields.dedup();
    fields
}

#[test]
fn an_empty_object_is_refused_where_something_must_be_said() {
    for (kind, errors) in [
        ("VirtualService", &["spec"][..]),
        ("DestinationRule", &["host"]),
        ("ServiceEntry", &["hosts"]),
        ("WorkloadEntry", &["address"]),
        ("WorkloadGroup", &["template"]),
        ("Sidecar", &["spec"]),
        ("Gateway", &["servers"]),
        ("EnvoyFilter", &[]),
        ("ProxyConfig", &[]),
    ] {
        check_as(kind, &meta(), Json::Null, errors, &[]);
        check_as(kind, &meta(), json!({}), errors, &[]);
    }
}

#[test]
fn proxy_configs() {
    check(
        "ProxyConfig",
        [
            (json!({"concurrency": 0, "environmentVariables": {"A": "b"}}), &[][..], &[][..]),
            (json!({"concurrency": -1}), &["concurrency"], &[]),
            (json!({"selector": {"matchLabels": {"app": "a"}}}), &[], &[]),
            (json!({"selector": {"matchLabels": {"app": "*"}}}), &["selector.matchLabels[app]"], &[]),
            (json!({"selector": {}}), &[], &["selector.matchLabels"]),
        ],
    );
}

//! Which statistics Envoy keeps, and what of their names becomes a label.
//!
//! All others are off: a sidecar knows of every service in the mesh, and each would cost memory.

use serde_json::{Value, json};

use super::object;
use crate::settings::Settings;

/// What is always kept (Istio `pkg/bootstrap`).
const PREFIXES: &[&str] = &[
    "reporter=",
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "wasm",
    "component",
    "istio",
];
const SUFFIXES: &[&str] = &["rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied"];
const EXPRESSIONS: &[&str] = &[r"vhost\..*\.route\..*"];

/// Labels, and where they stand in a name. Clusters' names end with `;`, for they hold dots.
const TAGS: &[(&str, &str)] = &[
    ("cluster_name", r"^cluster(\.(.+);)"),
    ("http_conn_manager_prefix", r"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)"),
    ("thread_name", r"^server(\.(.+))\.watchdog"),
    ("tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    (
        "http_conn_manager_listener_prefix",
        r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    ),
    ("listener_address", r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("wasm_filter", r"(wasm_filter\.(.+?)\.)"),
    ("authz_enforce_result", r"rbac(\.(allowed|denied))"),
    ("authz_dry_run_action", r"(\.istio_dry_run_(allow|deny)_)"),
    ("authz_dry_run_result", r"(\.shadow_(allowed|denied))"),
];

/// Envoy's `stats_config`.
pub(super) fn config(settings: &Settings) -> Value {
    let tags: Vec<_> = TAGS.iter().map(|(name, regex)| json!({"tag_name": name, "regex": regex})).collect();
    let (proxy, metadata) = (&settings.proxy, &settings.metadata);
    // An annotation of the Pod takes the place of the ProxyConfig's list.
    let wanted = |annotation: &str, field: &str| -> Vec<String> {
        match metadata.annotation(&format!("sidecar.istio.io/{annotation}")) {
            Some(list) => list.split(',').map(|i| i.trim().to_owned()).filter(|i| !i.is_empty()).collect(),
            None => {
                let list = proxy.get("proxyStatsMatcher")[field].as_array();
                list.into_iter().flatten().filter_map(|v| v.as_str().map(String::from)).collect()
            }
        }
    };
    let all =
        |own: &[&str], more: Vec<String>| own.iter().map(|s| (*s).to_owned()).chain(more).collect::<Vec<_>>();
    let prefixes = all(PREFIXES, wanted("statsInclusionPrefixes", "inclusionPrefixes"));
    let mut suffixes = all(SUFFIXES, wanted("statsInclusionSuffixes", "inclusionSuffixes"));
    if settings.termination.on_zero_connections {
        suffixes.push("downstream_cx_active".into());
    }
    let expressions = all(EXPRESSIONS, wanted("statsInclusionRegexps", "inclusionRegexps"));
    let mut patterns: Vec<_> = prefixes.into_iter().map(|p| object([("prefix", json!(p))])).collect();
    patterns.extend(suffixes.into_iter().map(|s| object([("suffix", json!(s))])));
    patterns.extend(expressions.into_iter().map(|r| object([("safe_regex", json!({"regex": r}))])));
    json!({
        "use_all_default_tags": false,
        "stats_tags": tags,
        "stats_matcher": {"inclusion_list": {"patterns": patterns}},
    })
}

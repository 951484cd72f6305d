//! CUSTOM policies: RBAC that only looks which rule matches, and external authorization of the requests that one does.
//!
//! Source: Istio `pilot/pkg/security/authz/builder/builder.go` (`buildHTTP`, `buildTCP`).

use super::provider::{self, Provider};
use super::{Chain, HTTP_RBAC, NETWORK_RBAC, Rules, TCP_STATS, http_filter, matcher, network_filter};
use crate::index::authz::Policy;
use crate::{Cx, wire};
use meltemi_api::envoy::config::listener::v3::Filter;
use meltemi_api::envoy::config::rbac::v3::{Rbac, rbac::Action};
use meltemi_api::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use meltemi_api::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use meltemi_api::envoy::r#type::matcher::v3::MetadataMatcher;
use meltemi_api::istio::security::v1beta1::authorization_policy::ActionDetail;
use std::collections::BTreeMap;

const HTTP_EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";
const NETWORK_EXT_AUTHZ: &str = "envoy.filters.network.ext_authz";
/// What the metadata of the look-only rules begins with.
const SHADOW_PREFIX: &str = "istio_ext_authz_";
/// What the names of rules begin with, so that external authorization knows its own.
const RULE_PREFIX: &str = "istio-ext-authz-";
/// What the names of rules end with that deny for want of a usable provider.
const BAD_SUFFIX: &str = "-deny-due-to-bad-CUSTOM-action";

/// What becomes of the policies of one provider.
enum Step<'a> {
    /// Nobody to ask: requests that match are denied.
    Deny(Rbac),
    /// The provider is asked.
    Ask { name: &'a str, provider: Box<Provider>, enforced: Rbac, dry_run: Option<Rbac> },
}

/// The HTTP filters of CUSTOM policies.
pub(crate) fn http(cx: &Cx<'_>, chain: Chain, policies: &[&Policy]) -> Vec<HttpFilter> {
    let rbac = |config: HttpRbac| http_filter(HTTP_RBAC, wire::any(&config));
    let mut filters = Vec::new();
    for step in steps(cx, chain, policies) {
        match step {
            Step::Deny(rules) => filters.push(rbac(HttpRbac { rules: Some(rules), ..Default::default() })),
            Step::Ask { name, provider, enforced, dry_run } => {
                filters.push(rbac(HttpRbac {
                    rules: dry_run,
                    shadow_rules: Some(enforced),
                    shadow_rules_stat_prefix: SHADOW_PREFIX.to_owned(),
                    ..Default::default()
                }));
                let mut config = provider.http;
                config.filter_enabled_metadata = Some(matched(HTTP_RBAC, name));
                filters.push(http_filter(HTTP_EXT_AUTHZ, wire::any(&config)));
            }
        }
    }
    filters
}

/// The network filters of CUSTOM policies; those of HTTP providers have none.
pub(crate) fn network(cx: &Cx<'_>, chain: Chain, policies: &[&Policy]) -> Vec<Filter> {
    let rbac = |config: NetworkRbac| {
        network_filter(NETWORK_RBAC, wire::any(&NetworkRbac { stat_prefix: TCP_STATS.to_owned(), ..config }))
    };
    let mut filters = Vec::new();
    for step in steps(cx, chain, policies) {
        match step {
            Step::Deny(rules) => filters.push(rbac(NetworkRbac { rules: Some(rules), ..Default::default() })),
            Step::Ask { name, provider, enforced, dry_run } => {
                let Some(mut config) = provider.network else { continue };
                filters.push(rbac(NetworkRbac {
                    rules: dry_run,
                    shadow_rules: Some(enforced),
                    shadow_rules_stat_prefix: SHADOW_PREFIX.to_owned(),
                    ..Default::default()
                }));
                config.filter_enabled_metadata = Some(matched(NETWORK_RBAC, name));
                filters.push(network_filter(NETWORK_EXT_AUTHZ, wire::any(&config)));
            }
        }
    }
    filters
}

/// What to do, by provider.
fn steps<'a>(cx: &Cx<'_>, chain: Chain, policies: &[&'a Policy]) -> Vec<Step<'a>> {
    let mut by_provider: BTreeMap<&str, Vec<&Policy>> = BTreeMap::new();
    for &policy in policies {
        by_provider.entry(provider_of(policy)).or_default().push(policy);
    }
    let too_many = by_provider.len() > 1 && !cx.features().multiple_custom_authz_providers;
    let step = |(name, policies): (&'a str, Vec<&Policy>)| {
        let prefix = if name.is_empty() { RULE_PREFIX.to_owned() } else { format!("{RULE_PREFIX}{name}-") };
        let rules = Rules::of(cx, &policies, Action::Deny, chain, &prefix);
        let enforced =
            rules.enforced.unwrap_or_else(|| Rbac { action: Action::Deny as i32, ..Default::default() });
        match provider::find(cx, name) {
            Some(provider) if !too_many => {
                let dry_run = rules.dry_run.filter(|r| !r.policies.is_empty());
                Step::Ask { name, provider: Box::new(provider), enforced, dry_run }
            }
            _ => Step::Deny(renamed(enforced)),
        }
    };
    by_provider.into_iter().map(step).collect()
}

fn provider_of(policy: &Policy) -> &str {
    match &policy.spec.action_detail {
        Some(ActionDetail::Provider(provider)) => &provider.name,
        None => "",
    }
}

fn renamed(rules: Rbac) -> Rbac {
    let policies = rules.policies.into_iter().map(|(name, p)| (format!("{name}{BAD_SUFFIX}"), p)).collect();
    Rbac { policies, ..rules }
}

/// Whether a rule of the provider matched, as the RBAC filter before left it in metadata.
fn matched(filter: &str, provider: &str) -> MetadataMatcher {
    let key = format!("{SHADOW_PREFIX}shadow_effective_policy_id");
    let own = matcher::string(matcher::prefix(format!("{RULE_PREFIX}{provider}")));
    matcher::metadata(filter, &[&key], own)
}

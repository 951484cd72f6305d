//! AuthorizationPolicies as Envoy's RBAC and external authorization filters.
//!
//! Source: Istio `pilot/pkg/security/authz/builder/builder.go`.

mod attribute;
mod custom;
mod logic;
mod matcher;
mod provider;
mod rule;
mod trust_domains;

use crate::index::authz::{Applied, Policy};
use crate::{Cx, wire};
use attribute::Target;
use logic::Logic;
use meltemi_api::envoy::config::listener::v3::{Filter, filter};
use meltemi_api::envoy::config::rbac::v3::{self as rbac, Permission, Principal, rbac::Action};
use meltemi_api::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter,
};
use meltemi_api::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use meltemi_api::wkt::Any;
use rule::Rule;
use std::collections::BTreeMap;
use trust_domains::TrustDomains;

pub(super) use custom::{http as custom_http, network as custom_network};

/// The name of the HTTP filter.
const HTTP_RBAC: &str = "envoy.filters.http.rbac";
/// The name of the network filter.
const NETWORK_RBAC: &str = "envoy.filters.network.rbac";
/// The statistics of network filters.
const TCP_STATS: &str = "tcp.";
/// The annotation of policies that are not enforced but counted.
const DRY_RUN: &str = "istio.io/dry-run";

/// What policies become on one kind of chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// On TCP connections rather than HTTP requests.
    pub tcp: bool,
    /// Behind a tunnel, where the client's identity is in filter state.
    pub filter_state: bool,
}

impl Chain {
    fn target(self) -> Target {
        Target { tcp: self.tcp, filter_state: self.filter_state }
    }
}

/// What is enforced, and what is only counted; `None` where no policy is of that sort.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rules {
    enforced: Option<rbac::Rbac>,
    dry_run: Option<rbac::Rbac>,
}

impl Rules {
    /// The rules of policies with one action; `name` is the prefix of what the rules are called.
    fn of(cx: &Cx<'_>, policies: &[&Policy], action: Action, chain: Chain, name: &str) -> Self {
        let mesh = cx.mesh();
        let domains = TrustDomains::new(&mesh.trust_domain, &mesh.trust_domain_aliases);
        let mut rules = Self::default();
        for policy in policies {
            let place = if is_dry_run(policy) { &mut rules.dry_run } else { &mut rules.enforced };
            let place =
                place.get_or_insert_with(|| rbac::Rbac { action: action as i32, ..Default::default() });
            place.policies.extend(policies_of(policy, &domains, action, chain, name));
        }
        rules
    }

    /// The prefix of what dry runs report.
    fn dry_run_prefix(&self) -> &'static str {
        match self.dry_run.as_ref().map(rbac::Rbac::action) {
            // istiod names it also where there is no dry run.
            None | Some(Action::Allow) => "istio_dry_run_allow_",
            Some(Action::Deny) => "istio_dry_run_deny_",
            Some(Action::Log) => "",
        }
    }
}

/// The HTTP filters of ALLOW, DENY and AUDIT policies.
pub(super) fn http(cx: &Cx<'_>, chain: Chain, applied: &Applied<'_>) -> Vec<HttpFilter> {
    let filter = |rules: Rules| {
        let config = HttpRbac {
            shadow_rules_stat_prefix: rules.dry_run_prefix().to_owned(),
            rules: rules.enforced,
            shadow_rules: rules.dry_run,
            ..Default::default()
        };
        http_filter(HTTP_RBAC, wire::any(&config))
    };
    by_action(cx, chain, applied).map(filter).collect()
}

/// The network filters of ALLOW, DENY and AUDIT policies.
pub(super) fn network(cx: &Cx<'_>, chain: Chain, applied: &Applied<'_>) -> Vec<Filter> {
    let filter = |rules: Rules| {
        let config = NetworkRbac {
            stat_prefix: TCP_STATS.to_owned(),
            shadow_rules_stat_prefix: rules.dry_run_prefix().to_owned(),
            rules: rules.enforced,
            shadow_rules: rules.dry_run,
            ..Default::default()
        };
        network_filter(NETWORK_RBAC, wire::any(&config))
    };
    by_action(cx, chain, applied).map(filter).collect()
}

/// The rules of each action that has policies, in the order of enforcement.
fn by_action<'a>(cx: &'a Cx<'a>, chain: Chain, applied: &'a Applied<'a>) -> impl Iterator<Item = Rules> + 'a {
    let order =
        [(&applied.audit, Action::Log), (&applied.deny, Action::Deny), (&applied.allow, Action::Allow)];
    let present = order.into_iter().filter(|(policies, _)| !policies.is_empty());
    present.map(move |(policies, action)| Rules::of(cx, policies, action, chain, ""))
}

/// The rules of one policy by name; one that never matches where the policy has none.
fn policies_of(
    policy: &Policy,
    domains: &TrustDomains<'_>,
    action: Action,
    chain: Chain,
    prefix: &str,
) -> BTreeMap<String, rbac::Policy> {
    let meta = &policy.meta;
    let name = |i: usize| format!("{prefix}ns[{}]-policy[{}]-rule[{i}]", meta.namespace, meta.name);
    if policy.spec.rules.is_empty() {
        return [(name(0), never())].into();
    }
    let mut found = BTreeMap::new();
    for (i, rule) in policy.spec.rules.iter().enumerate() {
        let parsed = Rule::parse(rule, &meta.namespace, domains);
        match parsed.and_then(|r| r.policy(chain.target(), action == Action::Allow)) {
            Ok(policy) => drop(found.insert(name(i), policy)),
            Err(error) => tracing::debug!(rule = name(i), ?error, tcp = chain.tcp, "rule left out"),
        }
    }
    found
}

fn never() -> rbac::Policy {
    rbac::Policy {
        permissions: vec![Permission::any().not()],
        principals: vec![Principal::any().not()],
        ..Default::default()
    }
}

/// Source: Go `strconv.ParseBool`; what is no boolean is false.
fn is_dry_run(policy: &Policy) -> bool {
    matches!(policy.meta.annotations.get(DRY_RUN), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

fn http_filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn network_filter(name: &str, config: Any) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(config)) }
}

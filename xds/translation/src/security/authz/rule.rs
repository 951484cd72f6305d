//! One rule of an AuthorizationPolicy as a policy of Envoy's RBAC.
//!
//! Source: Istio `pilot/pkg/security/authz/model/model.go`.

use super::attribute::{Attribute, Operation, Source, Target, Unusable};
use super::logic::Logic;
use super::trust_domains::TrustDomains;
use meltemi_api::envoy::config::rbac::v3 as rbac;
use meltemi_api::istio::security::v1beta1 as istio;

/// Values of an attribute: one of `values`, and none of `not_values`.
#[derive(Clone, Debug)]
struct Clause<A> {
    attribute: A,
    values: Vec<String>,
    not_values: Vec<String>,
}

/// A rule, arranged as RBAC wants it: one of the operations, from one of the sources; each is a list of clauses that
/// must all hold.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    operations: Vec<Vec<Clause<Operation>>>,
    sources: Vec<Vec<Clause<Source>>>,
}

impl Rule {
    /// Reads a rule of a policy in `namespace`.
    ///
    /// # Errors
    /// If a condition asks for something unknown.
    pub(super) fn parse(
        rule: &istio::Rule,
        namespace: &str,
        domains: &TrustDomains<'_>,
    ) -> Result<Self, Unusable> {
        let (mut operations, mut sources) = (Vec::new(), Vec::new());
        for condition in &rule.when {
            match attribute(&condition.key, namespace)
                .ok_or_else(|| Unusable::Invalid(condition.key.clone()))?
            {
                Known::Operation(a) => push(&mut operations, a, &condition.values, &condition.not_values),
                Known::Source(a) => push(&mut sources, a, &condition.values, &condition.not_values),
            }
        }
        // istiod shares the conditions between the `from` entries and expands them once for each.
        for _ in 0..rule.from.len().max(1) {
            sources.iter_mut().for_each(|clause| expand(clause, domains));
        }
        Ok(Self {
            operations: with_to(&rule.to, &operations),
            sources: with_from(rule, namespace, domains, &sources),
        })
    }

    /// The policy, for one kind of filter.
    ///
    /// # Errors
    /// If `strict` and something of the rule cannot be enforced there: an ALLOW rule must not become wider. For other
    /// actions it is left out, which makes them wider.
    pub(super) fn policy(&self, to: Target, strict: bool) -> Result<rbac::Policy, Unusable> {
        Ok(rbac::Policy {
            permissions: nodes(&self.operations, to, strict)?,
            principals: nodes(&self.sources, to, strict)?,
            ..Default::default()
        })
    }
}

fn nodes<A: Attribute>(
    alternatives: &[Vec<Clause<A>>],
    to: Target,
    strict: bool,
) -> Result<Vec<A::Node>, Unusable> {
    alternatives.iter().map(|clauses| all_of(clauses, to, strict)).collect()
}

fn all_of<A: Attribute>(clauses: &[Clause<A>], to: Target, strict: bool) -> Result<A::Node, Unusable> {
    let mut all = Vec::new();
    for clause in clauses {
        let any_of = |values: &[String]| match values {
            [] => Ok(None),
            values => clause.attribute.any_of(values, to, !strict),
        };
        all.extend(any_of(&clause.values)?);
        all.extend(any_of(&clause.not_values)?.map(Logic::not));
    }
    if all.is_empty() {
        all.push(A::Node::any());
    }
    Ok(A::Node::and(all))
}

fn clause<A>(attribute: A, values: &[String], not_values: &[String]) -> Option<Clause<A>> {
    let says_something = !values.is_empty() || !not_values.is_empty();
    says_something.then(|| Clause { attribute, values: values.to_vec(), not_values: not_values.to_vec() })
}

fn push<A>(clauses: &mut Vec<Clause<A>>, attribute: A, values: &[String], not_values: &[String]) {
    clauses.extend(clause(attribute, values, not_values));
}

fn with_to(to: &[istio::rule::To], conditions: &[Clause<Operation>]) -> Vec<Vec<Clause<Operation>>> {
    if to.is_empty() {
        return vec![conditions.to_vec()];
    }
    let of = |to: &istio::rule::To| {
        let mut clauses = to.operation.as_ref().map_or_else(Vec::new, operation);
        clauses.extend_from_slice(conditions);
        clauses
    };
    to.iter().map(of).collect()
}

fn operation(o: &istio::Operation) -> Vec<Clause<Operation>> {
    let mut clauses = Vec::new();
    push(&mut clauses, Operation::Host, &o.hosts, &o.not_hosts);
    push(&mut clauses, Operation::Method, &o.methods, &o.not_methods);
    push(&mut clauses, Operation::Path, &o.paths, &o.not_paths);
    push(&mut clauses, Operation::Port, &o.ports, &o.not_ports);
    clauses
}

fn with_from(
    rule: &istio::Rule,
    namespace: &str,
    domains: &TrustDomains<'_>,
    conditions: &[Clause<Source>],
) -> Vec<Vec<Clause<Source>>> {
    if rule.from.is_empty() {
        return vec![conditions.to_vec()];
    }
    let of = |from: &istio::rule::From| {
        let mut clauses = from.source.as_ref().map_or_else(Vec::new, |s| source(s, namespace));
        clauses.iter_mut().for_each(|clause| expand(clause, domains));
        clauses.extend_from_slice(conditions);
        clauses
    };
    rule.from.iter().map(of).collect()
}

fn source(s: &istio::Source, namespace: &str) -> Vec<Clause<Source>> {
    let account = Source::ServiceAccount(namespace.to_owned());
    let mut clauses = Vec::new();
    push(&mut clauses, Source::Principal, &s.principals, &s.not_principals);
    push(&mut clauses, Source::RequestPrincipal, &s.request_principals, &s.not_request_principals);
    push(&mut clauses, account, &s.service_accounts, &s.not_service_accounts);
    push(&mut clauses, Source::TrustDomain, &s.trust_domains, &s.not_trust_domains);
    push(&mut clauses, Source::Namespace, &s.namespaces, &s.not_namespaces);
    push(&mut clauses, Source::RemoteIp, &s.remote_ip_blocks, &s.not_remote_ip_blocks);
    push(&mut clauses, Source::Ip, &s.ip_blocks, &s.not_ip_blocks);
    clauses
}

/// Says identities of the mesh in each of its trust domains.
fn expand(clause: &mut Clause<Source>, domains: &TrustDomains<'_>) {
    let expanded = |values: &[String]| match clause.attribute {
        Source::Principal => Some(domains.of_principals(values)),
        Source::TrustDomain => Some(domains.of_domains(values)),
        _ => None,
    };
    let new = (expanded(&clause.values), expanded(&clause.not_values));
    if let (Some(values), Some(not_values)) = new {
        clause.values = values;
        clause.not_values = not_values;
    }
}

enum Known {
    Operation(Operation),
    Source(Source),
}

/// The attribute that the key of a condition names.
fn attribute(key: &str, namespace: &str) -> Option<Known> {
    if key.starts_with("experimental.envoy.filters.") {
        return Some(Known::Operation(Operation::FilterMetadata(key.to_owned())));
    }
    if let Some(name) = key.strip_prefix("request.headers") {
        return Some(Known::Source(Source::Header(name.to_owned())));
    }
    if let Some(names) = key.strip_prefix("request.auth.claims") {
        return Some(Known::Source(Source::Claim(names.to_owned())));
    }
    Some(match key {
        "destination.ip" => Known::Operation(Operation::Ip),
        "destination.port" => Known::Operation(Operation::Port),
        "connection.sni" => Known::Operation(Operation::Sni),
        "source.ip" => Known::Source(Source::Ip),
        "remote.ip" => Known::Source(Source::RemoteIp),
        "source.namespace" => Known::Source(Source::Namespace),
        "source.trustDomain" => Known::Source(Source::TrustDomain),
        "source.serviceAccount" => Known::Source(Source::ServiceAccount(namespace.to_owned())),
        "source.principal" => Known::Source(Source::Principal),
        "request.auth.principal" => Known::Source(Source::RequestPrincipal),
        "request.auth.audiences" => Known::Source(Source::Audiences),
        "request.auth.presenter" => Known::Source(Source::Presenter),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: Target = Target { tcp: false, filter_state: false };
    const TCP: Target = Target { tcp: true, filter_state: false };

    fn rule(paths: &[&str], ports: &[&str]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|&v| v.to_owned()).collect();
        let operation = istio::Operation { paths: own(paths), ports: own(ports), ..Default::default() };
        let rule =
            istio::Rule { to: vec![istio::rule::To { operation: Some(operation) }], ..Default::default() };
        Rule::parse(&rule, "ns", &TrustDomains::new("td", &[])).unwrap()
    }

    #[test]
    fn on_tcp_a_strict_rule_vanishes_and_a_lenient_one_widens() {
        assert!(rule(&["/a"], &["80"]).policy(HTTP, true).is_ok());
        assert_eq!(rule(&["/a"], &["80"]).policy(TCP, true), Err(Unusable::HttpOnly));
        let lenient = rule(&["/a"], &["80"]).policy(TCP, false);
        assert_eq!(lenient, rule(&[], &["80"]).policy(TCP, true));
        let everything = rule(&["/a"], &[]).policy(TCP, false).unwrap();
        assert_eq!(everything.permissions, [rbac::Permission::and(vec![rbac::Permission::any()])]);
    }

    #[test]
    fn unknown_conditions_are_refused() {
        let condition =
            istio::Condition { key: "source.shoe".into(), values: vec!["1".into()], ..Default::default() };
        let rule = istio::Rule { when: vec![condition], ..Default::default() };
        assert!(Rule::parse(&rule, "ns", &TrustDomains::new("td", &[])).is_err());
    }
}

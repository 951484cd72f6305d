//! AuthorizationPolicy.

use super::attribute::{self, Key, any, each, ip, path, port, trust_domain};
use super::selection::Selection;
use super::{At, Findings, Validate};
use crate::istio::security::v1beta1::authorization_policy::{Action, ActionDetail};
use crate::istio::security::v1beta1::{AuthorizationPolicy, Condition, Operation, Rule, Source};
use crate::k8s::ObjectMeta;

const DRY_RUN: &str = "istio.io/dry-run";

impl Validate for AuthorizationPolicy {
    const DRY_RUN: bool = true;

    fn validate(&self, meta: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        self.check_dry_run(meta, out);
        let selection = Selection {
            selector: self.selector.as_ref(),
            target_ref: self.target_ref.as_ref(),
            target_refs: &self.target_refs,
        };
        selection.check(spec, out);
        self.check_action(spec, out);
        let (rules, action) = (spec.field("rules"), self.action());
        for (i, rule) in self.rules.iter().enumerate() {
            check_rule(&rules.index(i), rule, action, out);
        }
    }
}

impl AuthorizationPolicy {
    /// Whether to enforce is a boolean, as Go reads one, and asked only of what can be tried.
    fn check_dry_run(&self, meta: &ObjectMeta, out: &mut Findings) {
        const BOOLEANS: [&str; 12] =
            ["1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"];
        let Some(value) = meta.annotations.get(DRY_RUN) else { return };
        let metadata = At::root("metadata");
        let annotations = metadata.field("annotations");
        let at = annotations.key(DRY_RUN);
        if !matches!(self.action(), Action::Allow | Action::Deny) {
            out.error(&at, "only ALLOW and DENY can be tried without effect; remove it");
        } else if !BOOLEANS.contains(&value.as_str()) {
            out.error(&at, format!("{value:?} is no boolean; write \"true\" or \"false\""));
        }
    }

    fn check_action(&self, spec: &At<'_>, out: &mut Findings) {
        const NEVER: &str =
            "without rules it would never do anything; add the rule {} if it is meant for all requests";
        let provider = self.action_detail.as_ref().map(|ActionDetail::Provider(provider)| provider);
        let at = spec.field("provider");
        match self.action() {
            Action::Custom if self.rules.is_empty() => {
                out.error(&spec.field("rules"), format!("CUSTOM: {NEVER}"))
            }
            Action::Custom if provider.is_none_or(|p| p.name.is_empty()) => {
                out.error(&at.field("name"), "missing: name an extensionProvider of the mesh configuration");
            }
            Action::Deny if self.rules.is_empty() => {
                out.error(&spec.field("rules"), format!("DENY: {NEVER}"))
            }
            _ => {}
        }
        if provider.is_some() && self.action() != Action::Custom {
            out.error(
                &at,
                format!("only CUSTOM has a provider, not {}; remove one", self.action().as_str_name()),
            );
        }
    }
}

fn check_rule(at: &At<'_>, rule: &Rule, action: Action, out: &mut Findings) {
    let (mut sources, mut operations) = (Part::default(), Part::default());
    let from = at.field("from");
    for (i, entry) in rule.from.iter().enumerate() {
        let at = from.index(i);
        let at = at.field("source");
        let Some(source) = &entry.source else {
            out.error(&at, "missing: say who is meant, or remove the entry");
            continue;
        };
        sources.note(is_of_connections(source));
        check_source(&at, source, action, out);
    }
    let to = at.field("to");
    for (i, entry) in rule.to.iter().enumerate() {
        let at = to.index(i);
        let at = at.field("operation");
        let Some(operation) = &entry.operation else {
            out.error(&at, "missing: say what is meant, or remove the entry");
            continue;
        };
        operations.note(!operation.ports.is_empty() || !operation.not_ports.is_empty());
        check_operation(&at, operation, out);
    }
    let when = at.field("when");
    for (i, condition) in rule.when.iter().enumerate() {
        check_condition(&when.index(i), condition, action, out);
    }
    let by_source = sources.present && !operations.present && !sources.of_connections;
    let by_operation = operations.present && !operations.of_connections;
    if action == Action::Deny && (by_source || by_operation) {
        out.warn(at, "denies all connections that are not HTTP, since what it asks for can be told of requests only; name ports in to.operation");
    }
}

/// What the entries of one part of a rule ask for.
#[derive(Default)]
struct Part {
    present: bool,
    of_connections: bool,
}

impl Part {
    fn note(&mut self, of_connections: bool) {
        self.present = true;
        self.of_connections |= of_connections;
    }
}

/// Whether some of what it asks for can be told of a TCP connection.
fn is_of_connections(s: &Source) -> bool {
    let lists = [
        &s.principals,
        &s.not_principals,
        &s.namespaces,
        &s.not_namespaces,
        &s.service_accounts,
        &s.not_service_accounts,
        &s.ip_blocks,
        &s.not_ip_blocks,
        &s.remote_ip_blocks,
        &s.not_remote_ip_blocks,
    ];
    lists.iter().any(|list| !list.is_empty())
}

fn check_source(at: &At<'_>, s: &Source, action: Action, out: &mut Findings) {
    let lists: [(&str, &[String], attribute::Rule); 12] = [
        ("principals", &s.principals, any),
        ("notPrincipals", &s.not_principals, any),
        ("requestPrincipals", &s.request_principals, any),
        ("notRequestPrincipals", &s.not_request_principals, any),
        ("namespaces", &s.namespaces, any),
        ("notNamespaces", &s.not_namespaces, any),
        ("trustDomains", &s.trust_domains, trust_domain),
        ("notTrustDomains", &s.not_trust_domains, trust_domain),
        ("ipBlocks", &s.ip_blocks, ip),
        ("notIpBlocks", &s.not_ip_blocks, ip),
        ("remoteIpBlocks", &s.remote_ip_blocks, ip),
        ("notRemoteIpBlocks", &s.not_remote_ip_blocks, ip),
    ];
    let accounts =
        [("serviceAccounts", &s.service_accounts), ("notServiceAccounts", &s.not_service_accounts)];
    let some_account = accounts.iter().any(|(_, list)| !list.is_empty());
    if !some_account && lists.iter().all(|(_, list, _)| list.is_empty()) {
        out.error(at, "says nothing; say who is meant, or remove the entry");
    }
    let identities = [&s.principals, &s.not_principals, &s.namespaces, &s.not_namespaces];
    if some_account && identities.iter().any(|list| !list.is_empty()) {
        out.error(at, "serviceAccounts exclude principals and namespaces; use one of them");
    }
    for (name, values, rule) in lists {
        let at = at.field(name);
        if action == Action::Custom && !name.ends_with("pBlocks") && !values.is_empty() {
            out.warn(&at, UNKNOWN_YET);
        }
        each(&at, values, rule, out);
    }
    for (name, values) in accounts {
        let at = at.field(name);
        if action == Action::Custom && !values.is_empty() {
            out.warn(&at, UNKNOWN_YET);
        }
        attribute::accounts(&at, values, out);
    }
}

/// CUSTOM is decided on before tokens are, and takes no identities. A warning: istiod's admission refuses such a policy,
/// and yet it enforces one that it finds.
const UNKNOWN_YET: &str = "is not supported by CUSTOM; move it to a policy with ALLOW or DENY";

fn check_operation(at: &At<'_>, o: &Operation, out: &mut Findings) {
    let lists: [(&str, &[String], attribute::Rule); 8] = [
        ("hosts", &o.hosts, any),
        ("notHosts", &o.not_hosts, any),
        ("ports", &o.ports, port),
        ("notPorts", &o.not_ports, port),
        ("methods", &o.methods, any),
        ("notMethods", &o.not_methods, any),
        ("paths", &o.paths, path),
        ("notPaths", &o.not_paths, path),
    ];
    if lists.iter().all(|(_, list, _)| list.is_empty()) {
        out.error(at, "says nothing; say what is meant, or remove the entry");
    }
    for (name, values, rule) in lists {
        each(&at.field(name), values, rule, out);
    }
}

fn check_condition(at: &At<'_>, condition: &Condition, action: Action, out: &mut Findings) {
    let name = condition.key.as_str();
    let identity = ["source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal"];
    if action == Action::Custom && (identity.contains(&name) || name.starts_with("request.auth.")) {
        out.warn(&at.field("key"), UNKNOWN_YET);
    }
    let lists = [("values", &condition.values), ("notValues", &condition.not_values)];
    if !name.is_empty() && lists.iter().all(|(_, list)| list.is_empty()) {
        out.error(at, format!("{name} is compared with nothing; add values or notValues"));
        return;
    }
    match attribute::key(name) {
        Key::Bad(problem) => out.error(&at.field("key"), problem),
        Key::Accounts => {
            lists.iter().for_each(|(list, values)| attribute::accounts(&at.field(list), values, out))
        }
        Key::Values(rule) => lists.iter().for_each(|(list, values)| each(&at.field(list), values, rule, out)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Row, check, fields, meta, of};
    use super::*;
    use serde_json::{Value, json};

    fn rule(action: &str, rule: Value) -> Value {
        json!({"action": action, "rules": [rule]})
    }

    #[test]
    fn actions() {
        check::<AuthorizationPolicy>(&[
            Row("nobody is allowed", json!({}), &[], &[]),
            Row("nothing is logged", json!({"action": "AUDIT"}), &[], &[]),
            Row("nobody is denied", json!({"action": "DENY"}), &["spec.rules"], &[]),
            Row("nobody is denied", json!({"action": "DENY", "rules": []}), &["spec.rules"], &[]),
            Row("all are denied", json!({"action": "DENY", "rules": [{}]}), &[], &[]),
            Row(
                "nothing is asked about",
                json!({"action": "CUSTOM", "provider": {"name": "a"}}),
                &["spec.rules"],
                &[],
            ),
            Row("nobody is asked", rule("CUSTOM", json!({})), &["spec.provider.name"], &[]),
            Row(
                "nobody is asked",
                json!({"action": "CUSTOM", "provider": {}, "rules": [{}]}),
                &["spec.provider.name"],
                &[],
            ),
            Row(
                "somebody is asked",
                json!({"action": "CUSTOM", "provider": {"name": "a"}, "rules": [{}]}),
                &[],
                &[],
            ),
            Row("somebody is not asked", json!({"provider": {"name": "a"}}), &["spec.provider"], &[]),
        ]);
    }

    #[test]
    fn sources() {
        let from = |source: Value| rule("ALLOW", json!({"from": [{"source": source}]}));
        let source = "spec.rules[0].from[0].source";
        let many: Vec<String> = (0..17).map(|i| format!("a{i}")).collect();
        for (name, value, bad) in [
            ("principals", json!(["*"]), None),
            ("principals", json!(["a", ""]), Some("[1]")),
            ("notPrincipals", json!([""]), Some("[0]")),
            ("requestPrincipals", json!([""]), Some("[0]")),
            ("notRequestPrincipals", json!([""]), Some("[0]")),
            ("namespaces", json!(["a*", ""]), Some("[1]")),
            ("notNamespaces", json!([""]), Some("[0]")),
            ("ipBlocks", json!(["10.0.0.0/8", "10.0.0.1"]), None),
            ("ipBlocks", json!(["a"]), Some("[0]")),
            ("notIpBlocks", json!(["10.0.0.0/8", "10/8"]), Some("[1]")),
            ("remoteIpBlocks", json!([""]), Some("[0]")),
            ("notRemoteIpBlocks", json!(["::1/129"]), Some("[0]")),
            ("trustDomains", json!(["a*b"]), Some("[0]")),
            ("notTrustDomains", json!(["a/b"]), Some("[0]")),
            ("serviceAccounts", json!(["a", "ns/a"]), None),
            ("serviceAccounts", json!(["a/b/c"]), Some("[0]")),
            ("serviceAccounts", json!(many), Some("")),
            ("notServiceAccounts", json!(["*"]), Some("[0]")),
        ] {
            let found = of::<AuthorizationPolicy>(&meta(&[]), from(json!({name: value})));
            let expected: Vec<String> = bad.iter().map(|b| format!("{source}.{name}{b}")).collect();
            assert_eq!(fields(&found).0, expected, "{name} {value}");
        }
        check::<AuthorizationPolicy>(&[
            Row("nobody", json!({"rules": [{"from": [{}]}]}), &["spec.rules[0].from[0].source"], &[]),
            Row("nobody", from(json!({})), &["spec.rules[0].from[0].source"], &[]),
            Row(
                "both",
                from(json!({"serviceAccounts": ["a"], "notNamespaces": ["b"]})),
                &["spec.rules[0].from[0].source"],
                &[],
            ),
        ]);
    }

    #[test]
    fn operations_and_conditions() {
        let to = |operation: Value| rule("ALLOW", json!({"to": [{"operation": operation}]}));
        let when = |condition: Value| rule("ALLOW", json!({"when": [condition]}));
        check::<AuthorizationPolicy>(&[
            Row("nothing", json!({"rules": [{"to": [{}]}]}), &["spec.rules[0].to[0].operation"], &[]),
            Row("nothing", to(json!({})), &["spec.rules[0].to[0].operation"], &[]),
            Row(
                "all",
                to(json!({"hosts": ["a"], "ports": ["80"], "methods": ["GET"], "paths": ["/{*}"]})),
                &[],
                &[],
            ),
            Row(
                "a port",
                to(json!({"ports": ["80", "http"]})),
                &["spec.rules[0].to[0].operation.ports[1]"],
                &[],
            ),
            Row(
                "a port",
                to(json!({"notPorts": ["70000"]})),
                &["spec.rules[0].to[0].operation.notPorts[0]"],
                &[],
            ),
            Row("a path", to(json!({"paths": ["/a/{b}"]})), &["spec.rules[0].to[0].operation.paths[0]"], &[]),
            Row(
                "a path",
                to(json!({"notPaths": ["/{**}/{*}"]})),
                &["spec.rules[0].to[0].operation.notPaths[0]"],
                &[],
            ),
            Row(
                "a host",
                to(json!({"hosts": [""], "notHosts": ["a", ""]})),
                &["spec.rules[0].to[0].operation.hosts[0]", "spec.rules[0].to[0].operation.notHosts[1]"],
                &[],
            ),
            Row("a method", to(json!({"methods": [""]})), &["spec.rules[0].to[0].operation.methods[0]"], &[]),
            Row(
                "a condition",
                when(json!({"key": "source.ip", "values": ["10.0.0.1"], "notValues": ["10.0.0.0/8"]})),
                &[],
                &[],
            ),
            Row("no key", when(json!({"values": ["a"]})), &["spec.rules[0].when[0].key"], &[]),
            Row("no value", when(json!({"key": "source.ip"})), &["spec.rules[0].when[0]"], &[]),
            Row(
                "an empty value",
                when(json!({"key": "source.namespace", "values": [""]})),
                &["spec.rules[0].when[0].values[0]"],
                &[],
            ),
            Row(
                "an unknown key",
                when(json!({"key": "source.nose", "values": ["a"]})),
                &["spec.rules[0].when[0].key"],
                &[],
            ),
            Row(
                "no address",
                when(json!({"key": "destination.ip", "notValues": ["a"]})),
                &["spec.rules[0].when[0].notValues[0]"],
                &[],
            ),
            Row(
                "no port",
                when(json!({"key": "destination.port", "values": ["a"]})),
                &["spec.rules[0].when[0].values[0]"],
                &[],
            ),
            Row(
                "no account",
                when(json!({"key": "source.serviceAccount", "values": ["*"]})),
                &["spec.rules[0].when[0].values[0]"],
                &[],
            ),
        ]);
    }

    #[test]
    fn custom_knows_no_identities() {
        let custom = |rule: Value| json!({"action": "CUSTOM", "provider": {"name": "a"}, "rules": [rule]});
        let from = |source: Value| custom(json!({"from": [{"source": source}]}));
        let when = |key: &str| custom(json!({"when": [{"key": key, "values": ["10.0.0.1"]}]}));
        check::<AuthorizationPolicy>(&[
            Row(
                "address",
                from(json!({"ipBlocks": ["10.0.0.1"], "notRemoteIpBlocks": ["10.0.0.1"]})),
                &[],
                &[],
            ),
            Row(
                "namespace",
                from(json!({"namespaces": ["a"]})),
                &[],
                &["spec.rules[0].from[0].source.namespaces"],
            ),
            Row(
                "account",
                from(json!({"notServiceAccounts": ["a"]})),
                &[],
                &["spec.rules[0].from[0].source.notServiceAccounts"],
            ),
            Row(
                "token",
                from(json!({"requestPrincipals": ["a"]})),
                &[],
                &["spec.rules[0].from[0].source.requestPrincipals"],
            ),
            Row(
                "trust domain",
                from(json!({"trustDomains": ["a"]})),
                &[],
                &["spec.rules[0].from[0].source.trustDomains"],
            ),
            Row("condition", when("source.ip"), &[], &[]),
            Row("condition", when("source.principal"), &[], &["spec.rules[0].when[0].key"]),
            Row("condition", when("request.auth.claims[a]"), &[], &["spec.rules[0].when[0].key"]),
        ]);
    }

    #[test]
    fn denials_of_requests_deny_connections() {
        check::<AuthorizationPolicy>(&[
            Row(
                "by path",
                rule("DENY", json!({"to": [{"operation": {"paths": ["/a"]}}]})),
                &[],
                &["spec.rules[0]"],
            ),
            Row(
                "by path and port",
                rule("DENY", json!({"to": [{"operation": {"paths": ["/a"], "ports": ["80"]}}]})),
                &[],
                &[],
            ),
            Row(
                "by token",
                rule("DENY", json!({"from": [{"source": {"requestPrincipals": ["*"]}}]})),
                &[],
                &["spec.rules[0]"],
            ),
            Row("by namespace", rule("DENY", json!({"from": [{"source": {"namespaces": ["a"]}}]})), &[], &[]),
            Row(
                "by namespace and path",
                rule(
                    "DENY",
                    json!({"from": [{"source": {"namespaces": ["a"]}}], "to": [{"operation": {"paths": ["/a"]}}]}),
                ),
                &[],
                &["spec.rules[0]"],
            ),
            Row("an ALLOW", rule("ALLOW", json!({"to": [{"operation": {"paths": ["/a"]}}]})), &[], &[]),
        ]);
    }

    #[test]
    fn dry_runs() {
        for (action, value, good) in [
            ("ALLOW", "true", true),
            ("DENY", "F", true),
            ("ALLOW", "yes", false),
            ("AUDIT", "true", false),
            ("CUSTOM", "true", false),
        ] {
            let spec = json!({"action": action, "rules": [{}]});
            let found = of::<AuthorizationPolicy>(&meta(&[("istio.io/dry-run", value)]), spec);
            let bad = fields(&found).0.contains(&"metadata.annotations[istio.io/dry-run]");
            assert_eq!(!bad, good, "{action} {value}");
        }
    }
}

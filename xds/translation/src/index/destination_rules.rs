//! DestinationRules by host and by who may see them, merged.
//!
//! A client looks in its own namespace first, then in the service's, then in the root namespace; in each, the most
//! specific host wins. Rules of one host and namespace become one rule where their `exportTo` allows.

use crate::host_map::HostMap;
use meltemi_api::istio::networking::v1alpha3::{DestinationRule, TrafficPolicy};
use meltemi_world::{Config, NsName, Service, Snapshot, Str, host};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The annotation of rules that were made from a Gateway API backend policy (Istio `InternalParentNames`).
const PARENTS: &str = "internal.istio.io/parents";
/// `exportTo` of every namespace.
const PUBLIC: &str = "*";
/// `exportTo` of the rule's own namespace.
const PRIVATE: &str = ".";

/// Rules of one host that were merged into one (Istio `ConsolidatedDestRule`).
#[derive(Clone, Debug, PartialEq)]
pub struct MergedRule {
    /// The merged rule, its host resolved; its metadata is the first one's.
    pub rule: Arc<Config<DestinationRule>>,
    /// The rules that it was merged from.
    pub from: Vec<NsName>,
    /// `exportTo`, as written; a rule that selects workloads is its namespace's own.
    export_to: BTreeSet<String>,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct DestinationRules {
    root: String,
    /// For clients of the rules' namespace.
    local: BTreeMap<Str, Pool>,
    /// For clients of other namespaces, by the rules' namespace.
    exported: BTreeMap<Str, Pool>,
    /// The root namespace's private rules, for clients of the root namespace.
    root_private: Pool,
}

/// Rules by host.
#[derive(Clone, Debug, Default)]
struct Pool(HostMap<Vec<Arc<MergedRule>>>);

impl DestinationRules {
    /// Arranges the snapshot's DestinationRules. Source: Istio `PushContext.setDestinationRules`.
    pub fn build(snapshot: &Snapshot) -> Self {
        let enhanced = snapshot.settings.features.enhanced_rule_merge;
        let private_by_default =
            snapshot.mesh.default_destination_rule_export_to.iter().any(|e| e == PRIVATE);
        let mut all: Vec<_> = snapshot.destination_rules.values().collect();
        all.sort_by(|a, b| precedence(a, b));
        let mut out = Self { root: snapshot.root_namespace().to_owned(), ..Self::default() };
        for rule in all {
            let rule = MergedRule::of(rule, &snapshot.settings.domain);
            let namespace = rule.rule.meta.namespace.clone();
            let to = &rule.export_to;
            let private = (to.is_empty() && private_by_default) || rule.is_private();
            if to.is_empty() || [PUBLIC, PRIVATE, &namespace].iter().any(|e| to.contains(*e)) {
                out.local.entry(namespace.clone()).or_default().merge(rule.clone(), enhanced);
            }
            if !private {
                out.exported.entry(namespace).or_default().merge(rule, enhanced);
            } else if *namespace == *out.root {
                out.root_private.merge(rule, enhanced);
            }
        }
        out
    }

    /// The rules that apply to `service` for clients in `namespace`: several only where some select workloads.
    /// Source: Istio `PushContext.destinationRule`.
    pub fn for_service(&self, namespace: &str, service: &Service) -> Vec<Arc<MergedRule>> {
        // The root namespace's rules are meant for everybody, so its gateways prefer those of the service's owner.
        let own = if namespace == self.root { Some(&self.root_private) } else { self.local.get(namespace) };
        if let Some(rules) = own.and_then(|pool| pool.0.most_specific(&service.hostname)) {
            return rules.clone();
        }
        [&*service.namespace, self.root.as_str()]
            .into_iter()
            .map(|owner| self.exported_by(owner, namespace, &service.hostname))
            .find(|rules| !rules.is_empty())
            .unwrap_or_default()
    }

    fn exported_by(&self, owner: &str, client: &str, hostname: &str) -> Vec<Arc<MergedRule>> {
        let rules = self.exported.get(owner).and_then(|pool| pool.0.most_specific(hostname));
        rules.into_iter().flatten().filter(|r| r.is_exported_to(client)).cloned().collect()
    }
}

/// Rules that select workloads first, then by age.
fn precedence(a: &Config<DestinationRule>, b: &Config<DestinationRule>) -> Ordering {
    let selects_none = |c: &Config<DestinationRule>| c.spec.workload_selector.is_none();
    selects_none(a).cmp(&selects_none(b)).then_with(|| a.meta.by_age(&b.meta))
}

impl Pool {
    /// Adds a rule: into those of its host that it may be merged with, or beside them.
    /// Source: Istio `PushContext.mergeDestinationRule`.
    fn merge(&mut self, rule: MergedRule, enhanced: bool) {
        let known = self.0.or_default(&rule.rule.spec.host);
        let mut separate = true;
        for old in known.iter_mut() {
            let old = Arc::make_mut(old);
            if enhanced {
                separate = rule.export_to != old.export_to;
                let wider = !old.export_to.is_empty() && rule.export_to.is_superset(&old.export_to);
                if separate && !wider {
                    continue;
                }
            }
            match (&old.rule.spec.workload_selector, &rule.rule.spec.workload_selector) {
                (Some(a), Some(b)) if a.match_labels != b.match_labels => {
                    separate = true;
                    continue;
                }
                (Some(_), Some(_)) | (None, None) => separate = false,
                _ => {}
            }
            old.absorb(&rule);
        }
        if separate {
            known.push(Arc::new(rule));
        }
    }
}

impl MergedRule {
    /// A rule by itself.
    fn of(rule: &Config<DestinationRule>, domain: &str) -> Self {
        let mut rule = rule.clone();
        rule.spec.host = host::resolve_short_name(&rule.spec.host, &rule.meta.namespace, domain);
        let export_to = match &rule.spec.workload_selector {
            Some(_) => BTreeSet::from([PRIVATE.to_owned()]),
            None => rule.spec.export_to.iter().cloned().collect(),
        };
        Self { from: vec![rule.meta.key()], rule: Arc::new(rule), export_to }
    }

    /// Whether only its own namespace sees it, by its own word.
    fn is_private(&self) -> bool {
        let own: &str = &self.rule.meta.namespace;
        self.export_to.len() == 1 && (self.export_to.contains(PRIVATE) || self.export_to.contains(own))
    }

    fn is_exported_to(&self, client: &str) -> bool {
        self.export_to.is_empty() || self.export_to.contains(PUBLIC) || self.export_to.contains(client)
    }

    /// Takes over the subsets that it lacks, and the traffic policy if it has none.
    fn absorb(&mut self, new: &MergedRule) {
        self.from.extend(new.from.iter().cloned());
        let own = Arc::make_mut(&mut self.rule);
        for subset in &new.rule.spec.subsets {
            if !own.spec.subsets.iter().any(|s| s.name == subset.name) {
                own.spec.subsets.push(subset.clone());
            }
        }
        let from_backend = |c: &Config<DestinationRule>| c.meta.annotations.get(PARENTS).is_some();
        let (mine, theirs) = (own.spec.traffic_policy.take(), new.rule.spec.traffic_policy.clone());
        own.spec.traffic_policy = match (from_backend(own), from_backend(&new.rule)) {
            (false, true) => fill_gaps(mine, theirs),
            (true, false) => fill_gaps(theirs, mine),
            _ => mine.or(theirs),
        };
    }
}

/// A user's policy with what it leaves open taken from a backend policy.
/// Source: Istio `mergeBackendPolicyTrafficPolicy`.
fn fill_gaps(user: Option<TrafficPolicy>, backend: Option<TrafficPolicy>) -> Option<TrafficPolicy> {
    let (Some(mut user), Some(backend)) = (user.clone(), backend.clone()) else { return user.or(backend) };
    for theirs in backend.port_level_settings {
        let number = |p: &meltemi_api::istio::networking::v1alpha3::traffic_policy::PortTrafficPolicy| {
            p.port.as_ref().map_or(0, |s| s.number)
        };
        let Some(mine) = user.port_level_settings.iter_mut().find(|p| number(p) == number(&theirs)) else {
            user.port_level_settings.push(theirs);
            continue;
        };
        mine.load_balancer = mine.load_balancer.take().or(theirs.load_balancer);
        mine.connection_pool = mine.connection_pool.take().or(theirs.connection_pool);
        mine.outlier_detection = mine.outlier_detection.take().or(theirs.outlier_detection);
        mine.tls = mine.tls.take().or(theirs.tls);
    }
    Some(TrafficPolicy {
        load_balancer: user.load_balancer.or(backend.load_balancer),
        connection_pool: user.connection_pool.or(backend.connection_pool),
        outlier_detection: user.outlier_detection.or(backend.outlier_detection),
        tls: user.tls.or(backend.tls),
        port_level_settings: user.port_level_settings,
        tunnel: user.tunnel.or(backend.tunnel),
        proxy_protocol: user.proxy_protocol.or(backend.proxy_protocol),
        retry_budget: user.retry_budget.or(backend.retry_budget),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_api::istio::networking::v1alpha3::Subset;
    use meltemi_api::istio::r#type::v1beta1::WorkloadSelector;
    use meltemi_world::Meta;

    fn rule(name: &str, host: &str, subsets: &[&str]) -> MergedRule {
        let meta = Meta { name: name.into(), namespace: "ns".into(), ..Default::default() };
        let subsets = subsets.iter().map(|s| Subset { name: (*s).into(), ..Default::default() }).collect();
        let spec = DestinationRule { host: host.into(), subsets, ..Default::default() };
        MergedRule::of(&Config { meta, spec }, "cluster.local")
    }

    fn exported(mut rule: MergedRule, to: &[&str]) -> MergedRule {
        rule.export_to = to.iter().map(|s| (*s).to_owned()).collect();
        rule
    }

    fn selecting(rule: &MergedRule, app: &str) -> MergedRule {
        let mut config = (*rule.rule).clone();
        let match_labels = [("app".to_owned(), app.to_owned())].into();
        config.spec.workload_selector = Some(WorkloadSelector { match_labels });
        MergedRule::of(&config, "cluster.local")
    }

    fn merged(rules: Vec<MergedRule>) -> Vec<(usize, Vec<String>)> {
        let mut pool = Pool::default();
        rules.into_iter().for_each(|r| pool.merge(r, true));
        let all = pool.0.most_specific("h.example").into_iter().flatten();
        all.map(|r| (r.from.len(), r.rule.spec.subsets.iter().map(|s| s.name.clone()).collect())).collect()
    }

    #[test]
    fn rules_of_one_host_become_one() {
        let got = merged(vec![rule("a", "h.example", &["v1"]), rule("b", "h.example", &["v1", "v2"])]);
        assert_eq!(got, [(2, vec!["v1".to_owned(), "v2".to_owned()])]);
    }

    #[test]
    fn rules_with_other_audiences_stay_apart() {
        let got = merged(vec![
            exported(rule("a", "h.example", &["v1"]), &["x"]),
            exported(rule("b", "h.example", &["v2"]), &["y"]),
        ]);
        assert_eq!(got.len(), 2);
    }

    #[test]
    fn rules_that_select_other_workloads_stay_apart() {
        let plain = rule("a", "h.example", &["v1"]);
        let got =
            merged(vec![selecting(&plain, "a"), selecting(&plain, "b"), rule("c", "h.example", &["v2"])]);
        assert_eq!(got.iter().map(|g| g.0).collect::<Vec<_>>(), [1, 1, 1]);
    }
}

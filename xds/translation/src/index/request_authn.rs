//! RequestAuthentications by namespace.

use crate::policy::Workload;
use meltemi_api::istio::security::v1beta1::{JwtRule, RequestAuthentication};
use meltemi_world::{Config, Snapshot, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All RequestAuthentications: by namespace, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct RequestAuthentications {
    by_namespace: BTreeMap<Str, Vec<Arc<Config<RequestAuthentication>>>>,
}

impl RequestAuthentications {
    /// Arranges the snapshot's RequestAuthentications.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut all: Vec<_> = snapshot.request_authentications.values().cloned().collect();
        all.sort_by(|a, b| a.meta.by_age(&b.meta));
        let mut by_namespace: BTreeMap<Str, Vec<_>> = BTreeMap::new();
        for policy in all {
            by_namespace.entry(policy.meta.namespace.clone()).or_default().push(policy);
        }
        Self { by_namespace }
    }

    /// The rules for a workload, ordered by issuer; those of one issuer in the order of their policies: the workload's
    /// namespace before the root namespace, older before newer. Source: Istio `newPolicyApplier`.
    pub fn rules(&self, workload: &Workload<'_>) -> Vec<&JwtRule> {
        let root = (workload.root != workload.namespace).then_some(workload.root);
        let namespaces = [Some(workload.namespace), root].into_iter().flatten();
        let policies = namespaces.filter_map(|n| self.by_namespace.get(n)).flatten();
        let mut rules: Vec<&JwtRule> =
            policies.filter(|p| workload.is_target_of(p)).flat_map(|p| &p.spec.jwt_rules).collect();
        rules.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        rules
    }
}

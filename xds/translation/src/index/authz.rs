//! AuthorizationPolicies by namespace and action.
//!
//! Source: Istio `pilot/pkg/model/authorization.go`.

use crate::policy::Workload;
use meltemi_api::istio::security::v1beta1::{AuthorizationPolicy, authorization_policy::Action};
use meltemi_world::{Config, Snapshot, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An AuthorizationPolicy with its metadata.
pub type Policy = Arc<Config<AuthorizationPolicy>>;

/// All AuthorizationPolicies: by namespace, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct AuthorizationPolicies {
    by_namespace: BTreeMap<Str, Vec<Policy>>,
}

/// The policies of one workload, by action.
#[derive(Clone, Debug, Default)]
pub struct Applied<'a> {
    /// Delegated to an external authorizer.
    pub custom: Vec<&'a Policy>,
    /// Requests that match are denied.
    pub deny: Vec<&'a Policy>,
    /// Requests that match none of these are denied, if there is one.
    pub allow: Vec<&'a Policy>,
    /// Requests that match are logged.
    pub audit: Vec<&'a Policy>,
}

impl AuthorizationPolicies {
    /// Arranges the snapshot's AuthorizationPolicies.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut all: Vec<_> = snapshot.authorization_policies.values().cloned().collect();
        all.sort_by(|a, b| a.meta.by_age(&b.meta));
        let mut by_namespace: BTreeMap<Str, Vec<_>> = BTreeMap::new();
        for policy in all {
            by_namespace.entry(policy.meta.namespace.clone()).or_default().push(policy);
        }
        Self { by_namespace }
    }

    /// The policies of a workload: those of the root namespace first, then those of its own namespace, then those of
    /// the namespace of the service whose traffic is concerned.
    pub fn of(&self, workload: &Workload<'_>) -> Applied<'_> {
        let service = workload.service.map(|s| &*s.namespace);
        let mut namespaces = vec![workload.root];
        for namespace in [Some(workload.namespace), service].into_iter().flatten() {
            if !namespaces.contains(&namespace) {
                namespaces.push(namespace);
            }
        }
        let mut found = Applied::default();
        let policies = namespaces.into_iter().filter_map(|n| self.by_namespace.get(n)).flatten();
        for policy in policies.filter(|p| workload.is_target_of(p)) {
            match policy.spec.action() {
                Action::Allow => found.allow.push(policy),
                Action::Deny => found.deny.push(policy),
                Action::Audit => found.audit.push(policy),
                Action::Custom => found.custom.push(policy),
            }
        }
        found
    }
}

//! Sidecar resources in order of precedence.

use meltemi_api::istio::networking::v1alpha3::Sidecar;
use meltemi_world::labels::Labels;
use meltemi_world::{Config, Snapshot, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sidecar resources by namespace: those with a selector first, then by age.
#[derive(Clone, Debug, Default)]
pub struct Sidecars {
    by_namespace: BTreeMap<Str, Vec<Arc<Config<Sidecar>>>>,
    root: Option<Arc<Config<Sidecar>>>,
}

impl Sidecars {
    /// Arranges the snapshot's Sidecar resources. Source: Istio `PushContext.initSidecarScopes`.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut all: Vec<_> = snapshot.sidecars.values().cloned().collect();
        all.sort_by(|a, b| {
            let selects = |c: &Config<Sidecar>| c.spec.workload_selector.is_none();
            selects(a).cmp(&selects(b)).then_with(|| a.meta.by_age(&b.meta))
        });
        let root = all
            .iter()
            .find(|c| *c.meta.namespace == *snapshot.root_namespace() && c.spec.workload_selector.is_none())
            .cloned();
        let mut by_namespace: BTreeMap<Str, Vec<_>> = BTreeMap::new();
        for sidecar in all {
            by_namespace.entry(sidecar.meta.namespace.clone()).or_default().push(sidecar);
        }
        Self { by_namespace, root }
    }

    /// The Sidecar resource of a workload: its namespace's own, else the root namespace's.
    pub fn of(&self, namespace: &str, labels: &Labels) -> Option<&Arc<Config<Sidecar>>> {
        let own = self.by_namespace.get(namespace).into_iter().flatten();
        own.into_iter()
            .find(|c| c.spec.workload_selector.as_ref().is_none_or(|s| labels.matches(&s.labels)))
            .or(self.root.as_ref())
    }
}

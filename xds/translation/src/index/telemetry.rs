//! Telemetry resources by namespace.

use crate::policy::Workload;
use meltemi_api::istio::telemetry::v1alpha1::Telemetry;
use meltemi_world::{Config, Snapshot, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All Telemetry resources, by namespace, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Telemetries {
    by_namespace: BTreeMap<Str, Vec<Arc<Config<Telemetry>>>>,
}

impl Telemetries {
    /// Arranges the snapshot's Telemetry resources. Source: Istio `getTelemetries`.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut all: Vec<_> = snapshot.telemetries.values().cloned().collect();
        all.sort_by(|a, b| a.meta.by_age(&b.meta));
        let mut out = Self::default();
        for telemetry in all {
            out.by_namespace.entry(telemetry.meta.namespace.clone()).or_default().push(telemetry);
        }
        out
    }

    /// The resources that apply to a workload, the most general first: the mesh's, its namespace's, then those that
    /// select it. Later ones override earlier ones. Source: Istio `applicableTelemetries`.
    pub fn of(&self, workload: &Workload<'_>) -> Vec<&Telemetry> {
        let whole = |namespace: &str| self.in_namespace(namespace).map(|t| &t.spec).find(|t| is_whole(t));
        let mut out: Vec<&Telemetry> = whole(workload.root).into_iter().collect();
        if workload.namespace != workload.root {
            out.extend(whole(workload.namespace));
        }
        let own = self.in_namespace(workload.namespace);
        out.extend(own.filter(|t| !is_whole(&t.spec) && workload.is_target_of(t)).map(|t| &t.spec));
        out
    }

    fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<Config<Telemetry>>> {
        self.by_namespace.get(namespace).into_iter().flatten()
    }
}

/// Whether a resource applies to all of its namespace.
fn is_whole(telemetry: &Telemetry) -> bool {
    let selects = telemetry.selector.as_ref().is_some_and(|s| !s.match_labels.is_empty());
    !selects && telemetry.target_refs.is_empty() && telemetry.target_ref.is_none()
}

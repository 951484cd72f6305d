//! Patches of EnvoyFilters that could not be read or applied, for debugging and metrics.
//!
//! One is remembered until its EnvoyFilter changes or is gone.

use meltemi_api::istio::networking::v1alpha3::EnvoyFilter;
use meltemi_translation::findings::Finding;
use meltemi_world::{Config, Snapshot};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::metrics::Metrics;

/// How many are remembered; further ones are only counted and logged.
const MOST: usize = 1000;

/// The patches that failed. Clones share them.
#[derive(Clone, Debug)]
pub struct FailedPatches {
    metrics: Metrics,
    /// Each with the version of the EnvoyFilter that it is of.
    found: Arc<Mutex<BTreeMap<Finding, Weak<Config<EnvoyFilter>>>>>,
}

impl FailedPatches {
    /// None yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, found: Arc::default() }
    }

    /// Notes one, of an EnvoyFilter as it is now: counts and logs it the first time.
    pub fn note(&self, filter: &Arc<Config<EnvoyFilter>>, finding: &Finding) {
        let version = Arc::downgrade(filter);
        let mut found = self.found.lock();
        if found.get(finding).is_some_and(|known| known.ptr_eq(&version)) {
            return;
        }
        found.retain(|_, version| version.strong_count() > 0);
        if found.len() < MOST || found.contains_key(finding) {
            found.insert(finding.clone(), version);
        }
        drop(found);
        let Finding { filter, at, reason } = finding;
        tracing::warn!("EnvoyFilter {filter}, field spec.configPatches[{at}]: does not apply: {reason}");
        self.metrics.patch_failed();
    }

    /// Those of the EnvoyFilters of a snapshot.
    pub fn of(&self, snapshot: &Snapshot) -> Vec<Finding> {
        let found = self.found.lock();
        let current = found.iter().filter(|(finding, version)| {
            let filter = snapshot.envoy_filters.get(&finding.filter);
            filter.is_some_and(|filter| version.ptr_eq(&Arc::downgrade(filter)))
        });
        current.map(|(finding, _)| finding.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_world::snapshot::Settings;
    use meltemi_world::{Meta, NsName};

    #[test]
    fn a_failure_is_known_until_its_filter_changes() {
        let metrics = Metrics::new();
        let failed = FailedPatches::new(metrics.clone());
        let name = NsName::new("ns", "f");
        let filter = || {
            let meta = Meta { name: "f".into(), namespace: "ns".into(), ..Meta::default() };
            Arc::new(Config { meta, spec: EnvoyFilter::default() })
        };
        let mut snapshot = Snapshot::empty(Settings::default());
        let first = filter();
        snapshot.envoy_filters.insert(name.clone(), first.clone());
        let finding = Finding { filter: name.clone(), at: 1, reason: "of another type".to_owned() };
        failed.note(&first, &finding);
        failed.note(&first, &finding);
        assert_eq!(failed.of(&snapshot), std::slice::from_ref(&finding));
        assert!(metrics.text().contains("meltemi_envoy_filter_patch_failures_total 1"));
        snapshot.envoy_filters.insert(name, filter());
        assert!(failed.of(&snapshot).is_empty());
    }
}

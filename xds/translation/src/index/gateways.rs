//! Gateway resources in order of age.

use meltemi_api::istio::networking::v1alpha3::Gateway;
use meltemi_world::{Config, Snapshot};
use std::sync::Arc;

/// Gateway resources in order of age.
#[derive(Clone, Debug, Default)]
pub struct Gateways {
    all: Vec<Arc<Config<Gateway>>>,
}

impl Gateways {
    /// Arranges the snapshot's Gateways. Source: Istio `PushContext.initGateways`.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut all: Vec<_> = snapshot.all_gateways().cloned().collect();
        all.sort_by(|a, b| a.meta.by_age(&b.meta));
        Self { all }
    }

    /// All Gateways.
    pub fn all(&self) -> &[Arc<Config<Gateway>>] {
        &self.all
    }
}

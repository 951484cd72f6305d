//! DestinationRules by host and by who may see them, merged.

use meltemi_api::istio::networking::v1alpha3::DestinationRule;
use meltemi_world::{Config, NsName, Service, Snapshot};
use std::sync::Arc;

/// Rules of one host that were merged into one (Istio `ConsolidatedDestRule`).
#[derive(Clone, Debug, PartialEq)]
pub struct MergedRule {
    /// The merged rule; its metadata is the first one's.
    pub rule: Config<DestinationRule>,
    /// The rules that it was merged from.
    pub from: Vec<NsName>,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct DestinationRules {}

impl DestinationRules {
    /// Arranges the snapshot's DestinationRules. Source: Istio `PushContext.setDestinationRules`.
    pub fn build(snapshot: &Snapshot) -> Self {
        let _ = snapshot;
        Self::default()
    }

    /// The rules that apply to `service` for clients in `namespace`: several only where some select workloads.
    /// Source: Istio `PushContext.destinationRule`.
    pub fn for_service(&self, namespace: &str, service: &Service) -> Vec<Arc<MergedRule>> {
        let _ = (namespace, service);
        Vec::new()
    }
}

//! Patches of network filters.
//!
//! Source: Istio `patchNetworkFilters`, `patchNetworkFilter`.

use super::place::place;
use super::{Patch, Patches, matches};
use meltemi_api::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter::ConfigType};
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{ApplyTo, patch::Operation};
use meltemi_api::merge;

impl Patches<'_> {
    /// Patches a chain's filters and the HTTP filters in them. What is inserted can be merged with by any patch.
    pub(super) fn network_filters(&self, listener: &Listener, chain: &mut FilterChain) {
        let patches = self.in_chain(ApplyTo::NetworkFilter, listener, chain);
        for patch in &patches {
            let name = matches::network_filter(patch);
            let found = |filter: &Filter| Some(filter.name.as_str()) == name;
            let found = name.is_some().then_some(&found as &dyn Fn(&Filter) -> bool);
            place(&mut chain.filters, patch.operation, found, || patch.message());
        }
        let of_http = self.in_chain(ApplyTo::HttpFilter, listener, chain);
        for filter in &mut chain.filters {
            for patch in patches.iter().filter(|p| p.operation == Operation::Merge) {
                if is_for(patch, filter) {
                    merge(patch, filter);
                }
            }
            super::http_filter::apply(&of_http, filter);
        }
    }

    fn in_chain(&self, apply_to: ApplyTo, listener: &Listener, chain: &FilterChain) -> Vec<&Patch<'_>> {
        let of_chain =
            |p: &&Patch<'_>| matches::listener(listener, p) && matches::filter_chain(listener, chain, p);
        self.to(apply_to).filter(of_chain).collect()
    }
}

/// Whether the patch is for this network filter, or for any.
pub(super) fn is_for(patch: &Patch<'_>, filter: &Filter) -> bool {
    matches::network_filter(patch).is_none_or(|name| name == filter.name)
}

fn merge(patch: &Patch<'_>, filter: &mut Filter) {
    let Some(ConfigType::TypedConfig(own)) = &mut filter.config_type else { return };
    let Some(other) = patch.message::<Filter>() else { return };
    if let Some(ConfigType::TypedConfig(other)) = &other.config_type {
        match merge::merge_any(own, other) {
            Some(merged) => *own = merged,
            None => return patch.fail("the network filter is of another type"),
        }
    }
    if !other.name.is_empty() {
        filter.name = other.name;
    }
}

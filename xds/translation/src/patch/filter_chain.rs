//! Patches of filter chains.
//!
//! Source: Istio `patchFilterChains`, `patchFilterChain`.

use super::{Patch, Patches, cluster::merge_sockets, matches};
use meltemi_api::envoy::config::listener::v3::{FilterChain, Listener};
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{ApplyTo, patch::Operation};
use meltemi_api::merge::Lists;

impl Patches<'_> {
    /// Patches a listener's filter chains and what they hold; chains without filters are left out.
    pub(super) fn filter_chains(&self, listener: &mut Listener) {
        let mut chains = std::mem::take(&mut listener.filter_chains);
        chains.retain_mut(|chain| !chain.filters.is_empty() && self.filter_chain(listener, chain));
        if let Some(mut chain) = listener.default_filter_chain.take()
            && (chain.filters.is_empty() || self.filter_chain(listener, &mut chain))
        {
            listener.default_filter_chain = Some(chain);
        }
        let added = self
            .to(ApplyTo::FilterChain)
            .filter(|p| p.operation == Operation::Add && matches::listener(listener, p));
        let added = added.filter_map(|p| p.message::<FilterChain>()).filter(|c| !c.filters.is_empty());
        chains.extend(added);
        listener.filter_chains = chains;
    }

    /// Patches a filter chain; false if it is to be removed.
    fn filter_chain(&self, listener: &Listener, chain: &mut FilterChain) -> bool {
        for patch in self.to(ApplyTo::FilterChain) {
            if !matches::listener(listener, patch) || !matches::filter_chain(listener, chain, patch) {
                continue;
            }
            if patch.operation == Operation::Remove {
                return false;
            }
            if let Some(lists) = patch.merges() {
                merge(patch, chain, lists);
            }
        }
        self.network_filters(listener, chain);
        true
    }
}

/// A patch with a transport socket of the chain's own name changes nothing but that socket.
fn merge(patch: &Patch<'_>, chain: &mut FilterChain, lists: Lists) {
    let Some(other) = patch.message::<FilterChain>() else { return };
    match (&mut chain.transport_socket, &other.transport_socket) {
        (Some(own), Some(other)) if own.name == other.name => merge_sockets(patch, own, other),
        _ => patch.merge_into(chain, lists),
    }
}

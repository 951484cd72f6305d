//! Patches of listeners and of their own filters.
//!
//! Source: Istio `patchListeners`, `patchListener`, `patchListenerFilters`.

use super::place::place;
use super::{Patch, Patches, matches};
use meltemi_api::envoy::config::listener::v3::{Listener, ListenerFilter, listener_filter::ConfigType};
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{ApplyTo, patch::Operation};
use meltemi_api::merge;

impl Patches<'_> {
    /// Patches listeners and what they hold, and adds those that patches bring.
    pub fn listeners(&self, listeners: &mut Vec<Listener>) {
        if self.is_empty() {
            return;
        }
        listeners.retain_mut(|listener| self.listener(listener));
        let added = self.to(ApplyTo::Listener).filter(|p| self.adds(p));
        listeners.extend(added.filter_map(|p| p.message::<Listener>()).filter(|l| !l.name.is_empty()));
    }

    /// Patches a listener; false if it is to be removed.
    fn listener(&self, listener: &mut Listener) -> bool {
        for patch in self.to(ApplyTo::Listener) {
            if !matches::listener(listener, patch) {
                continue;
            }
            if patch.operation == Operation::Remove {
                return false;
            }
            if let Some(lists) = patch.merges() {
                patch.merge_into(listener, lists);
            }
        }
        for patch in self.to(ApplyTo::ListenerFilter) {
            if matches::listener(listener, patch) {
                apply(patch, &mut listener.listener_filters);
            }
        }
        self.filter_chains(listener);
        true
    }
}

fn apply(patch: &Patch<'_>, filters: &mut Vec<ListenerFilter>) {
    let name = matches::listener_filter(patch);
    if patch.operation == Operation::Merge {
        if let Some(name) = name {
            merge_filters(patch, name, filters);
        }
        return;
    }
    let found = |filter: &ListenerFilter| Some(filter.name.as_str()) == name;
    let found = name.is_some().then_some(&found as &dyn Fn(&ListenerFilter) -> bool);
    place(filters, patch.operation, found, || patch.message());
}

fn merge_filters(patch: &Patch<'_>, name: &str, filters: &mut [ListenerFilter]) {
    let Some(ConfigType::TypedConfig(other)) = patch.message::<ListenerFilter>().and_then(|f| f.config_type)
    else {
        return;
    };
    for filter in filters.iter_mut().filter(|f| f.name == name) {
        let Some(ConfigType::TypedConfig(own)) = &mut filter.config_type else { continue };
        match merge::merge_any(own, &other) {
            Some(merged) => *own = merged,
            None => patch.fail("the listener filter is of another type"),
        }
    }
}

//! Patches of HTTP filters.
//!
//! Source: Istio `patchHTTPFilters`, `mergeHTTPFilter`.

use super::place::place;
use super::{Patch, matches, network_filter::is_for};
use meltemi_api::envoy::config::listener::v3::{Filter, filter};
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter::ConfigType,
};
use meltemi_api::istio::networking::v1alpha3::envoy_filter::patch::Operation;
use meltemi_api::merge;
use meltemi_api::wkt::Any;

/// The name by which Istio knows the HTTP connection manager.
const HTTP_CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Applies those of the patches that are for a network filter to the HTTP filters in it.
pub(super) fn apply(patches: &[&Patch<'_>], filter: &mut Filter) {
    if filter.name != HTTP_CONNECTION_MANAGER {
        return;
    }
    let patches: Vec<&Patch<'_>> = patches.iter().copied().filter(|p| is_for(p, filter)).collect();
    let Some(filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else { return };
    if patches.is_empty() {
        return;
    }
    let Ok(mut manager) = config.unpack::<HttpConnectionManager>() else { return };
    for patch in &patches {
        let name = matches::http_filter(patch);
        let found = |filter: &HttpFilter| Some(filter.name.as_str()) == name;
        let found = name.is_some().then_some(&found as &dyn Fn(&HttpFilter) -> bool);
        place(&mut manager.http_filters, patch.operation, found, || patch.message());
    }
    for filter in &mut manager.http_filters {
        for patch in patches.iter().filter(|p| p.operation == Operation::Merge) {
            if matches::http_filter(patch).is_none_or(|name| name == filter.name) {
                merge(patch, filter);
            }
        }
    }
    *config = Any::pack(&manager);
}

fn merge(patch: &Patch<'_>, filter: &mut HttpFilter) {
    let Some(ConfigType::TypedConfig(own)) = &mut filter.config_type else { return };
    let Some(other) = patch.message::<HttpFilter>() else { return };
    if let Some(ConfigType::TypedConfig(other)) = &other.config_type {
        match merge::merge_any(own, other) {
            Some(merged) => *own = merged,
            None => return patch.fail("the HTTP filter is of another type"),
        }
    }
    if !other.name.is_empty() {
        filter.name = other.name;
    }
}

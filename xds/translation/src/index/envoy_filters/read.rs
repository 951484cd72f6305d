//! Reading an EnvoyFilter's patches: once for each EnvoyFilter, not for each proxy.
//!
//! Source: Istio `convertToEnvoyFilterWrapper`, `BuildXDSObjectFromStruct`.

use super::{Patch, Prepared, Target, Version};
use crate::findings::Finding;
use bytes::Bytes;
use meltemi_api::istio::networking::v1alpha3 as networking;
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{
    ApplyTo, EnvoyConfigObjectPatch, ProxyMatch, patch::Operation,
};
use meltemi_api::istio::r#type::v1beta1::WorkloadSelector;
use meltemi_api::json::{JsonError, UnknownFields, message_from_json};
use meltemi_api::validate::envoy_filter::{self, MAX_VERSION_LENGTH};
use meltemi_api::{go_json, merge, reflect, wkt};
use meltemi_world::{Config, NsName};
use regex::Regex;
use std::sync::Arc;

/// Reads an EnvoyFilter. A patch that cannot be read is left out, the others stay.
pub(super) fn prepare(filter: &Arc<Config<networking::EnvoyFilter>>) -> Prepared {
    let spec = &filter.spec;
    let selector = spec.workload_selector.as_ref();
    let target = Target {
        selector: selector.map(|s| WorkloadSelector {
            match_labels: s.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        }),
        references: spec.target_refs.clone(),
    };
    let name = filter.meta.key();
    let (mut patches, mut unreadable) = (Vec::new(), Vec::new());
    for (i, patch) in spec.config_patches.iter().enumerate() {
        match read(&name, i, patch) {
            Ok(read) => patches.extend(read),
            Err(error) => {
                unreadable.push(Finding { filter: name.clone(), at: i, reason: error.to_string() });
            }
        }
    }
    Prepared {
        read: filter.clone(),
        target: Config { meta: filter.meta.clone(), spec: target },
        patches,
        unreadable,
    }
}

/// Reads a patch; `None` for one that cannot do anything. Fields that Envoy's message does not have are passed over: the
/// patch may be meant for another version of Envoy.
fn read(filter: &NsName, at: usize, from: &EnvoyConfigObjectPatch) -> Result<Option<Patch>, JsonError> {
    let Some(patch) = &from.patch else { return Ok(None) };
    let Some(message) = message_of(from.apply_to()) else { return Ok(None) };
    let value = match &patch.value {
        Some(value) => {
            let descriptor =
                reflect::descriptor(message).ok_or_else(|| JsonError::UnknownType(message.to_owned()))?;
            let mut json = wkt::struct_to_json(&wkt::to_prost_struct(value));
            go_json::normalize_durations(&descriptor, &mut json);
            merge::overlay(&message_from_json(&descriptor, json, UnknownFields::Ignore)?)
        }
        None if patch.operation() == Operation::Remove => Bytes::new(),
        None => return Ok(None),
    };
    let matches = from.r#match.clone().unwrap_or_default();
    Ok(Some(Patch {
        filter: filter.clone(),
        at,
        apply_to: from.apply_to(),
        operation: operation(from.apply_to(), patch.operation()),
        version: version(matches.proxy.as_ref()),
        matches,
        value,
    }))
}

/// The message that a patch of this kind carries; `None` for kinds that a control plane does not apply.
fn message_of(apply_to: ApplyTo) -> Option<&'static str> {
    // Istio's agent applies patches of the bootstrap.
    envoy_filter::message_of(apply_to).filter(|_| apply_to != ApplyTo::Bootstrap)
}

/// Only filters and routes have an order that matters; elsewhere inserting is adding.
fn operation(apply_to: ApplyTo, operation: Operation) -> Operation {
    let ordered = matches!(
        apply_to,
        ApplyTo::HttpFilter | ApplyTo::NetworkFilter | ApplyTo::HttpRoute | ApplyTo::ListenerFilter
    );
    match operation {
        Operation::InsertBefore | Operation::InsertAfter | Operation::InsertFirst if !ordered => {
            Operation::Add
        }
        other => other,
    }
}

/// An expression that cannot be read counts for nothing, as in Istio.
fn version(proxy: Option<&ProxyMatch>) -> Version {
    match proxy.map_or("", |p| p.proxy_version.as_str()) {
        "" => Version::Any,
        long if long.len() > MAX_VERSION_LENGTH => Version::None,
        text => Regex::new(text).map_or(Version::Any, Version::Matching),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_version(text: &str, version_of_proxy: &str) -> bool {
        let proxy = ProxyMatch { proxy_version: text.to_owned(), ..Default::default() };
        match version(Some(&proxy)) {
            Version::Any => true,
            Version::Matching(regex) => regex.is_match(version_of_proxy),
            Version::None => false,
        }
    }

    #[test]
    fn versions_match_by_expression() {
        assert!(of_version(r"^1\.31.*", "1.31.0"));
        assert!(!of_version(r"^1\.2[0-9].*", "1.31.0"));
        assert!(of_version("(", "1.31.0"));
        assert!(!of_version(&".".repeat(MAX_VERSION_LENGTH + 1), "1.31.0"));
    }

    #[test]
    fn inserting_where_order_does_not_matter_is_adding() {
        assert_eq!(operation(ApplyTo::Cluster, Operation::InsertBefore), Operation::Add);
        assert_eq!(operation(ApplyTo::HttpFilter, Operation::InsertBefore), Operation::InsertBefore);
        assert_eq!(operation(ApplyTo::Cluster, Operation::Merge), Operation::Merge);
    }
}

//! Extension configurations that EnvoyFilters bring (ECDS).
//!
//! Source: Istio `extension_configuration_patch.go`.

use super::Patch;
use crate::Cx;
use meltemi_api::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{ApplyTo, patch::Operation};

/// The extension configuration of a name, whatever its context; of several the first.
pub fn extension_config(cx: &Cx<'_>, name: &str) -> Option<TypedExtensionConfig> {
    let patches = Patch::all(cx);
    let added = patches
        .into_iter()
        .filter(|p| p.apply_to == ApplyTo::ExtensionConfig && p.operation == Operation::Add);
    { added }.filter_map(|p| p.message::<TypedExtensionConfig>()).find(|config| config.name == name)
}

//! EnvoyFilters: what users change in the generated resources.
//!
//! Patches apply to a whole list of resources after it was generated, for the part of the proxy that their context
//! names. One that cannot apply changes nothing, and the others go on.
//!
//! Source: Istio `pilot/pkg/networking/core/envoyfilter`.

mod cluster;
mod extension;
mod filter_chain;
mod http_filter;
mod listener;
mod matches;
mod network_filter;
mod place;
mod route;

use crate::Cx;
use crate::findings::{Finding, Findings};
use crate::index::envoy_filters;
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{ApplyTo, patch::Operation};
use meltemi_api::merge::{self, Lists};
use prost::{Message, Name};
use std::ops::Deref;

pub use extension::extension_config;
pub use meltemi_api::istio::networking::v1alpha3::envoy_filter::PatchContext;
pub use route::route_configuration;

/// The patches for one part of a proxy, in the order in which they apply.
pub struct Patches<'a> {
    context: PatchContext,
    all: Vec<Patch<'a>>,
}

/// A patch, and where to say that it does not apply.
#[derive(Clone, Copy)]
struct Patch<'a> {
    read: &'a envoy_filters::Patch,
    findings: &'a Findings,
}

impl Deref for Patch<'_> {
    type Target = envoy_filters::Patch;
    fn deref(&self) -> &envoy_filters::Patch {
        self.read
    }
}

impl<'a> Patches<'a> {
    /// The patches of the EnvoyFilters that are for the proxy, as far as their context is this or `ANY`.
    pub fn of(cx: &Cx<'a>, context: PatchContext) -> Self {
        let mut all = Patch::all(cx);
        all.retain(|p| [context, PatchContext::Any].contains(&p.matches.context()));
        Self { context, all }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn to(&self, apply_to: ApplyTo) -> impl Iterator<Item = &Patch<'a>> {
        self.all.iter().filter(move |p| p.apply_to == apply_to)
    }

    /// Resources that no context is given for are added once: for what goes out of a sidecar, and to gateways.
    fn adds(&self, patch: &Patch<'_>) -> bool {
        let general = patch.matches.context() == PatchContext::Any;
        let once = matches!(self.context, PatchContext::SidecarOutbound | PatchContext::Gateway);
        patch.operation == Operation::Add && (!general || once)
    }
}

impl<'a> Patch<'a> {
    /// The patches of the EnvoyFilters that are for the proxy.
    fn all(cx: &Cx<'a>) -> Vec<Self> {
        let findings = cx.findings;
        cx.index.envoy_filters.of(cx).into_iter().map(|read| Self { read, findings }).collect()
    }

    /// Whether the patch merges, and then what becomes of lists.
    fn merges(&self) -> Option<Lists> {
        match self.operation {
            Operation::Merge => Some(Lists::Append),
            Operation::MergeAndReplaceList => Some(Lists::Replace),
            _ => None,
        }
    }

    /// The message that the patch carries.
    fn message<M: Message + Name + Default>(&self) -> Option<M> {
        M::decode(self.value.clone()).inspect_err(|error| self.fail(&error.to_string())).ok()
    }

    /// Merges the patch's message into one of the same type.
    fn merge_into<M: Message + Name + Default + Clone>(&self, base: &mut M, lists: Lists) {
        if let Err(error) = merge::merge(base, &self.value, lists) {
            self.fail(&error.to_string());
        }
    }

    fn fail(&self, reason: &str) {
        let (filter, at) = (self.filter.clone(), self.at);
        self.findings.add(Finding { filter, at, reason: reason.to_owned() });
    }
}

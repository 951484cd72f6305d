//! EnvoyFilters by namespace, their patches read.
//!
//! Source: Istio `pilot/pkg/model/envoyfilter.go`, `PushContext.EnvoyFilters`.

mod read;

use crate::Cx;
use crate::findings::Finding;
use crate::policy::{Policy, Workload};
use bytes::Bytes;
use meltemi_api::istio::networking::v1alpha3 as networking;
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{
    ApplyTo, EnvoyConfigObjectMatch, patch::Operation,
};
use meltemi_api::istio::r#type::v1beta1::{PolicyTargetReference, WorkloadSelector};
use meltemi_world::{Config, NsName, Proxy, Snapshot, Str};
use regex::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names the services that patches lead to, for gateways with only the clusters that they need.
const REFERENCED_SERVICES: &str = "envoyfilter.istio.io/referenced-services";

/// One patch of an EnvoyFilter.
#[derive(Clone, Debug)]
pub struct Patch {
    /// The EnvoyFilter that it belongs to.
    pub filter: NsName,
    /// Its place there.
    pub at: usize,
    /// What it changes.
    pub apply_to: ApplyTo,
    /// How.
    pub operation: Operation,
    /// Where.
    pub matches: EnvoyConfigObjectMatch,
    /// The message to put there, as [`meltemi_api::merge::overlay`]; empty where there is none.
    pub value: Bytes,
    version: Version,
}

/// Which versions of proxies a patch is for.
#[derive(Clone, Debug)]
enum Version {
    Any,
    Matching(Regex),
    None,
}

/// An EnvoyFilter, its patches read.
#[derive(Debug)]
struct Prepared {
    read: Arc<Config<networking::EnvoyFilter>>,
    target: Config<Target>,
    patches: Vec<Patch>,
    unreadable: Vec<Finding>,
}

/// Whom an EnvoyFilter is for.
#[derive(Clone, Debug)]
struct Target {
    selector: Option<WorkloadSelector>,
    references: Vec<PolicyTargetReference>,
}

impl Policy for Target {
    fn selector(&self) -> Option<&WorkloadSelector> {
        self.selector.as_ref()
    }
    fn target_refs(&self) -> &[PolicyTargetReference] {
        &self.references
    }
    fn target_ref(&self) -> Option<&PolicyTargetReference> {
        None
    }
}

/// All EnvoyFilters by namespace, then by name.
#[derive(Clone, Debug, Default)]
pub struct EnvoyFilters {
    by_namespace: BTreeMap<Str, BTreeMap<Str, Arc<Prepared>>>,
}

impl EnvoyFilters {
    /// Reads the snapshot's EnvoyFilters.
    pub fn build(snapshot: &Snapshot) -> Self {
        Self::default().next(snapshot)
    }

    /// The same for the next snapshot: what did not change is not read again.
    pub fn next(&self, snapshot: &Snapshot) -> Self {
        let mut out = Self::default();
        for filter in snapshot.envoy_filters.values() {
            let meta = &filter.meta;
            let known = self.by_namespace.get(&meta.namespace).and_then(|n| n.get(&meta.name));
            let prepared = match known {
                Some(known) if Arc::ptr_eq(&known.read, filter) => known.clone(),
                _ => Arc::new(read::prepare(filter)),
            };
            out.by_namespace.entry(meta.namespace.clone()).or_default().insert(meta.name.clone(), prepared);
        }
        out
    }

    /// The patches that could not be read, each with its EnvoyFilter.
    pub fn unreadable(&self) -> impl Iterator<Item = (&Arc<Config<networking::EnvoyFilter>>, &Finding)> {
        let all = self.by_namespace.values().flat_map(BTreeMap::values);
        all.flat_map(|filter| filter.unreadable.iter().map(|finding| (&filter.read, finding)))
    }

    /// The patches for a proxy in the order in which they apply: by priority, those of the root namespace first, then
    /// the oldest.
    pub fn of(&self, cx: &Cx<'_>) -> Vec<&Patch> {
        let mut filters = self.for_proxy(cx);
        filters.sort_by_cached_key(|f| {
            let meta = &f.target.meta;
            let name = format!("{}.{}", meta.name, meta.namespace);
            (f.read.spec.priority, *meta.namespace != *cx.snapshot.root_namespace(), meta.creation, name)
        });
        filters.into_iter().flat_map(|f| &f.patches).filter(|p| p.is_for(cx.proxy)).collect()
    }

    /// The services that EnvoyFilters for the proxy say that they need clusters of, as `HOST` or `NAMESPACE/HOST`.
    pub fn referenced_services(&self, cx: &Cx<'_>) -> impl Iterator<Item = &str> {
        let filters = self.for_proxy(cx).into_iter();
        filters.filter_map(|f| f.read.meta.annotations.get(REFERENCED_SERVICES)).flat_map(|l| l.split(','))
    }

    fn for_proxy(&self, cx: &Cx<'_>) -> Vec<&Prepared> {
        if self.by_namespace.is_empty() {
            return Vec::new();
        }
        let workload = Workload::of(cx);
        let own = (workload.namespace != workload.root).then_some(workload.namespace);
        let namespaces = std::iter::once(workload.root).chain(own).filter_map(|n| self.by_namespace.get(n));
        let filters = namespaces.flat_map(BTreeMap::values).map(|p| &**p);
        filters.filter(|f| workload.is_target_of(&f.target)).collect()
    }
}

impl Patch {
    /// Whether the proxy's version and metadata are those that the patch asks for.
    fn is_for(&self, proxy: &Proxy) -> bool {
        let version = &proxy.metadata.istio_version;
        let of_version = match &self.version {
            Version::Any => true,
            Version::Matching(regex) => !version.is_empty() && regex.is_match(version),
            Version::None => false,
        };
        let mut metadata = self.matches.proxy.iter().flat_map(|p| &p.metadata);
        of_version && metadata.all(|(key, value)| proxy.metadata_text(key) == Some(value))
    }
}

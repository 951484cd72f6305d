//! What depends on what: reverse look-ups, so that a change costs what it touches.

use super::ingress::References;
use crate::convert::kube_endpoints::Pods;
use crate::convert::{kube_service, service_entry};
use crate::endpoint::EndpointWorkload;
use crate::labels::Labels;
use crate::object::Slice;
use crate::snapshot::Snapshot;
use crate::workload::Pod;
use crate::{Config, NsName, ServiceKey, Str};
use meltemi_api::istio::networking::v1alpha3::ServiceEntry;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Arc;

/// Many values by one key.
#[derive(Debug)]
pub(super) struct Multi<K, V>(FxHashMap<K, BTreeSet<V>>);

impl<K, V> Default for Multi<K, V> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<K: Eq + Hash + Clone, V: Ord> Multi<K, V> {
    pub(super) fn insert(&mut self, key: &K, value: V) {
        self.0.entry(key.clone()).or_default().insert(value);
    }

    pub(super) fn remove(&mut self, key: &K, value: &V) {
        if let Some(values) = self.0.get_mut(key) {
            values.remove(value);
            if values.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// Puts a value in, or takes it out.
    pub(super) fn set(&mut self, key: &K, value: V, there: bool) {
        if there { self.insert(key, value) } else { self.remove(key, &value) }
    }

    pub(super) fn get(&self, key: &K) -> impl Iterator<Item = &V> {
        self.0.get(key).into_iter().flatten()
    }
}

/// A slice and the Service that it belongs to: the namespace of both, the Service's name, the slice's.
pub(super) type SliceRef = (Str, Str, Str);

/// The reverse look-ups.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Pods by their node.
    pub(super) pods_on: Multi<Str, NsName>,
    /// Pods by each of their addresses, also those that use their node's network.
    pub(super) pods_at: Multi<Str, NsName>,
    /// The Service that a slice belongs to.
    pub(super) service_of_slice: FxHashMap<NsName, NsName>,
    /// Slices by the Pods that they name.
    pub(super) slices_of_pod: Multi<NsName, SliceRef>,
    /// Slices by namespace and those of their addresses that name no Pod.
    pub(super) slices_at: Multi<NsName, SliceRef>,
    /// ExternalName Services by the host that they point to.
    pub(super) aliases_of: Multi<Str, ServiceKey>,
    /// Gateways that are reached by node ports.
    pub(super) node_port_gateways: BTreeSet<NsName>,
    /// The names of the ServiceEntries that define a service; they are of the service's namespace.
    pub(super) entries: Multi<ServiceKey, Str>,
    /// The ServiceEntries of each namespace that select workloads, with the labels that they ask for.
    pub(super) selectors: FxHashMap<Str, BTreeMap<Str, Labels>>,
    /// What Ingresses refer to.
    pub(super) ingresses: References,
}

impl Index {
    /// Notes that a slice is there, or no longer.
    pub(super) fn slice(&mut self, slice: &Slice, there: bool) {
        let namespace = &slice.key.namespace;
        let it = || (namespace.clone(), slice.service.clone(), slice.key.name.clone());
        for endpoint in &slice.endpoints {
            if let Some(pod) = &endpoint.pod {
                self.slices_of_pod.set(pod, it(), there);
                continue;
            }
            for address in &endpoint.addresses {
                self.slices_at.set(&NsName::new(namespace.clone(), address.clone()), it(), there);
            }
        }
    }

    /// Notes that a ServiceEntry is there, or no longer.
    pub(super) fn entry(&mut self, entry: &Config<ServiceEntry>, there: bool) {
        let (namespace, name) = (&entry.meta.namespace, &entry.meta.name);
        for key in service_entry::keys(entry) {
            self.entries.set(&key, name.clone(), there);
        }
        let of_namespace = self.selectors.entry(namespace.clone()).or_default();
        match service_entry::selector(entry).filter(|_| there) {
            Some(selector) => drop(of_namespace.insert(name.clone(), selector)),
            None => drop(of_namespace.remove(name)),
        }
        if of_namespace.is_empty() {
            self.selectors.remove(namespace);
        }
    }

    /// The ServiceEntries of a namespace that select workloads with these labels.
    pub(super) fn selecting<'a>(
        &'a self,
        namespace: &Str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = NsName> + 'a {
        let namespace = namespace.clone();
        let of_namespace = self.selectors.get(&namespace).into_iter().flatten();
        let matching = of_namespace.filter(|(_, selector)| labels.contains_all(selector));
        matching.map(move |(name, _)| NsName { namespace: namespace.clone(), name: name.clone() })
    }

    /// Notes that a Pod is there, or no longer.
    pub(super) fn pod(&mut self, pod: &Pod, there: bool) {
        if !pod.node.is_empty() {
            self.pods_on.set(&pod.node, pod.key(), there);
        }
        for ip in &pod.ips {
            self.pods_at.set(ip, pod.key(), there);
        }
    }

    /// The host that `host` points to, if it is an ExternalName Service.
    pub(super) fn target_of(&self, snapshot: &Snapshot, host: &str) -> Option<Str> {
        let id = kube_service::id_of_host(host, &snapshot.settings.domain)?;
        kube_service::alias_target(snapshot.kube_services.get(&id)?)
    }

    /// The services that in the end point to `host`, ordered by namespace and host.
    pub(super) fn aliases(&self, snapshot: &Snapshot, host: &Str) -> Vec<ServiceKey> {
        if self.target_of(snapshot, host).is_some() {
            return Vec::new();
        }
        let mut found: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut hosts = vec![host.clone()];
        while let Some(host) = hosts.pop() {
            for alias in self.aliases_of.get(&host) {
                if found.insert(alias.clone()) {
                    hosts.push(alias.hostname.clone());
                }
            }
        }
        found.into_iter().collect()
    }

    /// The Kubernetes Services whose endpoints a Pod is behind.
    pub(super) fn services_of_pod<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = NsName> + 'a {
        let at = pod.ips.iter().map(|ip| NsName::new(pod.namespace.clone(), ip.clone()));
        let by_address = at.flat_map(|key| self.slices_at.get(&key).cloned().collect::<Vec<_>>());
        let by_name: Vec<SliceRef> = self.slices_of_pod.get(&pod.key()).cloned().collect();
        by_name
            .into_iter()
            .chain(by_address)
            .map(|(namespace, service, _)| NsName { namespace, name: service })
    }
}

/// Pods of a snapshot with what the index knows of them.
pub(super) struct KnownPods<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) index: &'a Index,
}

impl KnownPods<'_> {
    fn get(&self, id: &NsName) -> Option<(&Arc<Pod>, Arc<EndpointWorkload>)> {
        // istiod's watch leaves failed Pods out.
        let pod = self.snapshot.pods.get(id).filter(|p| &*p.phase != "Failed")?;
        Some((pod, self.snapshot.registry.pod(id)?.clone()))
    }
}

impl Pods for KnownPods<'_> {
    fn by_name(&self, id: &NsName) -> Option<(&Arc<Pod>, Arc<EndpointWorkload>)> {
        self.get(id)
    }

    fn by_ip(&self, namespace: &str, address: &str) -> Option<(&Arc<Pod>, Arc<EndpointWorkload>)> {
        let address = Str::from(address);
        let mut found = self.index.pods_at.get(&address).filter(|id| &*id.namespace == namespace);
        found.find_map(|id| self.get(id).filter(|(pod, _)| pod.is_serving()))
    }
}

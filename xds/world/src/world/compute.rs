//! Recomputes services and endpoints from the tables.

use super::World;
use super::dirty::Dirty;
use super::index::{Index, KnownPods};
use crate::convert::workload_entry::{self, Instance};
use crate::convert::{Mesh, Networks, kube_endpoints, kube_service, service_entry, topology};
use crate::labels::Labels;
use crate::workload::Namespace;
use crate::{ChangeSet, Config, Endpoint, NsName, Resolution, Service, ServiceKey, Snapshot, Str};
use meltemi_api::istio::networking::v1alpha3::ServiceEntry;
use std::collections::BTreeSet;
use std::sync::Arc;

impl World {
    /// Brings the registry of `next` up to date with its tables.
    pub(super) fn recompute(&mut self, next: &mut Snapshot, mut dirty: Dirty, set: &mut ChangeSet) {
        let networks = Networks::of_snapshot(next);
        if networks != self.networks {
            dirty.all = true;
            self.networks = networks;
        }
        if dirty.all {
            dirty.moved.extend(next.pods.keys().cloned());
            dirty.instances.extend(next.workload_entries.keys().cloned());
        }
        self.pods(next, &mut dirty);
        self.instances(next, &mut dirty);
        widen(next, &self.index, &mut dirty);

        let facts = Facts { snapshot: next, index: &self.index, networks: &self.networks };
        let keys: BTreeSet<&ServiceKey> = dirty.services.iter().chain(&dirty.endpoints).collect();
        let results: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let entries = facts.entries(key);
                let service = if dirty.services.contains(key) {
                    facts.service(key, &entries).map(Arc::new)
                } else {
                    next.registry.service(key).cloned()
                };
                let endpoints =
                    service.as_ref().map(|s| facts.endpoints(key, s, entries)).unwrap_or_default();
                (key.clone(), service, endpoints)
            })
            .collect();
        for (key, service, endpoints) in results {
            let old = next.registry.shared_endpoints(&key).cloned();
            let (service_differs, endpoints_differ) = next.registry.set(&key, service, endpoints);
            if service_differs || endpoints_differ && reach_beyond_endpoints(next, &key, old.as_deref()) {
                set.services.insert(key.clone());
            }
            if endpoints_differ {
                set.endpoints.insert(key);
            }
        }
    }

    /// Recomputes what the endpoints of changed Pods have in common, and marks the services that can see it.
    fn pods(&self, next: &mut Snapshot, dirty: &mut Dirty) {
        let touched: BTreeSet<NsName> = dirty.pods.keys().chain(&dirty.moved).cloned().collect();
        for id in touched {
            let pod = next.pods.get(&id).cloned();
            let mesh = mesh(next, &self.networks);
            let new = pod
                .as_ref()
                .map(|pod| topology::pod_workload(&mesh, pod, next.nodes.get(&pod.node).map(|n| &**n)));
            let old = next.registry.pod(&id).cloned();
            let same = old.as_deref() == new.as_ref();
            if same && !dirty.pods.contains_key(&id) {
                continue;
            }
            if next.settings.features.service_entry_selects_pods {
                for workload in [old.as_deref(), new.as_ref()].into_iter().flatten() {
                    mark_selecting(next, &self.index, dirty, &id.namespace, &workload.labels);
                }
            }
            if !same {
                next.registry.set_pod(&id, new);
            }
            let before = dirty.pods.get(&id).cloned().flatten();
            for pod in [before, pod].into_iter().flatten() {
                let services = self.index.services_of_pod(&pod);
                dirty.endpoints.extend(services.map(|s| kube_service::key(&s, &next.settings.domain)));
            }
        }
    }

    /// Recomputes changed WorkloadEntries, and marks the services that select them.
    fn instances(&self, next: &mut Snapshot, dirty: &mut Dirty) {
        for id in std::mem::take(&mut dirty.instances) {
            let mesh = mesh(next, &self.networks);
            let config = next.workload_entries.get(&id);
            let new = config.and_then(|config| workload_entry::instance(&mesh, config)).map(Arc::new);
            let Some(old) = next.registry.set_instance(&id, new.clone()) else { continue };
            for instance in [old, new].into_iter().flatten() {
                mark_selecting(next, &self.index, dirty, &id.namespace, instance.labels());
                let selecting = next
                    .registry
                    .in_namespace(&id.namespace)
                    .filter(|s| workload_entry::selects(s, &instance));
                dirty.endpoints.extend(selecting.map(|s| s.key()));
            }
        }
    }
}

/// Whether a change of a service's endpoints shows elsewhere than in their own assignment: in the cluster, which names
/// the accounts of its workloads, and where it is resolved by DNS its hosts, and may speak mutual TLS only if all of
/// them do; or, of a service without an address, in a listener for each endpoint.
fn reach_beyond_endpoints(next: &Snapshot, key: &ServiceKey, old: Option<&Vec<Endpoint>>) -> bool {
    let Some(service) = next.registry.service(key) else { return true };
    let identities = |endpoints: &[Endpoint]| -> BTreeSet<(Str, bool, Str)> {
        let of =
            |e: &Endpoint| (e.workload.service_account.clone(), e.workload.istio_tls, e.port_name.clone());
        endpoints.iter().map(of).collect()
    };
    service.resolution != Resolution::ClientSideLb
        || identities(old.map_or(&[], Vec::as_slice)) != identities(next.registry.endpoints(key))
}

/// Marks the services of ServiceEntries that select workloads with these labels.
fn mark_selecting(next: &Snapshot, index: &Index, dirty: &mut Dirty, namespace: &Str, labels: &Labels) {
    for id in index.selecting(namespace, labels) {
        dirty
            .endpoints
            .extend(next.service_entries.get(&id).into_iter().flat_map(|entry| service_entry::keys(entry)));
    }
}

/// Marks the services that depend on what is marked already.
fn widen(next: &Snapshot, index: &Index, dirty: &mut Dirty) {
    let domain = &next.settings.domain;
    let key_of = |id: &NsName| kube_service::key(id, domain);
    if dirty.all {
        dirty.services.extend(next.kube_services.keys().map(key_of));
        dirty.services.extend(next.service_entries.values().flat_map(|entry| service_entry::keys(entry)));
        return;
    }
    for namespace in &dirty.namespaces {
        let inside = next.registry.in_namespace(namespace).map(|s| s.key());
        dirty.services.extend(inside);
    }
    // A host's aliases also are those of its aliases.
    let mut seen: BTreeSet<Str> = BTreeSet::new();
    let mut hosts: Vec<Str> = dirty.hosts.iter().cloned().collect();
    while let Some(host) = hosts.pop() {
        if !seen.insert(host.clone()) {
            continue;
        }
        dirty.services.extend(next.registry.by_host(&host).map(|s| s.key()));
        hosts.extend(index.target_of(next, &host));
    }
}

fn mesh<'a>(snapshot: &'a Snapshot, networks: &'a Networks) -> Mesh<'a> {
    Mesh { settings: &snapshot.settings, trust_domain: snapshot.trust_domain(), networks }
}

/// A ServiceEntry and the service that it defines for a host.
type Part<'a> = (&'a Arc<Config<ServiceEntry>>, Service);

/// All that services are computed from.
struct Facts<'a> {
    snapshot: &'a Snapshot,
    index: &'a Index,
    networks: &'a Networks,
}

impl<'a> Facts<'a> {
    fn mesh(&self) -> Mesh<'a> {
        mesh(self.snapshot, self.networks)
    }

    fn namespace(&self, name: &str) -> Option<&'a Namespace> {
        self.snapshot.namespaces.get(name).map(|n| &**n)
    }

    /// The ServiceEntries that define a service, oldest first.
    fn entries(&self, key: &ServiceKey) -> Vec<Part<'a>> {
        let ids = self.index.entries.get(key).map(|name| NsName::new(key.namespace.clone(), name.clone()));
        let entries = ids.filter_map(|id| self.snapshot.service_entries.get(&id));
        let namespace = self.namespace(&key.namespace);
        let mut parts: Vec<Part<'a>> = entries
            .filter_map(|e| Some((e, service_entry::service(&self.mesh(), e, &key.hostname, namespace)?)))
            .collect();
        parts.sort_by(|(a, _), (b, _)| a.meta.by_age(&b.meta));
        parts
    }

    /// The service of a key. A Kubernetes Service wins over ServiceEntries, so that nobody takes its host from it.
    fn service(&self, key: &ServiceKey, entries: &[Part<'_>]) -> Option<Service> {
        let mut service = match self.kube_service(key) {
            Some(service) => service,
            None => service_entry::merge(entries.iter().map(|(_, service)| service.clone()).collect())?,
        };
        service.aliases = self.index.aliases(self.snapshot, &key.hostname);
        Some(service)
    }

    fn kube_service(&self, key: &ServiceKey) -> Option<Service> {
        let id = kube_service::id(key, &self.snapshot.settings.domain)?;
        let kube = self.snapshot.kube_services.get(&id)?;
        let mut service = kube_service::service(&self.mesh(), kube, self.namespace(&key.namespace));
        if service.external_addresses.is_empty() && kube_service::is_node_port_gateway(kube) {
            service.external_addresses =
                kube_service::node_addresses(kube, self.snapshot.nodes.values().map(|n| &**n));
        }
        Some(service)
    }

    /// The endpoints of a key: those of ServiceEntries, of slices, of WorkloadEntries that the Service selects.
    fn endpoints(&self, key: &ServiceKey, service: &Service, entries: Vec<Part<'_>>) -> Vec<Endpoint> {
        let (snapshot, mesh) = (self.snapshot, self.mesh());
        let parts = entries.into_iter().map(|(entry, part)| {
            let selected = self.selected(entry);
            let endpoints = service_entry::endpoints(&mesh, entry, &part, &selected);
            (part, endpoints)
        });
        let mut found = service_entry::merge_endpoints(parts.collect());
        let Some(id) = kube_service::id(key, &snapshot.settings.domain) else { return found };
        let Some(kube) = snapshot.kube_services.get(&id) else { return found };
        let slices = snapshot.slices.get(&id).into_iter().flat_map(|s| s.values()).map(|s| &**s);
        let pods = KnownPods { snapshot, index: self.index };
        found.extend(kube_endpoints::endpoints(&mesh, service, slices, &pods));
        if snapshot.settings.features.service_selects_workload_entries && !service.selector.is_empty() {
            let instances = snapshot.registry.instances(&key.namespace).map(|i| &**i);
            let selected = instances.filter(|i| workload_entry::selects(service, i));
            found.extend(workload_entry::endpoints(kube, service, selected));
        }
        found
    }

    /// The workloads that a ServiceEntry selects: Pods, then WorkloadEntries, by name.
    fn selected(&self, entry: &Config<ServiceEntry>) -> Vec<Arc<Instance>> {
        let Some(selector) = service_entry::selector(entry) else { return Vec::new() };
        let namespace = &entry.meta.namespace;
        let mut found = Vec::new();
        if self.snapshot.settings.features.service_entry_selects_pods {
            let first = NsName::new(namespace.clone(), "");
            let pods = self.snapshot.pods.range(first..).take_while(|(id, _)| id.namespace == *namespace);
            for (id, pod) in pods.filter(|(_, pod)| pod.is_serving()) {
                let Some(workload) = self.snapshot.registry.pod(id) else { continue };
                if workload.labels.contains_all(&selector) {
                    found.push(Arc::new(Instance::of_pod(&self.mesh(), pod, workload.clone())));
                }
            }
        }
        let entries = self.snapshot.registry.instances(namespace);
        found.extend(entries.filter(|i| i.labels().contains_all(&selector)).cloned());
        found
    }
}

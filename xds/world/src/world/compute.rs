//! Recomputes services and endpoints from the tables.

use super::World;
use super::dirty::Dirty;
use super::index::{Index, KnownPods};
use crate::convert::{Mesh, Networks, kube_endpoints, kube_service, topology};
use crate::{ChangeSet, Endpoint, NsName, Service, ServiceKey, Snapshot, Str};
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
        }
        self.workloads(next, &mut dirty);
        widen(next, &self.index, &mut dirty);

        let facts = Facts { snapshot: next, index: &self.index, networks: &self.networks };
        let all = || dirty.services.iter().chain(&dirty.endpoints).collect::<BTreeSet<_>>();
        let results: Vec<(ServiceKey, Option<Service>, Vec<Endpoint>)> = all()
            .into_iter()
            .map(|key| {
                let service = facts.service(key);
                let endpoints = service.as_ref().map(|s| facts.endpoints(key, s)).unwrap_or_default();
                (key.clone(), service, endpoints)
            })
            .collect();
        for (key, service, endpoints) in results {
            if next.registry.set_service(&key, service) {
                set.services.insert(key.clone());
            }
            if next.registry.set_endpoints(&key, endpoints) {
                set.endpoints.insert(key);
            }
        }
    }

    /// Recomputes what the endpoints of changed Pods have in common, and marks the services that can see it.
    fn workloads(&mut self, next: &Snapshot, dirty: &mut Dirty) {
        let mesh = mesh(next, &self.networks);
        let touched: BTreeSet<NsName> = dirty.pods.keys().chain(&dirty.moved).cloned().collect();
        for id in touched {
            let pod = next.pods.get(&id);
            let new =
                pod.map(|pod| topology::pod_workload(&mesh, pod, next.nodes.get(&pod.node).map(|n| &**n)));
            let old = self.index.workloads.get(&id);
            let same = old.map(|o| &**o) == new.as_ref();
            if same && !dirty.pods.contains_key(&id) {
                continue;
            }
            if !same {
                match new {
                    Some(new) => drop(self.index.workloads.insert(id.clone(), Arc::new(new))),
                    None => drop(self.index.workloads.remove(&id)),
                }
            }
            let before = dirty.pods.get(&id).cloned().flatten();
            for pod in [before.as_ref(), pod].into_iter().flatten() {
                let services = self.index.services_of_pod(pod);
                dirty.endpoints.extend(services.map(|s| kube_service::key(&s, &next.settings.domain)));
            }
        }
    }
}

/// Marks the services that depend on what is marked already.
fn widen(next: &Snapshot, index: &Index, dirty: &mut Dirty) {
    let domain = &next.settings.domain;
    let key_of = |id: &NsName| kube_service::key(id, domain);
    if dirty.all {
        dirty.services.extend(next.kube_services.keys().map(key_of));
        dirty.services.extend(next.registry.services().map(|s| s.key()));
        return;
    }
    for namespace in &dirty.namespaces {
        let first = NsName::new(namespace.clone(), "");
        let inside = next.kube_services.range(first..).take_while(|(id, _)| id.namespace == *namespace);
        dirty.services.extend(inside.map(|(id, _)| key_of(id)));
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

/// All that services are computed from.
struct Facts<'a> {
    snapshot: &'a Snapshot,
    index: &'a Index,
    networks: &'a Networks,
}

impl Facts<'_> {
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        let id = kube_service::id(key, &self.snapshot.settings.domain)?;
        let kube = self.snapshot.kube_services.get(&id)?;
        let namespace = self.snapshot.namespaces.get(&key.namespace).map(|n| &**n);
        let mut service = kube_service::service(&mesh(self.snapshot, self.networks), kube, namespace);
        if service.external_addresses.is_empty() && kube_service::is_node_port_gateway(kube) {
            service.external_addresses =
                kube_service::node_addresses(kube, self.snapshot.nodes.values().map(|n| &**n));
        }
        service.aliases = self.index.aliases(self.snapshot, &key.hostname);
        Some(service)
    }

    fn endpoints(&self, key: &ServiceKey, service: &Service) -> Vec<Endpoint> {
        let Some(id) = kube_service::id(key, &self.snapshot.settings.domain) else { return Vec::new() };
        let slices = self.snapshot.slices.get(&id).into_iter().flat_map(|s| s.values()).map(|s| &**s);
        let pods = KnownPods { snapshot: self.snapshot, index: self.index };
        kube_endpoints::endpoints(&mesh(self.snapshot, self.networks), service, slices, &pods)
    }
}

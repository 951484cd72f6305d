//! Puts objects into their tables, and finds out what depends on them.

use super::dirty::Dirty;
use super::index::Index;
use crate::config::Meta;
use crate::convert::ingress::{self, Ingress};
use crate::convert::{kube_service, service_entry};
use crate::identity::SecretAccess;
use crate::jwks::Jwks;
use crate::object::{KubeService, Slice};
use crate::snapshot::Snapshot;
use crate::workload::{Namespace, Node, Pod};
use crate::{Config, Kind, NsName, Object, Str};
use imbl::OrdMap;
use meltemi_api::istio::networking::v1alpha3::ServiceEntry;
use std::sync::Arc;

/// All objects in the tables of a snapshot.
pub(super) fn objects(snapshot: &Snapshot) -> Vec<Object> {
    let mut all = Vec::new();
    all.extend(snapshot.namespaces.values().cloned().map(Object::Namespace));
    all.extend(snapshot.nodes.values().cloned().map(Object::Node));
    all.extend(snapshot.slices.values().flat_map(OrdMap::values).cloned().map(Object::EndpointSlice));
    macro_rules! tables {
        ($($table:ident => $kind:ident),*) => {
            $(all.extend(snapshot.$table.values().cloned().map(Object::$kind));)*
        };
    }
    tables!(pods => Pod, kube_services => Service, secrets => Secret, config_maps => ConfigMap,
        virtual_services => VirtualService, destination_rules => DestinationRule, service_entries => ServiceEntry,
        workload_entries => WorkloadEntry, workload_groups => WorkloadGroup, sidecars => Sidecar, gateways => Gateway,
        envoy_filters => EnvoyFilter, proxy_configs => ProxyConfig, peer_authentications => PeerAuthentication,
        request_authentications => RequestAuthentication, authorization_policies => AuthorizationPolicy,
        telemetries => Telemetry, wasm_plugins => WasmPlugin,
        traffic_extensions => TrafficExtension, reference_grants => ReferenceGrant, ingresses => Ingress,
        ingress_classes => IngressClass, secret_access => SecretAccess, jwks => Jwks);
    all
}

impl Index {
    /// Puts an object into its table, or takes it out. Returns whether anything differs that matters.
    pub(super) fn put(
        &mut self,
        next: &mut Snapshot,
        dirty: &mut Dirty,
        kind: Kind,
        name: &NsName,
        object: Option<Object>,
    ) -> bool {
        macro_rules! only {
            ($kind:ident) => {
                match object {
                    Some(Object::$kind(object)) => Some(object),
                    _ => None,
                }
            };
        }
        macro_rules! plain {
            ($table:ident, $kind:ident) => {
                swap(&mut next.$table, name, only!($kind), same_config).is_some()
            };
        }
        match kind {
            Kind::Namespace => namespace(next, dirty, &name.name, only!(Namespace)),
            Kind::Node => self.node(next, dirty, &name.name, only!(Node)),
            Kind::Pod => self.put_pod(next, dirty, name, only!(Pod)),
            Kind::Service => self.kube_service(next, dirty, name, only!(Service)),
            Kind::EndpointSlice => self.put_slice(next, dirty, name, only!(EndpointSlice)),
            Kind::ServiceEntry => self.service_entry(next, dirty, name, only!(ServiceEntry)),
            Kind::WorkloadEntry => {
                dirty.instances.insert(name.clone());
                plain!(workload_entries, WorkloadEntry)
            }
            Kind::Secret => plain!(secrets, Secret),
            Kind::ConfigMap => plain!(config_maps, ConfigMap),
            Kind::VirtualService => plain!(virtual_services, VirtualService),
            Kind::DestinationRule => plain!(destination_rules, DestinationRule),
            Kind::WorkloadGroup => plain!(workload_groups, WorkloadGroup),
            Kind::Sidecar => plain!(sidecars, Sidecar),
            Kind::Gateway => plain!(gateways, Gateway),
            Kind::EnvoyFilter => plain!(envoy_filters, EnvoyFilter),
            Kind::ProxyConfig => plain!(proxy_configs, ProxyConfig),
            Kind::PeerAuthentication => plain!(peer_authentications, PeerAuthentication),
            Kind::RequestAuthentication => plain!(request_authentications, RequestAuthentication),
            Kind::AuthorizationPolicy => plain!(authorization_policies, AuthorizationPolicy),
            Kind::Telemetry => plain!(telemetries, Telemetry),
            Kind::WasmPlugin => plain!(wasm_plugins, WasmPlugin),
            Kind::TrafficExtension => plain!(traffic_extensions, TrafficExtension),
            Kind::ReferenceGrant => plain!(reference_grants, ReferenceGrant),
            Kind::SecretAccess => {
                swap(&mut next.secret_access, name, only!(SecretAccess), SecretAccess::eq).is_some()
            }
            Kind::Jwks => swap(&mut next.jwks, name, only!(Jwks), Jwks::eq).is_some(),
            Kind::Ingress => self.ingress(next, dirty, name, only!(Ingress)),
            Kind::IngressClass => {
                dirty.ingresses.extend(self.ingresses.of_class(&name.name));
                plain!(ingress_classes, IngressClass)
            }
        }
    }

    fn node(&mut self, next: &mut Snapshot, dirty: &mut Dirty, name: &Str, new: Option<Arc<Node>>) -> bool {
        if swap(&mut next.nodes, name, new, Node::eq).is_none() {
            return false;
        }
        dirty.moved.extend(self.pods_on.get(name).cloned());
        let domain = &next.settings.domain;
        dirty.services.extend(self.node_port_gateways.iter().map(|id| kube_service::key(id, domain)));
        true
    }

    fn put_pod(
        &mut self,
        next: &mut Snapshot,
        dirty: &mut Dirty,
        name: &NsName,
        new: Option<Arc<Pod>>,
    ) -> bool {
        let Some(old) = swap(&mut next.pods, name, new.clone(), Pod::eq) else { return false };
        for (pod, there) in [(&old, false), (&new, true)] {
            if let Some(pod) = pod {
                self.pod(pod, there);
            }
        }
        for ip in [&old, &new].into_iter().flatten().flat_map(|pod| &pod.ips) {
            let mut claims = self.pods_at.get(ip).filter_map(|id| next.pods.get(id));
            match claims.find(|pod| !pod.host_network && !pod.is_finished()).cloned() {
                Some(owner) => drop(next.pods_by_ip.insert(ip.clone(), owner)),
                None => drop(next.pods_by_ip.remove(ip)),
            }
        }
        dirty.pods.insert(name.clone(), old);
        true
    }

    fn kube_service(
        &mut self,
        next: &mut Snapshot,
        dirty: &mut Dirty,
        name: &NsName,
        new: Option<Arc<KubeService>>,
    ) -> bool {
        let Some(old) = swap(&mut next.kube_services, name, new.clone(), same_config) else { return false };
        let key = kube_service::key(name, &next.settings.domain);
        for (service, there) in [(&old, false), (&new, true)] {
            let Some(service) = service else { continue };
            if let Some(target) = kube_service::alias_target(service) {
                if there {
                    self.aliases_of.insert(&target, key.clone())
                } else {
                    self.aliases_of.remove(&target, &key)
                }
                dirty.hosts.insert(target);
            }
        }
        if new.is_some_and(|service| kube_service::is_node_port_gateway(&service)) {
            self.node_port_gateways.insert(name.clone());
        } else {
            self.node_port_gateways.remove(name);
        }
        dirty.services.insert(key);
        dirty.ingresses.extend(self.ingresses.of_service(name));
        true
    }

    fn ingress(
        &mut self,
        next: &mut Snapshot,
        dirty: &mut Dirty,
        name: &NsName,
        new: Option<Arc<Ingress>>,
    ) -> bool {
        let Some(old) = swap(&mut next.ingresses, name, new.clone(), same_config) else { return false };
        for (ingress, there) in [(&old, false), (&new, true)] {
            let Some(ingress) = ingress else { continue };
            self.ingresses.set(ingress, there);
            dirty.ingress_hosts.extend(ingress::hosts(ingress));
        }
        dirty.ingresses.insert(name.clone());
        true
    }

    fn service_entry(
        &mut self,
        next: &mut Snapshot,
        dirty: &mut Dirty,
        name: &NsName,
        new: Option<Arc<Config<ServiceEntry>>>,
    ) -> bool {
        let Some(old) = swap(&mut next.service_entries, name, new.clone(), same_config) else { return false };
        for (entry, there) in [(&old, false), (&new, true)] {
            if let Some(entry) = entry {
                self.entry(entry, there);
                dirty.services.extend(service_entry::keys(entry));
            }
        }
        true
    }

    fn put_slice(
        &mut self,
        next: &mut Snapshot,
        dirty: &mut Dirty,
        name: &NsName,
        new: Option<Arc<Slice>>,
    ) -> bool {
        let known = self.service_of_slice.get(name).cloned();
        let old = known.as_ref().and_then(|id| next.slices.get(id)?.get(&name.name).cloned());
        if old == new {
            return false;
        }
        for (slice, there) in [(&old, false), (&new, true)] {
            let Some(slice) = slice else { continue };
            let id = NsName { namespace: name.namespace.clone(), name: slice.service.clone() };
            self.slice(slice, there);
            let of_service = next.slices.entry(id.clone()).or_default();
            if there {
                of_service.insert(name.name.clone(), slice.clone());
                self.service_of_slice.insert(name.clone(), id.clone());
            } else {
                of_service.remove(&name.name);
                if of_service.is_empty() {
                    next.slices.remove(&id);
                }
                self.service_of_slice.remove(name);
            }
            dirty.endpoints.insert(kube_service::key(&id, &next.settings.domain));
        }
        true
    }
}

fn namespace(next: &mut Snapshot, dirty: &mut Dirty, name: &Str, new: Option<Arc<Namespace>>) -> bool {
    let Some(old) = swap(&mut next.namespaces, name, new.clone(), Namespace::eq) else { return false };
    if kube_service::inherits_differently(old.as_deref(), new.as_deref()) {
        dirty.namespaces.insert(name.clone());
    }
    true
}

/// Puts or removes a value. Returns the old one if the two differ in a way that matters.
fn swap<K: Ord + Clone, T>(
    table: &mut OrdMap<K, Arc<T>>,
    key: &K,
    new: Option<Arc<T>>,
    same: impl Fn(&T, &T) -> bool,
) -> Option<Option<Arc<T>>> {
    let old = match new.clone() {
        Some(new) => table.insert(key.clone(), new),
        None => table.remove(key),
    };
    let differs = match (&old, &new) {
        (Some(old), Some(new)) => !Arc::ptr_eq(old, new) && !same(old, new),
        (old, new) => old.is_some() || new.is_some(),
    };
    differs.then_some(old)
}

/// Whether two versions of an object say the same.
fn same_config<T: PartialEq>(a: &Config<T>, b: &Config<T>) -> bool {
    let Meta { name, namespace, labels, annotations, creation, resource_version: _, generation: _, status } =
        &a.meta;
    a.spec == b.spec
        && (labels, annotations, status) == (&b.meta.labels, &b.meta.annotations, &b.meta.status)
        && (name, namespace, *creation) == (&b.meta.name, &b.meta.namespace, b.meta.creation)
}

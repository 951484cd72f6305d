//! What egress listeners import: services, VirtualServices, and the services that these lead to.

use super::Egress;
use super::hosts::{Classified, Hosts};
use crate::index::Index;
use crate::index::virtual_services::{SharedVirtualService, destinations, gateway_semantics};
use crate::names::MESH_GATEWAY;
use meltemi_api::istio::networking::v1alpha3 as networking;
use meltemi_world::service::Registry;
use meltemi_world::{NsName, Protocol, Service, Snapshot, Str, host};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Resolves what one egress listener imports into `namespace`.
pub(super) fn egress_listener(
    index: &Index,
    namespace: &str,
    listener: networking::IstioEgressListener,
) -> Egress {
    let hosts = Hosts::parse(&listener.hosts, namespace);
    let port = matched_port(&listener);
    let virtual_services = select_virtual_services(index, namespace, &hosts);
    let services = select_services(index, namespace, &hosts, port);
    let most_specific = most_specific_routes(&virtual_services, &services);
    Egress::new(listener, services, virtual_services, most_specific)
}

/// The port that a listener narrows services to, unless it is a forward proxy.
fn matched_port(listener: &networking::IstioEgressListener) -> Option<u32> {
    let port = listener.port.as_ref().filter(|p| p.number != 0)?;
    (Protocol::parse(&port.protocol) != Protocol::HttpProxy).then_some(port.number)
}

fn select_virtual_services(index: &Index, namespace: &str, hosts: &Hosts) -> Vec<SharedVirtualService> {
    let mut seen = BTreeSet::new();
    let visible = index.virtual_services.visible(namespace, MESH_GATEWAY);
    visible.into_iter().filter(|vs| imports_route(hosts, vs) && seen.insert(vs.meta.key())).collect()
}

fn imports_route(hosts: &Hosts, vs: &SharedVirtualService) -> bool {
    let gateway = gateway_semantics(&vs.meta);
    let groups: Vec<&Classified> =
        [hosts.of(&vs.meta.namespace), hosts.of_any()].into_iter().flatten().collect();
    vs.spec
        .hosts
        .iter()
        .any(|h| groups.iter().any(|g| g.imports_route(h, gateway)) && !hosts.excludes(&vs.meta.namespace, h))
}

fn select_services(index: &Index, namespace: &str, hosts: &Hosts, port: Option<u32>) -> Vec<Arc<Service>> {
    let mut imported = Vec::new();
    for service in index.services.visible(namespace) {
        if hosts.excludes(&service.namespace, &service.hostname) {
            continue;
        }
        let groups = [hosts.of(&service.namespace), hosts.of_any()];
        if let Some(service) = groups.into_iter().flatten().find_map(|g| narrowed(g, service, port)) {
            imported.push(service);
        }
    }
    one_namespace_per_host(imported, namespace)
}

/// The service as a group of hosts imports it: its port narrowed, its aliases limited to those imported.
fn narrowed(group: &Classified, service: &Arc<Service>, port: Option<u32>) -> Option<Arc<Service>> {
    if !group.imports_service(&service.hostname) {
        return None;
    }
    let service = match port {
        Some(port) => with_ports(service, |p| p == port)?,
        None => service.clone(),
    };
    if service.aliases.iter().all(|a| group.imports_service(&a.hostname)) {
        return Some(service);
    }
    let mut copy = (*service).clone();
    copy.aliases.retain(|a| group.imports_service(&a.hostname));
    Some(Arc::new(copy))
}

fn with_ports(service: &Arc<Service>, wanted: impl Fn(u32) -> bool) -> Option<Arc<Service>> {
    let found = service.ports.iter().filter(|p| wanted(p.port)).count();
    if found == service.ports.len() && found > 0 {
        return Some(service.clone());
    }
    if found == 0 {
        return None;
    }
    let mut copy = (**service).clone();
    copy.ports.retain(|p| wanted(p.port));
    Some(Arc::new(copy))
}

/// If a host comes from several namespaces, one is kept: the client's own, else the first Kubernetes Service, else
/// the first.
fn one_namespace_per_host(imported: Vec<Arc<Service>>, own: &str) -> Vec<Arc<Service>> {
    let mut kept: BTreeMap<Str, (Str, bool)> = BTreeMap::new();
    for service in &imported {
        let kube = service.registry == Registry::Kubernetes;
        let this = (service.namespace.clone(), kube);
        match kept.get(&service.hostname) {
            Some((namespace, was_kube)) => {
                let better = !was_kube && kube && (&*service.namespace == own || &**namespace != own);
                if &*service.namespace == own || better {
                    kept.insert(service.hostname.clone(), this);
                }
            }
            None => {
                kept.insert(service.hostname.clone(), this);
            }
        }
    }
    imported.into_iter().filter(|s| kept.get(&s.hostname).is_some_and(|(ns, _)| *ns == s.namespace)).collect()
}

/// The VirtualService whose host matches each service most specifically; equal hosts: the first one.
fn most_specific_routes(routes: &[SharedVirtualService], services: &[Arc<Service>]) -> BTreeMap<Str, NsName> {
    let (mut exact, mut wildcards) = (BTreeMap::new(), BTreeMap::new());
    for vs in routes {
        for h in &vs.spec.hosts {
            let map = if host::is_wildcard(h) { &mut wildcards } else { &mut exact };
            map.entry(h.as_str()).or_insert(vs);
        }
    }
    let mut out = BTreeMap::new();
    for service in services {
        let name: &str = &service.hostname;
        let wild = host::is_wildcard(name);
        let same = if wild { wildcards.get(name) } else { exact.get(name) };
        let needle = if wild { &name[1..] } else { name };
        let best = same.or_else(|| {
            let matching = wildcards.iter().filter(|(h, _)| needle.ends_with(&h[1..]));
            matching.min_by(|a, b| host::by_specificity(a.0, b.0)).map(|(_, vs)| vs)
        });
        if let Some(vs) = best {
            out.insert(service.hostname.clone(), vs.meta.key());
        }
    }
    out
}

/// Collects services, one for each host.
#[derive(Default)]
pub(super) struct Imports {
    services: Vec<Arc<Service>>,
    position: BTreeMap<Str, usize>,
}

impl Imports {
    /// Adds what an egress listener imports: its services, then those that its VirtualServices lead to.
    pub(super) fn add_listener(
        &mut self,
        snapshot: &Snapshot,
        index: &Index,
        namespace: &str,
        egress: &Egress,
    ) {
        for service in &egress.services {
            self.add(service.clone());
        }
        let port = matched_port(&egress.listener);
        for vs in &egress.virtual_services {
            for (hostname, ports) in destinations(&vs.spec, Some(namespace)) {
                let Some(service) = best_service(snapshot, index, namespace, hostname) else { continue };
                let narrowed = match port {
                    Some(port) => with_ports(service, |p| p == port),
                    None if ports.contains(&0) => Some(service.clone()),
                    None => with_ports(service, |p| ports.contains(&p)),
                };
                if let Some(service) = narrowed {
                    self.add(service);
                }
            }
        }
    }

    /// Adds a service. If its host is known already: a Kubernetes Service replaces a ServiceEntry, parts of one
    /// service are put together, and otherwise the first one stays.
    pub(super) fn add(&mut self, service: Arc<Service>) {
        let Some(&at) = self.position.get(&service.hostname) else {
            self.position.insert(service.hostname.clone(), self.services.len());
            self.services.push(service);
            return;
        };
        let known = &self.services[at];
        match (known.registry, service.registry) {
            (Registry::Kubernetes, Registry::External) => {}
            (Registry::External, Registry::Kubernetes) => self.services[at] = service,
            _ if known.ports == service.ports || !same_but_for_ports(known, &service) => {}
            _ => {
                let mut merged = (**known).clone();
                for port in &service.ports {
                    if merged.port(port.port).is_none() {
                        merged.ports.push(port.clone());
                    }
                }
                self.services[at] = Arc::new(merged);
            }
        }
    }

    /// The services in the order in which they were added, and by host.
    pub(super) fn finish(self) -> (Vec<Arc<Service>>, BTreeMap<Str, Arc<Service>>) {
        let by_host = self.services.iter().map(|s| (s.hostname.clone(), s.clone())).collect();
        (self.services, by_host)
    }
}

fn same_but_for_ports(a: &Service, b: &Service) -> bool {
    a.namespace == b.namespace
        && a.resolution == b.resolution
        && a.labels == b.labels
        && a.selector == b.selector
        && a.export_to == b.export_to
}

/// The service of a host that a VirtualService leads to: the client's own, else of those that it sees a Kubernetes Service
/// before others, then the oldest (`PILOT_SIDECAR_PICK_BEST_SERVICE_NAMESPACE`), or else the first by namespace.
fn best_service<'a>(
    snapshot: &'a Snapshot,
    index: &Index,
    namespace: &str,
    hostname: &'a str,
) -> Option<&'a Arc<Service>> {
    let all: Vec<_> = snapshot.registry.by_host(hostname).collect();
    if let Some(own) = all.iter().find(|s| &*s.namespace == namespace) {
        return Some(own);
    }
    let visible = all.into_iter().filter(|s| index.services.is_visible(s, namespace));
    if !snapshot.settings.features.pick_best_service_namespace {
        return visible.min_by(|a, b| a.namespace.cmp(&b.namespace));
    }
    visible.min_by_key(|s| (s.registry != Registry::Kubernetes, s.creation, s.namespace.clone()))
}

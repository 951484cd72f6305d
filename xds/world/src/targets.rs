//! The service ports that a proxy's own workload stands behind, and what is known of that workload.
//!
//! Source: Istio `GetProxyServiceTargets` of the registries, `SetServiceTargets`, `SetWorkloadLabels`,
//! `setTopologyLabels`.

use crate::convert::workload_entry::{self, Instance};
use crate::convert::{kube_service, topology};
use crate::labels::Labels;
use crate::object::KubeService;
use crate::registry::ServiceTarget;
use crate::service::{Registry, TargetPort};
use crate::workload::Pod;
use crate::{Locality, NsName, Protocol, Proxy, Resolution, Service, Snapshot, Str};
use meltemi_api::k8s;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Snapshot {
    /// The service ports that a proxy's workload stands behind, the oldest service first, then by host.
    pub fn service_targets(&self, proxy: &Proxy) -> Vec<ServiceTarget> {
        let mut found = if self.is_local(proxy) { self.kube_targets(proxy) } else { Vec::new() };
        found.extend(self.external_targets(proxy));
        found.sort_by(|a, b| {
            let key = |t: &ServiceTarget| (t.service.creation, t.service.hostname.clone());
            key(a).cmp(&key(b))
        });
        found
    }

    /// The Pod that a proxy runs in, if it is known.
    pub fn pod_of(&self, proxy: &Proxy) -> Option<&Arc<Pod>> {
        // istiod's watch leaves failed Pods out.
        let known = |pod: &&Arc<Pod>| &*pod.phase != "Failed";
        let by_name = proxy.name().split_once('.').filter(|(_, ns)| *ns == proxy.metadata.namespace);
        let by_name = by_name.and_then(|(name, ns)| self.pods.get(&NsName::new(ns, name)).filter(known));
        let by_ip = || self.pods_by_ip.get(proxy.ip()).filter(known);
        by_name.or_else(|| if self.settings.features.find_pod_by_ip { by_ip() } else { None })
    }

    /// The labels of a proxy's workload: those of its Pod or of its ServiceEntry's endpoint over those that it
    /// announces, with the labels of its place.
    pub fn workload_labels(&self, proxy: &Proxy) -> Labels {
        let labels = self.known_labels(proxy);
        let (locality, metadata) = (self.locality_of(&labels, proxy), &proxy.metadata);
        topology::augment(&labels, &metadata.cluster_id, &locality, &metadata.node_name, &metadata.network)
    }

    /// Where a proxy runs: as its workload's labels say, or else as it announces.
    pub fn proxy_locality(&self, proxy: &Proxy) -> Locality {
        self.locality_of(&self.known_labels(proxy), proxy)
    }

    /// The proxy as the world knows it now. `announced` is what its node said when it connected.
    pub fn resolve(&self, announced: &Proxy) -> Proxy {
        let mut proxy = announced.clone();
        proxy.labels = self.workload_labels(announced);
        proxy.locality = self.proxy_locality(announced);
        proxy
    }

    fn is_local(&self, proxy: &Proxy) -> bool {
        let cluster = proxy.metadata.cluster_id.as_str();
        cluster.is_empty() || cluster == &*self.settings.cluster_id
    }

    fn known_labels(&self, proxy: &Proxy) -> Labels {
        let metadata = &proxy.metadata;
        let own = |map: &std::collections::BTreeMap<String, String>| -> Labels {
            map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
        };
        let found = if self.is_local(proxy) { self.registered_labels(proxy) } else { None };
        match found {
            Some(labels) => own(&metadata.static_labels).with_all(labels.iter()),
            None => own(&metadata.labels),
        }
    }

    fn registered_labels(&self, proxy: &Proxy) -> Option<Labels> {
        if let Some(pod) = self.pod_of(proxy)
            && let Some(workload) = self.registry.pod(&pod.key())
        {
            let node = &proxy.metadata.node_name;
            let cluster = &self.settings.cluster_id;
            return Some(topology::augment(
                &pod.labels,
                cluster,
                &workload.locality,
                node,
                &workload.network,
            ));
        }
        let (service, address) = self.external_services(proxy).next()?;
        let endpoints = self.registry.endpoints(&service.key());
        Some(endpoints.iter().find(|e| e.address() == address)?.labels().clone())
    }

    fn locality_of(&self, labels: &Labels, proxy: &Proxy) -> Locality {
        let label = |name: &str| labels.get(name);
        match (label(topology::REGION), label(topology::ZONE), label(topology::SUBZONE)) {
            (None, None, None) => declared(labels).unwrap_or_else(|| proxy.locality.clone()),
            (region, zone, subzone) => Locality {
                region: region.unwrap_or_default().into(),
                zone: zone.unwrap_or_default().into(),
                subzone: subzone.unwrap_or_default().into(),
            },
        }
    }

    fn kube_targets(&self, proxy: &Proxy) -> Vec<ServiceTarget> {
        if let Some(instance) = self.instance_of(proxy) {
            return self.instance_targets(instance);
        }
        if let Some(pod) = self.pod_of(proxy) {
            let selecting = self.selecting(&pod.namespace, &pod.labels);
            let mut found = Vec::new();
            let mut any = false;
            for (kube, service) in selecting {
                any = true;
                found.extend(targets(kube, service, |port, named| pod_port(pod, port, named)).0);
            }
            return if any { found } else { self.slice_targets(proxy) };
        }
        self.announced_targets(proxy)
    }

    /// The Kubernetes Services of a namespace that select a workload with these labels.
    fn selecting<'a>(
        &'a self,
        namespace: &'a Str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = (&'a KubeService, &'a Arc<Service>)> {
        let first = NsName::new(namespace.clone(), "");
        let inside = self.kube_services.range(first..).take_while(move |(id, _)| id.namespace == *namespace);
        let matching = inside.filter(move |(_, kube)| {
            let selector = &kube.spec.spec.selector;
            !selector.is_empty() && labels.matches(selector)
        });
        matching.filter_map(|(id, kube)| {
            Some((&**kube, self.registry.service(&kube_service::key(id, &self.settings.domain))?))
        })
    }

    /// Without its Pod, what a proxy announces of it must do.
    fn announced_targets(&self, proxy: &Proxy) -> Vec<ServiceTarget> {
        if proxy.labels.is_empty() {
            return Vec::new();
        }
        let ports = &proxy.metadata.pod_ports;
        let mut found = Vec::new();
        for (kube, service) in self.selecting(&proxy.namespace, &proxy.labels) {
            let (targets, complete) = targets(kube, service, |port, name| {
                let known = ports.iter().find(|p| p.name == name && p.protocol == transport(port));
                known.map(|p| p.container_port)
            });
            // A VM announces no ports, and its WorkloadEntry is taken to map none.
            if !complete && !ports.is_empty() {
                return Vec::new();
            }
            found.extend(targets);
        }
        found
    }

    /// The targets of services that select no Pods but have one as an endpoint.
    fn slice_targets(&self, proxy: &Proxy) -> Vec<ServiceTarget> {
        let namespace: Str = proxy.metadata.namespace.as_str().into();
        let first = NsName::new(namespace.clone(), "");
        let mut found = Vec::new();
        for (id, _) in self.slices.range(first..).take_while(|(id, _)| id.namespace == namespace) {
            let key = kube_service::key(id, &self.settings.domain);
            let Some(service) = self.registry.service(&key) else { continue };
            for endpoint in self.registry.endpoints(&key).iter().filter(|e| e.address() == proxy.ip()) {
                if let Some(port) = service.ports.iter().find(|p| endpoint.is_behind(p)) {
                    found.push(ServiceTarget {
                        service: service.clone(),
                        port: port.clone(),
                        target_port: endpoint.port,
                    });
                }
            }
        }
        found
    }

    /// The WorkloadEntry of a proxy: of several with its address the one of its name, or else of its namespace.
    fn instance_of(&self, proxy: &Proxy) -> Option<&Arc<Instance>> {
        let usable = |i: &&Arc<Instance>| !i.labels().is_empty() && !i.is_dns_only();
        let all: Vec<&Arc<Instance>> = self.registry.instances_at(proxy.ip()).filter(usable).collect();
        let name =
            proxy.name().split_once('.').filter(|(_, ns)| **ns == *proxy.namespace).map(|(name, _)| name);
        let own = |i: &&&Arc<Instance>| i.id.namespace == proxy.namespace;
        let named = all.iter().filter(own).find(|i| Some(&*i.id.name) == name);
        named.or_else(|| all.iter().find(own)).or(all.first()).copied()
    }

    fn instance_targets(&self, instance: &Instance) -> Vec<ServiceTarget> {
        let mut found = Vec::new();
        for (kube, service) in self.selecting(&instance.id.namespace, instance.labels()) {
            if service.resolution != Resolution::ClientSideLb {
                continue;
            }
            for (index, port) in service.ports.iter().enumerate().filter(|(_, p)| p.protocol != Protocol::Udp)
            {
                if let Some(target_port) = workload_entry::target_port(kube, service, index, instance) {
                    found.push(ServiceTarget { service: service.clone(), port: port.clone(), target_port });
                }
            }
        }
        found
    }

    /// The services of ServiceEntries that a proxy is an endpoint of, each with the address that says so.
    fn external_services<'a>(
        &'a self,
        proxy: &'a Proxy,
    ) -> impl Iterator<Item = (&'a Arc<Service>, &'a str)> {
        let own = proxy.metadata.namespace.as_str();
        proxy.ips().iter().flat_map(move |ip| {
            let services = self.registry.external_at(ip);
            services.filter(move |s| own.is_empty() || &*s.namespace == own).map(move |s| (s, &**ip))
        })
    }

    fn external_targets(&self, proxy: &Proxy) -> Vec<ServiceTarget> {
        let mut found = Vec::new();
        for (service, address) in
            self.external_services(proxy).filter(|(s, _)| s.registry == Registry::External)
        {
            let endpoints = self.registry.endpoints(&service.key());
            for endpoint in endpoints.iter().filter(|e| e.address() == address) {
                if let Some(port) = service.ports.iter().find(|p| endpoint.is_behind(p)) {
                    found.push(ServiceTarget {
                        service: service.clone(),
                        port: port.clone(),
                        target_port: endpoint.port,
                    });
                }
            }
        }
        found
    }
}

/// The locality that labels declare in one; here the parts are divided by slashes only (Istio `ConvertLocality`).
fn declared(labels: &Labels) -> Option<Locality> {
    let text = labels.get("topology.istio.io/locality").or_else(|| labels.get("istio-locality"))?;
    (!text.is_empty()).then(|| Locality::parse(text))
}

/// The targets of one service, and whether all its ports were found. Two ports that lead to one port of the workload
/// and speak the same give one target: one listener can serve both.
fn targets(
    kube: &KubeService,
    service: &Arc<Service>,
    find: impl Fn(&k8s::ServicePort, &str) -> Option<u32>,
) -> (Vec<ServiceTarget>, bool) {
    let mut seen: BTreeSet<(u32, Protocol)> = BTreeSet::new();
    let (mut found, mut complete) = (Vec::new(), true);
    for (from, port) in kube.spec.spec.ports.iter().zip(&service.ports) {
        let number = match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => find(from, name),
        };
        let Some(target_port) = number else {
            complete = false;
            continue;
        };
        if seen.insert((target_port, port.protocol)) {
            found.push(ServiceTarget { service: service.clone(), port: port.clone(), target_port });
        }
    }
    (found, complete)
}

fn pod_port(pod: &Pod, port: &k8s::ServicePort, name: &str) -> Option<u32> {
    pod.ports.iter().find(|p| &*p.name == name && &*p.protocol == transport(port)).map(|p| p.port)
}

fn transport(port: &k8s::ServicePort) -> &str {
    if port.protocol.is_empty() { "TCP" } else { &port.protocol }
}

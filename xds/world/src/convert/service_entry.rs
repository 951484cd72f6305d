//! ServiceEntries as services of the mesh, and their endpoints.
//!
//! Source: Istio `pilot/pkg/serviceregistry/serviceentry/conversion.go`. Where Istio makes a service of each address of
//! a ServiceEntry, this makes one with all addresses. Several ServiceEntries of one host and namespace make one
//! service, too, the oldest deciding (`appendSidecarServices`).

use super::workload_entry::Instance;
use super::{Mesh, kube_service};
use crate::config::{Config, Meta};
use crate::endpoint::EndpointWorkload;
use crate::features::Features;
use crate::labels::Labels;
use crate::service::{Registry, TargetPort};
use crate::visibility::Visibility;
use crate::workload::Namespace;
use crate::{Endpoint, Health, Port, Protocol, Resolution, Service, ServiceKey, Str};
use ipnet::IpNet;
use meltemi_api::istio::networking::v1alpha3::{self as networking, service_entry};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

type Entry = Config<networking::ServiceEntry>;

/// The services that an entry defines.
pub fn keys(entry: &Entry) -> impl Iterator<Item = ServiceKey> + '_ {
    entry.spec.hosts.iter().map(|host| ServiceKey::new(entry.meta.namespace.clone(), host.as_str()))
}

/// The labels of the workloads that an entry selects.
pub fn selector(entry: &Entry) -> Option<Labels> {
    let selector = entry.spec.workload_selector.as_ref()?;
    Some(selector.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect())
}

/// The service that an entry defines for one of its hosts; `None` if none of its addresses can be read.
pub fn service(mesh: &Mesh<'_>, entry: &Entry, host: &Str, namespace: Option<&Namespace>) -> Option<Service> {
    let (meta, spec) = (&entry.meta, &entry.spec);
    let addresses = addresses(&spec.addresses)?;
    let resolution = match spec.resolution() {
        service_entry::Resolution::None => Resolution::Passthrough,
        service_entry::Resolution::Static => Resolution::ClientSideLb,
        service_entry::Resolution::Dns => Resolution::DnsLb,
        service_entry::Resolution::DnsRoundRobin => Resolution::DnsRoundRobinLb,
        service_entry::Resolution::DynamicDns => Resolution::DynamicDns,
    };
    let moved = spec.ports.iter().filter(|p| resolution == Resolution::Passthrough && p.target_port != 0);
    Some(Service {
        name: host.clone(),
        object_name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        hostname: host.clone(),
        registry: Registry::External,
        ports: spec.ports.iter().map(port).collect(),
        addresses,
        auto_addresses: auto_addresses(mesh, entry, host),
        resolution,
        mesh_external: spec.location() == service_entry::Location::MeshExternal,
        labels: meta.labels.clone(),
        selector: selector(entry).unwrap_or_default(),
        export_to: Visibility::parse(&spec.export_to, &meta.namespace),
        service_accounts: spec.subject_alt_names.iter().map(|s| s.as_str().into()).collect(),
        creation: meta.creation,
        node_local: false,
        publish_not_ready: false,
        traffic_distribution: kube_service::traffic_distribution("", &meta.annotations, namespace),
        kind: "".into(),
        external_name: None,
        external_addresses: Vec::new(),
        external_ports: BTreeMap::new(),
        aliases: Vec::new(),
        races_addresses: meta
            .annotations
            .get("istio.io/connect-strategy")
            .is_some_and(|v| v.eq_ignore_ascii_case("RACE_FIRST_TCP_CONNECT")),
        passthrough_target_ports: moved.map(|p| (p.number, p.target_port)).collect(),
    })
}

fn port(from: &networking::ServicePort) -> Port {
    Port {
        name: from.name.as_str().into(),
        port: from.number,
        protocol: Protocol::parse(&from.protocol),
        target: TargetPort::Number(if from.target_port == 0 { from.number } else { from.target_port }),
    }
}

/// Addresses and ranges; what cannot be read is left out, and `None` if nothing is left.
fn addresses(from: &[String]) -> Option<Vec<Str>> {
    if from.is_empty() {
        return Some(vec![Service::UNSPECIFIED.into()]);
    }
    let mut found: Vec<Str> = Vec::new();
    for text in from {
        let address: Str = match (text.parse::<IpAddr>(), text.parse::<IpNet>()) {
            (Ok(_), _) => text.as_str().into(),
            (_, Ok(range)) if range.prefix_len() == range.max_prefix_len() => range.addr().to_string().into(),
            (_, Ok(_)) => text.as_str().into(),
            _ => continue,
        };
        if !found.contains(&address) {
            found.push(address);
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The addresses that were allocated for a host, IPv4 first; one of each family.
fn auto_addresses(mesh: &Mesh<'_>, entry: &Entry, host: &str) -> Vec<Str> {
    let Some(status) = &entry.meta.status else { return Vec::new() };
    if !auto_allocates(&mesh.settings.features, entry) {
        return Vec::new();
    }
    let of_host = || {
        status.addresses.iter().filter(|(h, _)| &**h == host).filter_map(|(_, a)| a.parse::<IpAddr>().ok())
    };
    let last = |v4: bool| of_host().rfind(|a| a.is_ipv4() == v4);
    [last(true), last(false)].into_iter().flatten().map(|a| a.to_string().into()).collect()
}

/// Whether addresses are allocated for the hosts of an entry.
pub fn auto_allocates(features: &Features, entry: &Entry) -> bool {
    let opted_out = entry.meta.labels.get("networking.istio.io/enable-autoallocate-ip");
    features.ip_autoallocate
        // Without resolution the proxy forwards to the address that was dialled, which nobody owns.
        && entry.spec.resolution() != service_entry::Resolution::None
        && entry.spec.addresses.is_empty()
        && !opted_out.is_some_and(|v| v.eq_ignore_ascii_case("false"))
}

fn is_dns(resolution: Resolution) -> bool {
    matches!(resolution, Resolution::DnsLb | Resolution::DnsRoundRobinLb)
}

/// The endpoints that an entry gives `service`, one of its own. `selected` are the workloads that its selector matches,
/// Pods first, by name.
pub fn endpoints(
    mesh: &Mesh<'_>,
    entry: &Entry,
    service: &Service,
    selected: &[Arc<Instance>],
) -> Vec<Endpoint> {
    let spec = &entry.spec;
    let dns = is_dns(service.resolution);
    if spec.workload_selector.is_some() {
        let usable = selected.iter().filter(|i| dns || !i.is_dns_only());
        return usable.flat_map(|instance| of_instance(spec, instance)).collect();
    }
    if spec.endpoints.is_empty() && dns {
        return host_endpoints(mesh, entry, service);
    }
    let inline = spec.endpoints.iter().enumerate().map(|(i, endpoint)| {
        let name = format!("{}-{i}", entry.meta.name).into();
        let meta = Meta { name, namespace: entry.meta.namespace.clone(), ..Meta::default() };
        Instance::of_entry(mesh, &meta, endpoint)
    });
    inline.flat_map(|instance| of_instance(spec, &instance)).collect()
}

fn of_instance(spec: &networking::ServiceEntry, instance: &Instance) -> Vec<Endpoint> {
    let to_endpoint = |port: &networking::ServicePort| {
        let own = instance.ports.get(port.name.as_str()).copied().filter(|p| *p > 0);
        let number = match (instance.socket(), own) {
            (Some(_), _) => 0,
            (None, Some(own)) => own,
            (None, None) if port.target_port > 0 => port.target_port,
            (None, None) => port.number,
        };
        instance.endpoint(port.name.as_str().into(), port.number, number)
    };
    spec.ports.iter().map(to_endpoint).collect()
}

/// A host that is found by DNS and has no endpoints is its own endpoint.
fn host_endpoints(mesh: &Mesh<'_>, entry: &Entry, service: &Service) -> Vec<Endpoint> {
    let workload = Arc::new(EndpointWorkload {
        cluster: mesh.settings.cluster_id.clone(),
        namespace: entry.meta.namespace.clone(),
        name: entry.meta.name.clone(),
        ..EndpointWorkload::default()
    });
    let to_endpoint = |port: &networking::ServicePort| Endpoint {
        addresses: vec![service.hostname.clone()],
        port: if port.target_port > 0 { port.target_port } else { port.number },
        port_name: port.name.as_str().into(),
        service_port: port.number,
        workload: workload.clone(),
        weight: 0,
        health: Health::Unknown,
        hostname: "".into(),
        subdomain: "".into(),
    };
    entry.spec.ports.iter().map(to_endpoint).collect()
}

/// One service of all that define a host in a namespace. `parts` are ordered by age; the first decides, the others add
/// ports and addresses if they agree with it in the rest.
pub fn merge(parts: Vec<Service>) -> Option<Service> {
    let mut parts = parts.into_iter();
    let mut merged = parts.next()?;
    for part in parts {
        let agrees = merged.resolution == part.resolution
            && merged.labels == part.labels
            && merged.selector == part.selector
            && merged.export_to == part.export_to;
        if !agrees {
            continue;
        }
        for port in part.ports {
            if merged.port(port.port).is_none() {
                if let Some(target) = part.passthrough_target_ports.get(&port.port) {
                    merged.passthrough_target_ports.insert(port.port, *target);
                }
                merged.ports.push(port);
            }
        }
        let placed = merged.default_address() != Service::UNSPECIFIED
            && part.addresses[0] != Service::UNSPECIFIED.into();
        for address in part.addresses.into_iter().filter(|_| placed) {
            if !merged.addresses.contains(&address) {
                merged.addresses.push(address);
            }
        }
        for account in part.service_accounts {
            if !merged.service_accounts.contains(&account) {
                merged.service_accounts.push(account);
            }
        }
    }
    Some(merged)
}

/// The endpoints of several entries of one host, oldest first. A LOGICAL_DNS cluster has one endpoint, so only the
/// first one of a port counts for those.
pub fn merge_endpoints(parts: Vec<(Service, Vec<Endpoint>)>) -> Vec<Endpoint> {
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    let mut merged = Vec::new();
    for (service, endpoints) in parts {
        for endpoint in endpoints {
            let Some(port) = service.ports.iter().find(|p| endpoint.is_behind(p)) else { continue };
            if taken.insert(port.port) || service.resolution != Resolution::DnsRoundRobinLb {
                merged.push(endpoint);
            }
        }
    }
    merged
}

//! The addresses by which one proxy reaches a service.
//!
//! Source: Istio `Service.GetAddressForProxy` and `getAllAddressesForProxy` (`pilot/pkg/model/service.go`).

use crate::Cx;
use meltemi_world::proxy::{IpMode, ProxyType};
use meltemi_world::service::Registry;
use meltemi_world::{Proxy, Service};
use std::net::IpAddr;

/// The addresses that stand for all addresses of a proxy with these IP families, the primary one first.
pub fn wildcards(mode: IpMode) -> Vec<&'static str> {
    match mode {
        IpMode::V4 => vec!["0.0.0.0"],
        IpMode::V6 => vec!["::"],
        IpMode::Dual => vec!["0.0.0.0", "::"],
    }
}

/// The loopback addresses of a proxy with these IP families, the primary one first.
pub fn localhosts(mode: IpMode) -> Vec<&'static str> {
    match mode {
        IpMode::V4 => vec!["127.0.0.1"],
        IpMode::V6 => vec!["::1"],
        IpMode::Dual => vec!["127.0.0.1", "::1"],
    }
}

/// The address of a service for the proxy; `0.0.0.0` where it has none.
pub fn first<'a>(cx: &Cx<'_>, service: &'a Service) -> &'a str {
    let vips = of_proxys_families(cx.proxy, virtual_ips(service));
    if let Some(vip) = vips.first() {
        return vip;
    }
    let own = default(service);
    let auto = if own == Service::UNSPECIFIED { automatic(cx, service) } else { Vec::new() };
    of_proxys_families(cx.proxy, auto).first().copied().unwrap_or(own)
}

/// All addresses of a service for the proxy, `0.0.0.0` alone where it has none.
pub fn all<'a>(cx: &Cx<'_>, service: &'a Service) -> Vec<&'a str> {
    let vips = virtual_ips(service);
    let mut found = if vips.is_empty() { automatic(cx, service) } else { vips.clone() };
    if !(cx.proxy.is_dual_stack() && (cx.features().dual_stack || cx.features().ambient)) {
        found = of_proxys_families(cx.proxy, found);
    }
    if !found.is_empty() {
        return found;
    }
    // A ServiceEntry's address only has to match what clients connect to, whatever its family.
    let own = vec![default(service)];
    if vips.is_empty() { own } else { of_proxys_families(cx.proxy, own) }
}

/// Whether the proxy resolves names itself and so knows automatically allocated addresses.
pub fn uses_automatic(cx: &Cx<'_>) -> bool {
    let metadata = &cx.proxy.metadata;
    let allocated = metadata.dns_auto_allocate || cx.features().ip_autoallocate;
    allocated && (metadata.dns_capture || cx.proxy.kind == ProxyType::Waypoint)
}

/// The cluster IPs of a Kubernetes Service. ServiceEntries have none (Istio `ClusterVIPs`).
fn virtual_ips(service: &Service) -> Vec<&str> {
    match service.registry {
        Registry::Kubernetes => service.addresses.iter().map(|a| &**a).collect(),
        Registry::External => Vec::new(),
    }
}

fn automatic<'a>(cx: &Cx<'_>, service: &'a Service) -> Vec<&'a str> {
    if uses_automatic(cx) { service.auto_addresses.iter().map(|a| &**a).collect() } else { Vec::new() }
}

/// Istio has a service of its own for each address of a ServiceEntry, and the last one of a host counts.
fn default(service: &Service) -> &str {
    service.addresses.last().map_or(Service::UNSPECIFIED, |a| &**a)
}

/// The addresses of the families that the proxy has; of both, those of the first address's family.
///
/// Source: Istio `FilterAddressesByIPFamily`.
fn of_proxys_families<'a>(proxy: &Proxy, addresses: Vec<&'a str>) -> Vec<&'a str> {
    let first_is_v4 = addresses.first().and_then(|a| is_v4(a)).unwrap_or(true);
    let v4 = match (proxy.supports_v4(), proxy.supports_v6()) {
        (true, true) => first_is_v4,
        (v4, _) => v4,
    };
    addresses.into_iter().filter(|a| is_v4(a) == Some(v4)).collect()
}

/// Whether an address or CIDR is IPv4; `None` where it is neither.
fn is_v4(address: &str) -> Option<bool> {
    let ip = address.split_once('/').map_or(address, |(ip, _)| ip);
    ip.parse().ok().map(|ip: IpAddr| ip.is_ipv4())
}

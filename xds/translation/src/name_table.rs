//! NDS: the names that pilot-agent's DNS proxy answers itself, with their addresses.
//!
//! A service has the addresses by which the proxy reaches it. A headless one has those of its ready endpoints, and each
//! Pod with a host name of its own has that, too, as in the cluster's DNS. Names are those of the egress listeners, so a
//! gateway, which has none of its own, gets an empty table.
//! Source: Istio `BuildNameTable` (`pkg/dns/server/name_table.go`).

use crate::{Cx, address, endpoint};
use meltemi_api::istio_wire::networking::nds::v1::{NameTable, name_table::NameInfo};
use meltemi_world::service::Registry;
use meltemi_world::{Endpoint, Health, Service};
use std::collections::BTreeMap;
use std::net::IpAddr;

type Table = BTreeMap<String, NameInfo>;

/// The domain of services that are exported to all clusters. Their short names are those of the cluster's own services.
const CLUSTER_SET: &str = ".clusterset.local";

/// The name table of a proxy.
pub fn name_table(cx: &Cx<'_>) -> NameTable {
    let mut table = Table::new();
    for service in cx.scope.egress.iter().flat_map(|e| &e.services) {
        let own = own_addresses(cx, service);
        // What is no address is a range.
        let mut ips: Vec<String> =
            own.iter().filter(|a| **a != Service::UNSPECIFIED && is_ip(a)).map(ToString::to_string).collect();
        if own.contains(&Service::UNSPECIFIED) && service.is_headless() {
            ips.extend(endpoints(cx, service).filter(|e| is_near(cx, e)).flat_map(addresses));
            add_pods(cx, service, &mut table);
        }
        if !ips.is_empty() {
            add(&mut table, service, ips);
        }
    }
    NameTable { table }
}

/// Where the proxy reaches a service. A ServiceEntry is reached by all of its addresses.
fn own_addresses<'a>(cx: &Cx<'_>, service: &'a Service) -> Vec<&'a str> {
    match service.registry {
        Registry::External if service.default_address() != Service::UNSPECIFIED => {
            service.addresses.iter().map(|a| &**a).collect()
        }
        _ => address::all(cx, service),
    }
}

/// Of several services of one name the cluster's own one counts; others are laid together.
fn add(table: &mut Table, service: &Service, ips: Vec<String>) {
    let fresh = info(service, ips);
    let Some(known) = table.get_mut(&*service.hostname) else {
        table.insert(service.hostname.to_string(), fresh);
        return;
    };
    if known.registry == registry(Registry::Kubernetes) {
        return;
    }
    if service.registry == Registry::Kubernetes {
        *known = fresh;
    } else {
        known.ips.extend(fresh.ips);
    }
}

/// The agent makes the shorter forms of a name (`a`, `a.ns`, `a.ns.svc`) from its name and namespace.
fn info(service: &Service, ips: Vec<String>) -> NameInfo {
    let short = service.registry == Registry::Kubernetes && !service.hostname.ends_with(CLUSTER_SET);
    let (shortname, namespace) =
        if short { (service.name.to_string(), service.namespace.to_string()) } else { Default::default() };
    NameInfo { ips, registry: registry(service.registry), shortname, namespace, ..Default::default() }
}

/// Pods that name the service as their subdomain: `HOSTNAME.SUBDOMAIN.NAMESPACE.svc.DOMAIN`. Those of another cluster
/// only where this one has none of that name.
fn add_pods(cx: &Cx<'_>, service: &Service, table: &mut Table) {
    let Some((_, domain)) = service.hostname.split_once('.') else { return };
    let (mut near, mut far) = (Table::new(), Table::new());
    for pod in endpoints(cx, service).filter(|e| !e.subdomain.is_empty()) {
        let shortname = format!("{}.{}", pod.hostname, pod.subdomain);
        let pods = if in_cluster(cx, pod) { &mut near } else { &mut far };
        let entry = pods.entry(format!("{shortname}.{domain}")).or_insert_with(|| NameInfo {
            registry: registry(service.registry),
            shortname,
            namespace: service.namespace.to_string(),
            ..Default::default()
        });
        entry.ips.extend(addresses(pod));
    }
    far.extend(near);
    table.extend(far);
}

/// The endpoints of a headless service that a client of this network may be told of. All ports have the same ones.
fn endpoints<'a>(cx: &Cx<'a>, service: &'a Service) -> impl Iterator<Item = &'a Endpoint> {
    let cx = *cx;
    let port = service.ports.first();
    let all = cx.snapshot.registry.endpoints(&service.key());
    all.iter().filter(move |e| {
        port.is_some_and(|p| e.is_behind(p))
            && (service.publish_not_ready || e.health == Health::Healthy)
            && !e.addresses.is_empty()
            && e.addresses.iter().all(|a| is_ip(a))
            && endpoint::in_network(&cx, &e.workload.network)
    })
}

/// Whether an endpoint is in the proxy's cluster, or clusters make no difference (`ENABLE_MULTICLUSTER_HEADLESS`).
fn is_near(cx: &Cx<'_>, endpoint: &Endpoint) -> bool {
    cx.features().multicluster_headless || in_cluster(cx, endpoint)
}

fn in_cluster(cx: &Cx<'_>, endpoint: &Endpoint) -> bool {
    let (own, other) = (cx.proxy.metadata.cluster_id.as_str(), &*endpoint.workload.cluster);
    own.is_empty() || other.is_empty() || own == other
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = String> {
    endpoint.addresses.iter().map(ToString::to_string)
}

fn registry(registry: Registry) -> String {
    match registry {
        Registry::Kubernetes => "Kubernetes",
        Registry::External => "External",
    }
    .to_owned()
}

fn is_ip(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok()
}

//! The endpoints of a Kubernetes Service, from its EndpointSlices and the Pods that they name.
//!
//! Source: Istio `pilot/pkg/serviceregistry/kube/controller/endpointslice.go`.

use super::{Mesh, topology};
use crate::endpoint::EndpointWorkload;
use crate::features::Features;
use crate::object::{Slice, SliceEndpoint};
use crate::workload::Pod;
use crate::{Endpoint, Health, NsName, Service, Str};
use std::collections::HashSet;
use std::sync::Arc;

/// Where conversions look up Pods.
pub trait Pods {
    /// The Pod with this name and what its endpoints have in common.
    fn by_name(&self, id: &NsName) -> Option<(&Arc<Pod>, Arc<EndpointWorkload>)>;
    /// A Pod of `namespace` with this address.
    fn by_ip(&self, namespace: &str, address: &str) -> Option<(&Arc<Pod>, Arc<EndpointWorkload>)>;
}

/// The endpoints that `slices` give `service`. An address that stands in several slices counts once, as the first
/// slice by name says: Kubernetes moves endpoints between slices, and for a moment both list them.
pub fn endpoints<'a>(
    mesh: &Mesh<'_>,
    service: &Service,
    slices: impl Iterator<Item = &'a Slice>,
    pods: &impl Pods,
) -> Vec<Endpoint> {
    let drains = supports_draining(&mesh.settings.features, service);
    let mut seen: HashSet<(Str, Str)> = HashSet::new();
    let mut found = Vec::new();
    // Istio serves no EndpointSlice of host names (istio/istio#34995).
    for slice in slices.filter(|s| &*s.address_type != "FQDN") {
        for endpoint in &slice.endpoints {
            for address in &endpoint.addresses {
                let Some((addresses, owner)) = owner(mesh, service, slice, endpoint, address, pods) else {
                    continue;
                };
                for port in &slice.ports {
                    if seen.insert((addresses[0].clone(), port.name.clone())) {
                        found.push(Endpoint {
                            addresses: addresses.clone(),
                            port: port.port,
                            port_name: port.name.clone(),
                            service_port: 0,
                            workload: owner.workload.clone(),
                            weight: 0,
                            health: health(endpoint, drains),
                            hostname: owner.hostname.clone(),
                            subdomain: owner.subdomain.clone(),
                        });
                    }
                }
            }
        }
    }
    found
}

struct Owner {
    workload: Arc<EndpointWorkload>,
    hostname: Str,
    subdomain: Str,
}

/// Who is behind an address, and all addresses to reach it. `None`: the endpoint must not be used.
fn owner(
    mesh: &Mesh<'_>,
    service: &Service,
    slice: &Slice,
    endpoint: &SliceEndpoint,
    address: &Str,
    pods: &impl Pods,
) -> Option<(Vec<Str>, Owner)> {
    let found = match &endpoint.pod {
        // Without its Pod nothing is known of an endpoint's identity, so it waits for the Pod to be seen.
        Some(id) => Some(pods.by_name(id)?),
        None => pods.by_ip(&slice.key.namespace, address),
    };
    let Some((pod, workload)) = found else {
        let workload = Arc::new(topology::bare_workload(mesh, address));
        return Some((vec![address.clone()], Owner { workload, hostname: "".into(), subdomain: "".into() }));
    };
    let mut addresses = vec![address.clone()];
    let dual = mesh.settings.features.dual_stack && service.addresses.len() > 1;
    if dual && endpoint.pod.is_some() && pod.ips.len() > 1 {
        if &*slice.address_type == "IPv6" {
            return None; // the IPv4 slice's endpoint carries both addresses
        }
        addresses = pod.ips.clone();
    }
    let (hostname, subdomain) = pod.dns_name();
    Some((addresses, Owner { workload, hostname, subdomain }))
}

fn health(endpoint: &SliceEndpoint, drains: bool) -> Health {
    // A condition that is absent counts as true here, also `terminating`: so does istiod (`endpointHealthStatus`).
    let (serving, terminating) = (endpoint.serving.unwrap_or(true), endpoint.terminating.unwrap_or(true));
    match endpoint.ready {
        true => Health::Healthy,
        false if drains && serving && terminating => Health::Draining,
        false if terminating => Health::Terminating,
        false => Health::Unhealthy,
    }
}

/// Whether sessions stick to endpoints, so that those that shut down still serve theirs.
fn supports_draining(features: &Features, service: &Service) -> bool {
    [&features.persistent_session_label, &features.persistent_session_header_label]
        .into_iter()
        .any(|label| !label.is_empty() && service.labels.get(label).is_some_and(|v| !v.is_empty()))
}

//! One egress listener: what it imports, and which of it concerns a host.

use crate::index::virtual_services::SharedVirtualService;
use meltemi_api::istio::networking::v1alpha3::IstioEgressListener;
use meltemi_world::{NsName, Service, Str, host};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// One egress listener with what it imports.
#[derive(Clone, Debug)]
pub struct Egress {
    /// The listener as the Sidecar resource has it; `*/*` where there is none.
    pub listener: IstioEgressListener,
    /// The services that it imports, in order of age.
    pub services: Vec<Arc<Service>>,
    /// The VirtualServices that it imports.
    pub virtual_services: Vec<SharedVirtualService>,
    /// For each service with one: the VirtualService whose host matches it most specifically.
    pub most_specific: BTreeMap<Str, NsName>,
    /// The services by host, in lower case.
    by_host: BTreeMap<Str, Arc<Service>>,
    /// The positions of VirtualServices by host without a wildcard, in lower case.
    routed: BTreeMap<String, Vec<usize>>,
    /// The hosts with a wildcard, in lower case, each with its VirtualService's position.
    routed_wildcards: Vec<(String, usize)>,
}

impl Egress {
    /// A listener that imports these services and VirtualServices.
    pub fn new(
        listener: IstioEgressListener,
        services: Vec<Arc<Service>>,
        virtual_services: Vec<SharedVirtualService>,
        most_specific: BTreeMap<Str, NsName>,
    ) -> Self {
        let by_host = services.iter().map(|s| (lower(&s.hostname), s.clone())).collect();
        let (mut routed, mut routed_wildcards): (BTreeMap<_, Vec<_>>, Vec<_>) = Default::default();
        for (at, vs) in virtual_services.iter().enumerate() {
            for hostname in vs.spec.hosts.iter().map(|h| h.to_ascii_lowercase()) {
                if host::is_wildcard(&hostname) {
                    routed_wildcards.push((hostname, at));
                } else {
                    routed.entry(hostname).or_default().push(at);
                }
            }
        }
        Self { listener, services, virtual_services, most_specific, by_host, routed, routed_wildcards }
    }

    /// The number of the port that the listener is for; 0 for the catch-all.
    pub fn port(&self) -> u32 {
        self.listener.port.as_ref().map_or(0, |p| p.number)
    }

    /// The service of a host, which must be in lower case.
    pub fn service(&self, hostname: &str) -> Option<&Arc<Service>> {
        self.by_host.get(hostname)
    }

    /// The services ordered by host; hosts are in lower case.
    pub fn by_host(&self) -> impl Iterator<Item = (&Str, &Arc<Service>)> {
        self.by_host.iter()
    }

    /// The services whose own host has a wildcard.
    pub fn wildcards(&self) -> impl Iterator<Item = (&Str, &Arc<Service>)> {
        let from = self.by_host.range::<str, _>((Bound::Included("*"), Bound::Unbounded));
        from.take_while(|(hostname, _)| host::is_wildcard(hostname))
    }

    /// The VirtualServices that have one of these hosts, or match one by a wildcard on either side; in order.
    pub fn routes_of<'a>(&'a self, hosts: &'a [Str]) -> impl Iterator<Item = &'a SharedVirtualService> {
        let mut found = BTreeSet::new();
        for hostname in hosts {
            found.extend(self.routed.get(&**hostname).into_iter().flatten().copied());
            found.extend(
                self.routed_wildcards.iter().filter(|(h, _)| host::matches(h, hostname)).map(|(_, at)| *at),
            );
            if host::is_wildcard(hostname) {
                let under = self.routed.iter().filter(|(h, _)| host::matches(h, hostname));
                found.extend(under.flat_map(|(_, at)| at.iter().copied()));
            }
        }
        found.into_iter().map(|at| &self.virtual_services[at])
    }
}

/// A host in lower case; shared if it is already.
fn lower(hostname: &Str) -> Str {
    if hostname.bytes().any(|b| b.is_ascii_uppercase()) {
        hostname.to_ascii_lowercase().into()
    } else {
        hostname.clone()
    }
}

//! The listeners of a sidecar for traffic from its workload: one for each address and port that the workload may
//! call, and for each port that a Sidecar resource names.
//!
//! Source: Istio `buildSidecarOutboundListeners` (`listener.go`).

mod chains;
mod entries;
mod routes;

use super::reserved::Place;
use super::{Side, catch_all};
use crate::address;
use crate::scope::Egress;
pub(super) use entries::single;
use entries::{Bind, Entries, Spot};
use meltemi_api::envoy::config::listener::v3::Listener;
use meltemi_api::istio::networking::v1alpha3::{CaptureMode, SidecarPort};
use meltemi_world::proxy::Interception;
use meltemi_world::service::{Registry, TargetPort};
use meltemi_world::{Endpoint, Port, Protocol, Resolution, Service};
use routes::TcpRoutes;
use std::net::IpAddr;
use std::sync::Arc;

/// All outbound listeners but the virtual one, by address and port.
pub(super) fn listeners(side: &Side<'_>) -> Vec<Listener> {
    let egress = &side.cx.scope.egress;
    let services: Vec<_> = egress.iter().map(|e| one_for_each_address(&e.services)).collect();
    let mut entries = Entries::new(side);
    for (egress, services) in egress.iter().zip(&services) {
        let listener = EgressListener {
            side,
            bind: bind(side, egress),
            routes: TcpRoutes::of(&egress.virtual_services),
        };
        match &egress.listener.port {
            Some(port) => listener.add_port(&mut entries, services, port),
            None => {
                // What earlier listeners of the Sidecar resource say of a port is all there is on that port.
                entries.lock();
                listener.add_all_ports(&mut entries, services);
            }
        }
    }
    entries.into_listeners(&catch_all::filters(side))
}

/// A ServiceEntry with several addresses is reached by each of them; Istio has a service for each.
fn one_for_each_address(services: &[Arc<Service>]) -> Vec<Arc<Service>> {
    let mut out = Vec::with_capacity(services.len());
    for service in services {
        if service.registry == Registry::External && service.addresses.len() > 1 {
            let single = |address| Service { addresses: vec![address], ..(**service).clone() };
            out.extend(service.addresses.iter().cloned().map(|a| Arc::new(single(a))));
        } else {
            out.push(service.clone());
        }
    }
    out
}

/// Where the listeners of an egress listener bind. Those that are reached without redirection need a socket of their
/// own: on the address that the Sidecar resource gives, else on the loopback address.
fn bind(side: &Side<'_>, egress: &Egress) -> Bind {
    let own = &egress.listener.bind;
    let to_port = side.cx.proxy.metadata.interception_mode == Interception::None
        || egress.listener.capture_mode() == CaptureMode::None
        || own.starts_with("unix://");
    let addresses = match own.as_str() {
        "" if to_port => address::localhosts(side.cx.proxy.ip_mode).into_iter().map(str::to_owned).collect(),
        "" => Vec::new(),
        own => vec![own.to_owned()],
    };
    Bind { addresses, to_port }
}

struct EgressListener<'a, 's> {
    side: &'a Side<'s>,
    bind: Bind,
    routes: TcpRoutes<'s>,
}

impl<'s> EgressListener<'_, 's> {
    /// The listener of a port that a Sidecar resource names, whatever ports its services have.
    fn add_port(&self, entries: &mut Entries<'_, 's>, services: &'s [Arc<Service>], port: &SidecarPort) {
        let port = Port {
            name: port.name.as_str().into(),
            port: port.number,
            protocol: Protocol::parse(&port.protocol),
            target: TargetPort::Number(port.number),
        };
        if !self.can_bind(&port) {
            return;
        }
        for service in services {
            entries.add(self.spot(service, &port), &self.routes);
        }
    }

    /// The listeners of all ports of all services.
    fn add_all_ports(&self, entries: &mut Entries<'_, 's>, services: &'s [Arc<Service>]) {
        for service in services {
            let unaddressed = self.bind.primary().is_empty()
                && service.resolution == Resolution::Passthrough
                && address::first(&self.side.cx, service) == Service::UNSPECIFIED;
            for port in service.ports.iter().filter(|p| self.can_bind(p)) {
                if unaddressed && (port.protocol.is_tcp() || port.protocol.is_auto()) {
                    self.add_endpoints(entries, service, port);
                } else {
                    entries.add(self.spot(service, port), &self.routes);
                }
            }
        }
    }

    /// A listener for each endpoint of a service without an address. HTTP needs none of that: routes find the service
    /// by its name.
    fn add_endpoints(&self, entries: &mut Entries<'_, 's>, service: &'s Service, port: &Port) {
        let all = self.side.cx.snapshot.registry.endpoints(&service.key());
        let mut of_port = all.iter().filter(|e| e.port_name == port.name).peekable();
        let may_gain_some = service.registry == Registry::Kubernetes || !service.selector.is_empty();
        if of_port.peek().is_none() && !may_gain_some {
            return entries.add(self.spot(service, port), &self.routes);
        }
        // A workload reaches itself without its proxy, and its own address is for inbound listeners.
        let may_be_itself = self.side.cx.targets.iter().any(|t| t.service.hostname == service.hostname);
        let is_itself = |e: &Endpoint| may_be_itself && e.address() == self.side.cx.proxy.ip();
        let is_ip = |address: &str| address.parse::<IpAddr>().is_ok();
        for endpoint in of_port.filter(|e| e.addresses.iter().all(|a| is_ip(a)) && !is_itself(e)) {
            let mut spot = self.spot(service, port);
            spot.bind.addresses = endpoint.addresses.iter().map(ToString::to_string).collect();
            entries.add(spot, &self.routes);
        }
    }

    fn spot<'p>(&self, service: &'s Service, port: &'p Port) -> Spot<'p, 's> {
        Spot { service, port, bind: self.bind.clone(), cidrs: Vec::new() }
    }

    fn can_bind(&self, port: &Port) -> bool {
        let place = Place {
            bind: self.bind.primary(),
            port: port.port,
            protocol: port.protocol,
            bound: self.bind.to_port,
        };
        place.is_free(self.side) && !place.is_virtual(self.side)
    }
}

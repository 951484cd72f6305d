//! Patches of RouteConfigurations, virtual hosts and routes.
//!
//! Source: Istio `rc_patch.go`.

use super::place::place;
use super::{Patch, PatchContext, Patches, cluster::Parts};
use crate::Cx;
use crate::index::envoy_filters::Patch as Read;
use meltemi_api::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost, route::Action};
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{
    ApplyTo, RouteConfigurationMatch,
    envoy_config_object_match::ObjectTypes,
    patch::Operation,
    route_configuration_match::{RouteMatch, VirtualHostMatch, route_match},
};
use std::collections::{BTreeMap, BTreeSet};

/// For each listening port of a gateway: the ports that Gateways name for it.
type PortMap = BTreeMap<u32, BTreeSet<u32>>;

/// Patches a RouteConfiguration and what it holds.
pub fn route_configuration(cx: &Cx<'_>, context: PatchContext, route: &mut RouteConfiguration) {
    let patches = Patches::of(cx, context);
    if patches.is_empty() {
        return;
    }
    let ports = cx.gateway.map(|g| &g.port_map);
    let is_for = |patch: &Patch<'_>, route: &RouteConfiguration| {
        conditions(patch).is_none_or(|wanted| is_wanted(wanted, context, &route.name, ports))
    };
    for patch in patches.to(ApplyTo::RouteConfiguration) {
        if let Some(lists) = patch.merges().filter(|_| is_for(patch, route)) {
            patch.merge_into(route, lists);
        }
    }
    let of_hosts: Vec<&Patch<'_>> = patches.to(ApplyTo::VirtualHost).filter(|p| is_for(p, route)).collect();
    let of_routes: Vec<&Patch<'_>> = patches.to(ApplyTo::HttpRoute).filter(|p| is_for(p, route)).collect();
    let mut removed = BTreeSet::new();
    for host in &mut route.virtual_hosts {
        if patch_host(&of_hosts, host) {
            patch_routes(&of_routes, host);
        } else {
            removed.insert(host.name.clone());
        }
    }
    let added = of_hosts.iter().filter(|p| p.operation == Operation::Add);
    route.virtual_hosts.extend(added.filter_map(|p| p.message::<VirtualHost>()));
    route.virtual_hosts.retain(|host| !removed.contains(&host.name));
}

/// Patches a virtual host but for its routes; false if it is to be removed.
fn patch_host(patches: &[&Patch<'_>], host: &mut VirtualHost) -> bool {
    for patch in patches {
        if !is_for_host(patch, host) {
            continue;
        }
        match patch.operation {
            Operation::Remove => return false,
            Operation::Replace => {
                if let Some(other) = patch.message() {
                    *host = other;
                }
            }
            _ => {
                if let Some(lists) = patch.merges() {
                    patch.merge_into(host, lists);
                }
            }
        }
    }
    true
}

fn patch_routes(patches: &[&Patch<'_>], host: &mut VirtualHost) {
    let patches: Vec<&Patch<'_>> = patches.iter().copied().filter(|p| is_for_host(p, host)).collect();
    host.routes.retain_mut(|route| patch_route(&patches, route));
    for patch in patches {
        let wanted = wanted_route(patch);
        let found = |route: &Route| wanted.is_some_and(|w| is_route(w, route));
        match patch.operation {
            // Put first, but only where the route that the patch names is.
            Operation::InsertFirst if wanted.is_some() && !host.routes.iter().any(found) => {}
            Operation::Add | Operation::InsertFirst | Operation::InsertBefore | Operation::InsertAfter => {
                let found = wanted.is_some().then_some(&found as &dyn Fn(&Route) -> bool);
                place(&mut host.routes, patch.operation, found, || patch.message());
            }
            _ => {}
        }
    }
}

/// Merges patches into a route; false if it is to be removed.
fn patch_route(patches: &[&Patch<'_>], route: &mut Route) -> bool {
    for patch in patches {
        if !wanted_route(patch).is_none_or(|wanted| is_route(wanted, route)) {
            continue;
        }
        if patch.operation == Operation::Remove {
            return false;
        }
        if let Some(lists) = patch.merges() {
            patch.merge_into(route, lists);
        }
    }
    true
}

/// The patch's conditions for routes, if it has any.
fn conditions(patch: &Read) -> Option<&RouteConfigurationMatch> {
    match patch.matches.object_types.as_ref()? {
        ObjectTypes::RouteConfiguration(route) => Some(route),
        _ => None,
    }
}

fn wanted_host(patch: &Read) -> Option<&VirtualHostMatch> {
    conditions(patch)?.vhost.as_ref()
}

fn wanted_route(patch: &Read) -> Option<&RouteMatch> {
    wanted_host(patch)?.route.as_ref()
}

fn is_wanted(
    wanted: &RouteConfigurationMatch,
    context: PatchContext,
    name: &str,
    ports: Option<&PortMap>,
) -> bool {
    if !wanted.name.is_empty() && wanted.name != name {
        return false;
    }
    if context != PatchContext::Gateway {
        return wanted.port_number == 0 || wanted.port_number == listening_port(name);
    }
    let of = GatewayName::read(name);
    (wanted.port_name.is_empty() || wanted.port_name == of.port_name)
        && (wanted.gateway.is_empty() || wanted.gateway == of.gateway)
        && (wanted.port_number == 0
            || match ports.and_then(|p| p.get(&of.port)) {
                Some(named) => named.contains(&wanted.port_number),
                None => wanted.port_number == of.port,
            })
}

/// The port in the name of a sidecar's RouteConfiguration; 0 where there is none.
fn listening_port(name: &str) -> u32 {
    if name.starts_with("inbound") { Parts::of(name).port } else { name.parse().unwrap_or(0) }
}

/// What the name of a gateway's RouteConfiguration tells. Source: Istio `ParseGatewayRDSRouteName`.
#[derive(Debug, Default, PartialEq, Eq)]
struct GatewayName<'a> {
    port: u32,
    port_name: &'a str,
    /// `NAMESPACE/NAME`.
    gateway: String,
}

impl<'a> GatewayName<'a> {
    /// Reads `http.PORT` or `https.PORT.PORTNAME.NAME.NAMESPACE`.
    fn read(name: &'a str) -> Self {
        if let Some(port) = name.strip_prefix("http.") {
            return Self { port: port.parse().unwrap_or(0), ..Default::default() };
        }
        match name.split('.').collect::<Vec<_>>()[..] {
            ["https", port, port_name, gateway, namespace] => {
                Self { port: port.parse().unwrap_or(0), port_name, gateway: format!("{namespace}/{gateway}") }
            }
            _ => Self::default(),
        }
    }
}

fn is_for_host(patch: &Patch<'_>, host: &VirtualHost) -> bool {
    wanted_host(patch).is_none_or(|wanted| {
        (wanted.name.is_empty() || wanted.name == host.name)
            && (wanted.domain_name.is_empty() || host.domains.contains(&wanted.domain_name))
    })
}

/// Whether a route is the one that is meant. A kind of action that cannot be named matches any.
fn is_route(wanted: &RouteMatch, route: &Route) -> bool {
    if !wanted.name.is_empty() && wanted.name != route.name {
        return false;
    }
    let action = match &route.action {
        Some(Action::Route(_)) => route_match::Action::Route,
        Some(Action::Redirect(_)) => route_match::Action::Redirect,
        Some(Action::DirectResponse(_)) => route_match::Action::DirectResponse,
        _ => return true,
    };
    [route_match::Action::Any, action].contains(&wanted.action())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_gateways_routes_tell_their_server() {
        let gateway = "ns/gw".to_owned();
        let https = GatewayName { port: 443, port_name: "https", gateway };
        assert_eq!(GatewayName::read("https.443.https.gw.ns"), https);
        assert_eq!(GatewayName::read("http.8080"), GatewayName { port: 8080, ..Default::default() });
        assert_eq!(GatewayName::read("other"), GatewayName::default());
    }

    #[test]
    fn a_gateways_port_is_the_one_that_gateways_name() {
        let ports: PortMap = [(8080, [80].into())].into();
        let wanted = |port_number| RouteConfigurationMatch { port_number, ..Default::default() };
        let of = |port, name| is_wanted(&wanted(port), PatchContext::Gateway, name, Some(&ports));
        assert!(of(80, "http.8080") && !of(8080, "http.8080") && of(9090, "http.9090"));
        let of_sidecar = |port, name| is_wanted(&wanted(port), PatchContext::SidecarInbound, name, None);
        assert!(of_sidecar(8080, "inbound|8080||") && !of_sidecar(80, "a.b:80"));
    }
}

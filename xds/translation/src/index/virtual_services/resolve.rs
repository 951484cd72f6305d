//! Short names of a VirtualService become full ones.

use super::SharedVirtualService;
use crate::names::MESH_GATEWAY;
use meltemi_api::istio::networking::v1alpha3::{Destination, VirtualService};
use meltemi_world::host::resolve_short_name;
use std::sync::Arc;

/// The VirtualService with hosts, gateways and destinations fully named; the same one if they are already.
///
/// Source: Istio `ResolveVirtualServiceShortnames`.
pub(super) fn names(vs: &SharedVirtualService, domain: &str) -> SharedVirtualService {
    let mut resolved = (**vs).clone();
    let namespace = &*vs.meta.namespace;
    let host = |name: &mut String| *name = resolve_short_name(name, namespace, domain);
    each_gateway(&mut resolved.spec, |name| *name = gateway(name, namespace));
    resolved.spec.hosts.iter_mut().for_each(host);
    each_destination(&mut resolved.spec, |d| host(&mut d.host));
    if resolved.spec == vs.spec { vs.clone() } else { Arc::new(resolved) }
}

fn each_gateway(vs: &mut VirtualService, mut f: impl FnMut(&mut String)) {
    vs.gateways.iter_mut().for_each(&mut f);
    vs.http.iter_mut().flat_map(|r| &mut r.r#match).flat_map(|m| &mut m.gateways).for_each(&mut f);
    vs.tcp.iter_mut().flat_map(|r| &mut r.r#match).flat_map(|m| &mut m.gateways).for_each(&mut f);
    vs.tls.iter_mut().flat_map(|r| &mut r.r#match).flat_map(|m| &mut m.gateways).for_each(&mut f);
}

fn each_destination(vs: &mut VirtualService, mut f: impl FnMut(&mut Destination)) {
    for http in &mut vs.http {
        http.route.iter_mut().filter_map(|r| r.destination.as_mut()).for_each(&mut f);
        http.mirror.iter_mut().for_each(&mut f);
        http.mirrors.iter_mut().filter_map(|m| m.destination.as_mut()).for_each(&mut f);
    }
    vs.tcp.iter_mut().flat_map(|t| &mut t.route).filter_map(|r| r.destination.as_mut()).for_each(&mut f);
    vs.tls.iter_mut().flat_map(|t| &mut t.route).filter_map(|r| r.destination.as_mut()).for_each(&mut f);
}

/// A gateway's name as `NAMESPACE/NAME`. A name with dots is the old form `NAME.NAMESPACE.svc.DOMAIN`.
///
/// Source: Istio `resolveGatewayName`.
fn gateway(name: &str, namespace: &str) -> String {
    if name == MESH_GATEWAY {
        return name.to_owned();
    }
    if let Some((space, rest)) = name.split_once('/') {
        return if space == "." { format!("{namespace}/{rest}") } else { name.to_owned() };
    }
    match name.split_once('.') {
        None => format!("{namespace}/{name}"),
        Some((short, rest)) => format!("{}/{short}", rest.split('.').next().unwrap_or(rest)),
    }
}

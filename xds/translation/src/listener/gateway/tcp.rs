//! Filter chains of gateways for TCP and for TLS that is passed through.
//!
//! Source: Istio `createGatewayTCPFilterChainOpts` (`pilot/pkg/networking/core/gateway.go`).

use super::SniHosts;
use super::auto_passthrough;
use crate::gateway::{GatewayServer, ServerPort};
use crate::index::virtual_services::SharedVirtualService;
use crate::listener::chain::Chain;
use crate::listener::{Side, forward, tls};
use meltemi_api::envoy::config::listener::v3::Filter;
use meltemi_api::istio::networking::v1alpha3::{
    L4MatchAttributes, Server, TlsMatchAttributes, server_tls_settings::TlSmode,
};
use meltemi_world::{Port, host, service::TargetPort};

/// On routes made from the Gateway API: the kind and name of the resource that they were made from.
const PARENTS: &str = "internal.istio.io/parents";

/// The chains of a server that does not serve HTTP.
pub(super) fn chains(
    side: &Side<'_>,
    port: &ServerPort,
    server: &GatewayServer,
    taken: &mut SniHosts,
) -> Vec<Chain<'static>> {
    match &server.server.tls {
        Some(tls) if tls.mode() == TlSmode::AutoPassthrough => {
            auto_passthrough::chains(side, &server.sni_hosts)
        }
        Some(_) if server.is_passthrough() => passed_through(side, port, server, taken),
        tls => {
            let Some(filters) = to_tcp_routes(side, server) else { return Vec::new() };
            let context = tls.as_ref().map(|settings| tls::context(&side.cx, settings, true));
            vec![Chain { sni_hosts: server.sni_hosts.clone(), tls: context, ..Chain::network(filters) }]
        }
    }
}

/// The filters of the first TCP route that fits the server; `None` where there is none.
fn to_tcp_routes(side: &Side<'_>, server: &GatewayServer) -> Option<Vec<Filter>> {
    let gateway = server.gateway_name();
    let with_peer = server.tls_mode() == Some(TlSmode::IstioMutual);
    let port = service_port(server);
    for vs in routes_of(side, server) {
        let fits = |matches: &[L4MatchAttributes]| {
            matches.is_empty() || matches.iter().any(|m| l4(m, server, &gateway))
        };
        let tcp = vs.spec.tcp.iter().find(|t| !t.route.is_empty() && fits(&t.r#match));
        if let Some(tcp) = tcp {
            return Some(forward::to_destinations(side, &tcp.route, &port, &vs.meta, with_peer));
        }
        // A TLSRoute behind a listener that ends TLS has only TLS rules.
        if vs.meta.annotations.get(PARENTS).is_some_and(|p| p.starts_with("TLSRoute/")) {
            let tls = vs.spec.tls.iter().find(|t| t.r#match.iter().any(|m| by_tls(m, server, &gateway)));
            if let Some(tls) = tls {
                return Some(forward::to_destinations(side, &tls.route, &port, &vs.meta, with_peer));
            }
        }
    }
    None
}

/// A chain for each TLS rule that fits the server, matched by its SNI hosts.
fn passed_through(
    side: &Side<'_>,
    port: &ServerPort,
    server: &GatewayServer,
    taken: &mut SniHosts,
) -> Vec<Chain<'static>> {
    let gateway = server.gateway_name();
    let target = service_port(server);
    let taken = taken.entry(port.number).or_default();
    let mut out = Vec::new();
    for vs in routes_of(side, server) {
        for rule in vs.spec.tls.iter().filter(|t| !t.route.is_empty()) {
            for m in rule.r#match.iter().filter(|m| by_tls(m, server, &gateway)) {
                if m.sni_hosts.iter().any(|h| taken.get(h) == Some(&server.server.bind)) {
                    continue;
                }
                taken.extend(m.sni_hosts.iter().map(|h| (h.clone(), server.server.bind.clone())));
                let filters = forward::to_destinations(side, &rule.route, &target, &vs.meta, false);
                out.push(Chain { sni_hosts: m.sni_hosts.clone(), ..Chain::network(filters) });
            }
        }
    }
    out
}

/// The VirtualServices bound to the server's Gateway that have a host of the server.
fn routes_of<'a>(
    side: &'a Side<'_>,
    server: &'a GatewayServer,
) -> impl Iterator<Item = SharedVirtualService> + 'a {
    let bound = side.cx.index.virtual_services.visible(&side.cx.proxy.namespace, &server.gateway_name());
    bound.into_iter().filter(|vs| {
        vs.spec.hosts.iter().any(|h| server.server.hosts.iter().any(|of_server| offers(of_server, vs, h)))
    })
}

/// Whether a host of a server (`HOST` or `NAMESPACE/HOST`) is there for a VirtualService's host.
fn offers(of_server: &str, vs: &SharedVirtualService, hostname: &str) -> bool {
    match of_server.split_once('/') {
        Some((namespace, _)) if namespace != &*vs.meta.namespace => false,
        Some((_, name)) => host::matches(name, hostname),
        None => host::matches(of_server, hostname),
    }
}

fn by_tls(m: &TlsMatchAttributes, server: &GatewayServer, gateway: &str) -> bool {
    is_port(m.port, &server.server) && is_gateway(&m.gateways, gateway)
}

fn l4(m: &L4MatchAttributes, server: &GatewayServer, gateway: &str) -> bool {
    is_port(m.port, &server.server) && is_gateway(&m.gateways, gateway)
}

fn is_port(port: u32, server: &Server) -> bool {
    port == 0 || server.port.as_ref().is_some_and(|p| p.number == port)
}

fn is_gateway(names: &[String], gateway: &str) -> bool {
    names.is_empty() || names.iter().any(|n| n == gateway)
}

/// The server's port as if it were a service's: filters for databases look at its protocol.
fn service_port(server: &GatewayServer) -> Port {
    let port = server.server.port.as_ref();
    let number = port.map_or(0, |p| p.number);
    Port {
        name: port.map_or("", |p| p.name.as_str()).into(),
        port: number,
        protocol: server.protocol(),
        target: TargetPort::Number(number),
    }
}

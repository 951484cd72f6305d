//! Routes of gateways: the VirtualServices bound to the servers of one port.
//!
//! Source: Istio `buildGatewayHTTPRouteConfig` (`pilot/pkg/networking/core/gateway.go`).

use super::http::{self, Backend, Place, routes};
use super::{MAX_DIRECT_RESPONSE, domains, empty, session};
use crate::Cx;
use crate::gateway::GatewayServer;
use crate::index::virtual_services::SharedVirtualService;
use crate::proxy_headers::{ListenerClass, ProxyHeaders};
use meltemi_api::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, virtual_host::TlsRequirementType,
};
use meltemi_api::wkt::Any;
use meltemi_world::{NsName, ServiceKey, host};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The RouteConfiguration of a gateway's servers.
pub fn gateway_route(cx: &Cx<'_>, name: &str) -> Option<RouteConfiguration> {
    let Some(servers) = cx.gateway.and_then(|g| g.by_route.get(name)) else { return Some(empty(name)) };
    let mut builder = Builder { cx, sets: Vec::new(), known: BTreeMap::new(), hosts: BTreeMap::new() };
    for server in servers {
        builder.add(server);
    }
    let mut hosts = builder.finish();
    if hosts.is_empty() {
        hosts.push(nothing(servers.first().map_or(0, |s| port(s))));
    }
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    Some(RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: hosts,
        validate_clusters: Some(false),
        max_direct_response_body_size_bytes: Some(MAX_DIRECT_RESPONSE),
        ignore_port_in_host_matching: true,
        ..Default::default()
    })
}

/// A virtual host without routes: every request is answered with 404.
fn nothing(port: u32) -> VirtualHost {
    VirtualHost {
        name: domains::with_port("blackhole", port),
        domains: vec!["*".to_owned()],
        ..Default::default()
    }
}

/// The port that the Gateway names, which need not be the one that the proxy listens on.
fn port(server: &GatewayServer) -> u32 {
    server.server.port.as_ref().map_or(0, |p| p.number)
}

fn redirects_to_https(server: &GatewayServer) -> bool {
    server.server.tls.as_ref().is_some_and(|tls| tls.https_redirect)
}

/// A virtual host in the making.
struct Host {
    name: String,
    /// Which sets of routes it has, in order of precedence.
    sets: Vec<usize>,
    https_only: bool,
    session: Option<Any>,
}

/// Collects the virtual hosts of all servers that share a RouteConfiguration.
struct Builder<'a> {
    cx: &'a Cx<'a>,
    /// The routes of each VirtualService.
    sets: Vec<Vec<Route>>,
    /// Which set is that of a VirtualService bound to a gateway.
    known: BTreeMap<(String, NsName), usize>,
    /// By host, in lower case.
    hosts: BTreeMap<String, Host>,
}

impl Builder<'_> {
    fn add(&mut self, server: &Arc<GatewayServer>) {
        let gateway = server.gateway_name();
        for vs in self.cx.index.virtual_services.visible(&self.cx.proxy.namespace, &gateway) {
            let common = common_hosts(server, &vs);
            if common.is_empty() {
                continue;
            }
            let Some(set) = self.set(server, &gateway, &vs) else { continue };
            for hostname in common {
                self.add_host(server, &vs, hostname.to_ascii_lowercase(), set);
            }
        }
        if redirects_to_https(server) {
            for hostname in server.server.hosts.iter().map(|h| h.to_ascii_lowercase()) {
                self.redirect(server, hostname);
            }
        }
    }

    /// The routes of a VirtualService; `None` if none applies. Servers of one gateway share them, as made for the first
    /// server's port.
    fn set(&mut self, server: &GatewayServer, gateway: &str, vs: &SharedVirtualService) -> Option<usize> {
        let key = (gateway.to_owned(), vs.meta.key());
        if let Some(known) = self.known.get(&key) {
            return Some(*known);
        }
        let lookup = |hostname: &str| backend(self.cx, &vs.meta.namespace, hostname);
        let is_tls = server.server.tls.is_some();
        let place = Place { cx: self.cx, port: port(server), gateway, is_tls, lookup: &lookup };
        let made = routes(&place, vs);
        if made.is_empty() {
            return None;
        }
        self.sets.push(made);
        self.known.insert(key, self.sets.len() - 1);
        Some(self.sets.len() - 1)
    }

    fn add_host(&mut self, server: &GatewayServer, vs: &SharedVirtualService, hostname: String, set: usize) {
        let https_only = redirects_to_https(server);
        match self.hosts.entry(hostname) {
            Entry::Occupied(mut known) => {
                known.get_mut().sets.push(set);
                known.get_mut().https_only |= https_only;
            }
            Entry::Vacant(vacant) => {
                let name = domains::with_port(vacant.key(), port(server));
                let session = session(self.cx, vs, vacant.key());
                vacant.insert(Host { name, sets: vec![set], https_only, session });
            }
        }
    }

    /// A host of a server that redirects to HTTPS is known even if no VirtualService has it.
    fn redirect(&mut self, server: &GatewayServer, hostname: String) {
        let name = domains::with_port(&hostname, port(server));
        let host = Host { name, sets: Vec::new(), https_only: true, session: None };
        self.hosts.entry(hostname).or_insert(host).https_only = true;
    }

    /// The virtual hosts. Those with the very same routes become one, lest the routes are repeated for each host.
    ///
    /// Source: Istio `collapseDuplicateRoutes`.
    fn finish(self) -> Vec<VirtualHost> {
        let headers = ProxyHeaders::of(self.cx, ListenerClass::Gateway);
        let collapse = self.cx.features().route_collapse;
        let mut ordered: Vec<_> = self.hosts.into_iter().collect();
        ordered.sort_by(|a, b| host::by_specificity(&a.0, &b.0));
        let mut out: Vec<VirtualHost> = Vec::new();
        let mut known: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        for (hostname, host) in ordered {
            let require_tls =
                if host.https_only { TlsRequirementType::All } else { TlsRequirementType::None } as i32;
            let same = known.get(&host.sets).filter(|at| collapse && out[**at].require_tls == require_tls);
            if let Some(at) = same {
                out[*at].domains.push(hostname);
                continue;
            }
            let routes = host.sets.iter().flat_map(|set| &self.sets[*set]).cloned().collect();
            known.insert(host.sets, out.len());
            out.push(VirtualHost {
                name: host.name,
                domains: vec![hostname],
                routes: catch_alls_last(routes),
                require_tls,
                include_request_attempt_count: headers.include_request_attempt_count,
                typed_per_filter_config: host
                    .session
                    .into_iter()
                    .map(|s| (session::FILTER.to_owned(), s))
                    .collect(),
                ..Default::default()
            });
        }
        out
    }
}

/// Routes of several VirtualServices follow each other, so what catches everything must not come first.
fn catch_alls_last(mut routes: Vec<Route>) -> Vec<Route> {
    routes.sort_by_key(http::is_catch_all);
    routes
}

/// The hosts that a server and a VirtualService have in common, the narrower ones where one side has a wildcard.
///
/// Source: Istio `host.NamesForNamespace`, `Names.Intersection`.
fn common_hosts(server: &GatewayServer, vs: &SharedVirtualService) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let served = server.server.hosts.iter().filter_map(|h| match h.split_once('/') {
        Some((space, _)) if space != "*" && *space != *vs.meta.namespace => None,
        Some((_, name)) => Some(name),
        None => Some(h.as_str()),
    });
    for served in served {
        for wanted in &vs.spec.hosts {
            let narrower = if host::subset_of(served, wanted) {
                served
            } else if host::subset_of(wanted, served) {
                wanted
            } else {
                continue;
            };
            if !out.iter().any(|known| known == narrower) {
                out.push(narrower.to_owned());
            }
        }
    }
    out
}

/// The service behind a destination's host: that of the VirtualService's namespace if the proxy may see it, else the
/// one that the proxy sees. Source: Istio `buildNameToServiceMapForHTTPRoutes`.
fn backend<'a>(cx: &Cx<'a>, namespace: &str, hostname: &str) -> Option<Backend<'a>> {
    let own = cx.snapshot.registry.service(&ServiceKey::new(namespace, hostname));
    let service = own
        .filter(|s| cx.index.services.is_visible(s, &cx.proxy.namespace))
        .or_else(|| cx.service(hostname))?;
    let only_port = match service.ports.as_slice() {
        [only] => Some(only.port),
        _ => None,
    };
    Some(Backend { service, only_port })
}

/// The settings for persistent sessions of a host that is also one of the VirtualService's destinations.
fn session(cx: &Cx<'_>, vs: &SharedVirtualService, hostname: &str) -> Option<Any> {
    let destinations = vs.spec.http.iter().flat_map(|rule| {
        let routes = rule.route.iter().filter_map(|r| r.destination.as_ref());
        let mirrors = rule.mirrors.iter().filter_map(|m| m.destination.as_ref());
        routes.chain(&rule.mirror).chain(mirrors)
    });
    let mut hosts = destinations.map(|d| d.host.as_str());
    hosts.find(|h| *h == hostname)?;
    session::per_route(cx, backend(cx, &vs.meta.namespace, hostname)?.service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_api::istio::networking::v1alpha3::{Gateway, Server, VirtualService};
    use meltemi_world::{Config, Meta};

    #[test]
    fn the_narrower_host_of_both_sides_counts() {
        let common = |served: &[&str], wanted: &[&str]| {
            let hosts = |all: &[&str]| all.iter().map(|h| (*h).to_owned()).collect();
            let server = GatewayServer {
                server: Server { hosts: hosts(served), ..Default::default() },
                gateway: Arc::new(Config { meta: Meta::default(), spec: Gateway::default() }),
                sni_hosts: Vec::new(),
                route_name: String::new(),
            };
            let meta = Meta { namespace: "ns".into(), ..Default::default() };
            let spec = VirtualService { hosts: hosts(wanted), ..Default::default() };
            common_hosts(&server, &Arc::new(Config { meta, spec }))
        };
        assert_eq!(common(&["*.a.com"], &["x.a.com", "y.b.com"]), ["x.a.com"]);
        assert_eq!(common(&["ns/x.a.com", "other/y.a.com"], &["*.a.com"]), ["x.a.com"]);
        assert_eq!(common(&["*"], &["*"]), ["*"]);
    }
}

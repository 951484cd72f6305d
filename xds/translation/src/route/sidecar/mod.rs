//! Routes of sidecars: one RouteConfiguration for each outbound port.
//!
//! Source: Istio `buildSidecarOutboundHTTPRouteConfig`.

mod catch_all;
mod rules;
mod services;
mod virtual_hosts;

use super::{MAX_DIRECT_RESPONSE, empty};
use crate::Cx;
use crate::patch::{self, PatchContext};
use crate::proxy_headers::{ListenerClass, ProxyHeaders};
use meltemi_api::envoy::config::route::v3::{RouteConfiguration, VirtualHost};

/// The RouteConfiguration of the HTTP proxy port.
const HTTP_PROXY: &str = "http_proxy";

/// What a RouteConfiguration's name asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    /// The port that clients connect to; 0 for the HTTP proxy and for Unix sockets.
    port: u32,
    /// `HOST:PORT` of a port whose protocol is sniffed: its listener serves one service only.
    sniffed: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Reads `PORT`, `HOST:PORT`, `http_proxy` or `unix://PATH`; `None` for anything else.
    fn read(name: &'a str) -> Option<Self> {
        if name == HTTP_PROXY || name.starts_with("unix://") {
            return Some(Self { port: 0, sniffed: None });
        }
        let (host, port) = name.split_once(':').map_or((None, name), |(host, port)| (Some(host), port));
        Some(Self { port: port.parse().ok()?, sniffed: host.map(|_| name) })
    }
}

/// The RouteConfiguration of a sidecar's outbound port.
pub fn sidecar_route(cx: &Cx<'_>, name: &str) -> Option<RouteConfiguration> {
    let Some(asked) = Asked::read(name) else { return Some(empty(name)) };
    let headers = ProxyHeaders::of(cx, ListenerClass::SidecarOutbound);
    let host = asked.sniffed.map(host_of);
    let mut hosts = virtual_hosts::virtual_hosts(cx, name, asked.port, host, &headers);
    if let Some(host) = host {
        hosts = only_sniffed(hosts, name, host);
    }
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    if asked.sniffed.is_none() {
        hosts.push(catch_all::virtual_host(cx, &headers));
    }
    let mut route = configuration(name, hosts);
    patch::route_configuration(cx, PatchContext::SidecarOutbound, &mut route);
    Some(route)
}

/// The routes for names that nobody knows, for the listener of all redirected traffic.
pub fn unknown_names(cx: &Cx<'_>) -> RouteConfiguration {
    let headers = ProxyHeaders::of(cx, ListenerClass::SidecarOutbound);
    let host = catch_all::virtual_host(cx, &headers);
    configuration(&host.name.clone(), vec![host])
}

fn configuration(name: &str, virtual_hosts: Vec<VirtualHost>) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        validate_clusters: Some(false),
        max_direct_response_body_size_bytes: Some(MAX_DIRECT_RESPONSE),
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

/// `HOST` of `HOST:PORT`, an IPv6 address without its brackets.
fn host_of(name: &str) -> &str {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

/// The virtual host of one service; it answers to any name, since the listener serves that service only.
///
/// Source: Istio `getVirtualHostsForSniffedServicePort`.
fn only_sniffed(hosts: Vec<VirtualHost>, name: &str, host: &str) -> Vec<VirtualHost> {
    let mut found: Vec<_> =
        hosts.into_iter().filter(|h| h.domains.iter().any(|d| d == name || d == host)).collect();
    if let [only] = found.as_mut_slice() {
        only.domains = vec!["*".to_owned()];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_port() {
        assert_eq!(Asked::read("80"), Some(Asked { port: 80, sniffed: None }));
        assert_eq!(Asked::read("a.b:80"), Some(Asked { port: 80, sniffed: Some("a.b:80") }));
        assert_eq!(Asked::read("unix:///tmp/x"), Some(Asked { port: 0, sniffed: None }));
        assert_eq!(Asked::read("http.80"), None);
    }
}

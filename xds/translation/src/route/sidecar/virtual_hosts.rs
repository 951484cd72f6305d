//! Virtual hosts: rules under all the names by which clients call them.
//!
//! Source: Istio `BuildSidecarOutboundVirtualHosts`.

use super::rules::{Rules, rules, rules_of_host};
use super::services::{Seen, Services};
use crate::proxy_headers::ProxyHeaders;
use crate::route::{domains, session};
use crate::{Cx, address};
use meltemi_api::envoy::config::route::v3::VirtualHost;
use meltemi_world::service::Registry;
use meltemi_world::{Protocol, Resolution, Service};
use std::collections::{BTreeMap, BTreeSet};

/// The virtual hosts of a port; `name` is the RouteConfiguration's, which for Unix sockets is the path. With `host`,
/// only those of one service.
pub(super) fn virtual_hosts(
    cx: &Cx<'_>,
    name: &str,
    port: u32,
    host: Option<&str>,
    headers: &ProxyHeaders,
) -> Vec<VirtualHost> {
    let Some(egress) = cx.scope.egress_for_routes(port, name) else { return Vec::new() };
    let protocol = egress.listener.port.as_ref().map(|p| Protocol::parse(&p.protocol));
    let port = if protocol == Some(Protocol::HttpProxy) { 0 } else { port };
    let services = Services { egress, port };
    let all = match host {
        Some(host) => rules_of_host(cx, services, &host.to_ascii_lowercase()),
        None => rules(cx, services),
    };
    let known = known(&all);
    let mut builder = Builder { cx, port, headers, names: BTreeSet::new(), domains: BTreeSet::new(), known };
    let mut by_port: BTreeMap<u32, Vec<VirtualHost>> = BTreeMap::new();
    for rules in &all {
        by_port.entry(rules.port).or_default().extend(builder.of_rules(rules));
    }
    if port == 0 { of_all_ports(by_port) } else { by_port.remove(&port).unwrap_or_default() }
}

/// The full names of all services, with and without port.
fn known(all: &[Rules<'_>]) -> BTreeSet<String> {
    let names =
        |r: &Rules<'_>, s: &Seen<'_>| [domains::with_port(&s.hostname, r.port), s.hostname.to_string()];
    all.iter().flat_map(|r| r.services.iter().flat_map(move |s| names(r, s))).collect()
}

/// On a port that stands for all ports, a name without a port means port 80.
fn of_all_ports(by_port: BTreeMap<u32, Vec<VirtualHost>>) -> Vec<VirtualHost> {
    let mut out = Vec::new();
    for (port, hosts) in by_port {
        for mut host in hosts {
            if port != 80 {
                host.domains.retain(|d| d.contains(':'));
            }
            if !host.domains.is_empty() {
                out.push(host);
            }
        }
    }
    out
}

/// Builds virtual hosts, none of which has a name or domain that an earlier one has: Envoy would reject them all.
struct Builder<'a> {
    cx: &'a Cx<'a>,
    port: u32,
    headers: &'a ProxyHeaders,
    names: BTreeSet<String>,
    /// In lower case.
    domains: BTreeSet<String>,
    known: BTreeSet<String>,
}

impl Builder<'_> {
    fn of_rules(&mut self, rules: &Rules<'_>) -> Vec<VirtualHost> {
        let mut out = Vec::new();
        for hostname in &rules.other_hosts {
            out.extend(self.host(rules, hostname, vec![domains::plain(hostname)], &[], None));
        }
        for seen in &rules.services {
            let (all, alternatives) = self.domains_of(seen, rules.port);
            out.extend(self.host(rules, &seen.hostname, all, &alternatives, Some(seen.service)));
        }
        out
    }

    fn host(
        &mut self,
        rules: &Rules<'_>,
        hostname: &str,
        mut domains: Vec<String>,
        alternatives: &[String],
        service: Option<&Service>,
    ) -> Option<VirtualHost> {
        let name = domains::with_port(hostname, rules.port);
        if !self.names.insert(name.clone()) {
            return None;
        }
        // A short name must not hide a service whose full name it is.
        domains.retain(|d| {
            let hides = alternatives.contains(d) && self.known.contains(d);
            !self.domains.contains(&d.to_ascii_lowercase())
                && !hides
                && self.domains.insert(d.to_ascii_lowercase())
        });
        if domains.is_empty() {
            return None;
        }
        let session = service.and_then(|s| session::per_route(self.cx, s));
        Some(VirtualHost {
            name,
            domains,
            routes: rules.routes.clone(),
            include_request_attempt_count: self.headers.include_request_attempt_count,
            typed_per_filter_config: session.into_iter().map(|s| (session::FILTER.to_owned(), s)).collect(),
            ..Default::default()
        })
    }

    /// All names of a service, and which of them are not its full name.
    fn domains_of(&self, seen: &Seen<'_>, port: u32) -> (Vec<String>, Vec<String>) {
        // Ports in `Host` are ignored where routes serve one port only.
        let port = (self.port == 0).then_some(port);
        let (mut all, mut alternatives) = (Vec::new(), Vec::new());
        let absolute = self.cx.features().absolute_fqdn_domains;
        let aliases = seen.service.aliases.iter().map(|alias| &*alias.hostname);
        for hostname in std::iter::once(&*seen.hostname).chain(aliases) {
            let others = domains::alternatives(hostname, port, &self.cx.proxy.dns_domain, absolute);
            domains::push(&mut all, hostname, port);
            all.extend(others.iter().cloned());
            alternatives.extend(others);
        }
        if seen.service.resolution == Resolution::Passthrough && seen.service.registry == Registry::Kubernetes
        {
            // Pods of a headless Service have names below the Service's.
            let below: Vec<_> = all.iter().map(|d| format!("*.{d}")).collect();
            all.extend(below);
        }
        for address in self.addresses(seen.service) {
            domains::push(&mut all, address, port);
        }
        (all, alternatives)
    }

    fn addresses<'s>(&self, service: &'s Service) -> Vec<&'s str> {
        let mut out = address::all(self.cx, service);
        if self.port != 0 && service.default_address() == Service::UNSPECIFIED {
            // Of automatically allocated addresses, only one counts here.
            out = vec![address::first(self.cx, service)];
        }
        out.retain(|a| !a.is_empty() && *a != Service::UNSPECIFIED);
        out
    }
}

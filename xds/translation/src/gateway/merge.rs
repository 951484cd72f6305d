//! Merging: which servers share a port, and which conflict.

use super::{GatewayServer, MergedGateway, MergedServers, ServerPort, is_passthrough, is_tls, protocol};
use meltemi_api::istio::networking::v1alpha3::{Gateway, Server, server_tls_settings::TlSmode};
use meltemi_world::registry::ServiceTarget;
use meltemi_world::{Config, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// On a Service: gateway ports are not translated to its target ports (Knative's workaround in Istio).
const NO_TRANSLATION: &str = "experimental.istio.io/disable-gateway-port-translation";

/// A Gateway resource that applies to the proxy.
pub(super) struct Candidate<'a> {
    pub(super) gateway: Arc<Config<Gateway>>,
    /// Whether it selects Pods by label: a port with no Service behind it is then listened on as it is.
    pub(super) selects_by_label: bool,
    /// The service ports that the proxy stands behind.
    pub(super) targets: Vec<&'a ServiceTarget>,
}

/// What merging remembers from server to server.
#[derive(Default)]
struct Merge {
    out: MergedGateway,
    used: BTreeSet<u32>,
    plain: BTreeMap<u32, ServerPort>,
    tls_hosts: BTreeMap<u32, BTreeMap<String, String>>,
    tls_binds: BTreeMap<u32, BTreeSet<String>>,
}

/// Merges Gateway resources, the oldest first.
pub(super) fn merge(candidates: &[Candidate<'_>]) -> MergedGateway {
    let mut state = Merge::default();
    for candidate in candidates {
        for server in &candidate.gateway.spec.servers {
            let Some(port) = &server.port else {
                state.reject(&candidate.gateway, "a server has no port");
                continue;
            };
            let server = with_resolved_hosts(server, &candidate.gateway.meta.namespace);
            for number in resolve(port.number, candidate) {
                state.add(candidate, &server, number);
            }
        }
    }
    state.finish()
}

impl Merge {
    fn add(&mut self, candidate: &Candidate<'_>, server: &Server, number: u32) {
        let gateway = &candidate.gateway;
        let route_name = route_name(server, number, gateway);
        let mut sni_hosts = Vec::new();
        if server.tls.is_some() {
            // Envoy rejects a listener whose filter chains match the same SNI twice.
            if !self.claim_hosts(server, number) {
                return self.reject(gateway, "another server of the port has one of its hosts");
            }
            sni_hosts = sni_hosts_of(server);
        }
        let at = ServerPort {
            number,
            protocol: server.port.as_ref().map_or_else(String::new, |p| p.protocol.clone()),
            bind: server.bind.clone(),
        };
        let merged = Arc::new(GatewayServer {
            server: server.clone(),
            gateway: gateway.clone(),
            sni_hosts,
            route_name: route_name.clone(),
        });
        if self.used.insert(number) {
            return self.first(merged, at);
        }
        match self.plain.get(&number).cloned() {
            Some(current) => self.beside_plain(merged, at, current),
            None if !is_tls(server) => self.first_plain(merged, at),
            None => self.beside_tls(merged, at),
        }
    }

    /// Nothing listens on the port yet (or not on this address in plain text).
    fn first(&mut self, server: Arc<GatewayServer>, at: ServerPort) {
        if !server.is_tls() {
            self.plain.insert(at.number, at.clone());
        }
        self.first_of_port(server, at);
    }

    fn first_plain(&mut self, server: Arc<GatewayServer>, at: ServerPort) {
        self.plain.insert(at.number, at.clone());
        self.first_of_port(server, at);
    }

    fn first_of_port(&mut self, server: Arc<GatewayServer>, at: ServerPort) {
        let route_name = server.route_name.clone();
        if server.is_http() {
            self.out.by_route.insert(route_name.clone(), vec![server.clone()]);
        }
        self.out.servers.insert(at.clone(), MergedServers { servers: vec![server], route_name });
        self.out.ports.push(at);
    }

    /// The port has a plain-text server: another one joins it if both speak HTTP, or binds another address.
    fn beside_plain(&mut self, server: Arc<GatewayServer>, at: ServerPort, current: ServerPort) {
        let same_bind = current.bind == at.bind;
        let (known, new) = (Protocol::parse(&current.protocol), server.protocol());
        let mergeable = (new.is_http() || new == known) && known.is_http();
        if same_bind && !mergeable {
            return self.reject(&server.gateway, "its protocol conflicts with another server of the port");
        }
        if same_bind && server.route_name.is_empty() {
            return self
                .reject(&server.gateway, "its port is taken by a server that it cannot be merged with");
        }
        if same_bind {
            if let Some(merged) = self.out.servers.get_mut(&current) {
                merged.servers.push(server.clone());
            }
            self.out.by_route.entry(server.route_name.clone()).or_default().push(server);
        } else if let Some(merged) = self.out.servers.get_mut(&at) {
            merged.route_name = server.route_name.clone();
            merged.servers.push(server.clone());
            self.out.by_route.entry(server.route_name.clone()).or_default().push(server);
        } else {
            self.first(server, at);
        }
    }

    /// The port has TLS servers only: another one is told apart by SNI.
    fn beside_tls(&mut self, server: Arc<GatewayServer>, at: ServerPort) {
        if server.is_http() {
            if server.route_name.is_empty() || self.out.by_route.contains_key(&server.route_name) {
                return self.reject(&server.gateway, "the name of its HTTPS port is not unique");
            }
            self.out.by_route.insert(server.route_name.clone(), vec![server.clone()]);
        }
        let new_bind = self.tls_binds.entry(at.number).or_default().insert(at.bind.clone());
        if server.server.tls.is_none() && !new_bind {
            return self
                .reject(&server.gateway, "it has no TLS settings, and its port is taken by TLS servers");
        }
        match self.out.servers.get_mut(&at) {
            Some(merged) => merged.servers.push(server),
            None => {
                self.out
                    .servers
                    .insert(at.clone(), MergedServers { servers: vec![server], ..Default::default() });
                self.out.ports.push(at);
            }
        }
    }

    /// Marks the server's hosts as taken on a port and address; false if one is taken already.
    fn claim_hosts(&mut self, server: &Server, number: u32) -> bool {
        let known = self.tls_hosts.entry(number).or_default();
        if server.hosts.iter().any(|h| known.get(h) == Some(&server.bind)) {
            return false;
        }
        known.extend(server.hosts.iter().map(|h| (h.clone(), server.bind.clone())));
        true
    }

    fn reject(&mut self, gateway: &Config<Gateway>, reason: &str) {
        self.out.rejected.push(format!("Gateway {}: a server is left out: {reason}", gateway.meta.key()));
    }

    fn finish(mut self) -> MergedGateway {
        for (route, servers) in &self.out.by_route {
            let ports = self.out.port_map.entry(listening_port(route)).or_default();
            ports.extend(servers.iter().filter_map(|s| s.server.port.as_ref()).map(|p| p.number));
        }
        let passing = |s: &&Arc<GatewayServer>| s.tls_mode() == Some(TlSmode::AutoPassthrough);
        let mut hosts = None;
        for server in self.out.servers.values().flat_map(|m| &m.servers).filter(passing) {
            hosts.get_or_insert_with(BTreeSet::new).extend(server.server.hosts.iter().cloned());
        }
        self.out.auto_passthrough = hosts;
        self.out
    }
}

/// The ports that a Gateway's port is listened on: the target ports of the Services in front of the proxy.
fn resolve(number: u32, candidate: &Candidate<'_>) -> Vec<u32> {
    let mut found = BTreeSet::new();
    for target in &candidate.targets {
        if candidate.selects_by_label && target.service.labels.get(NO_TRANSLATION).is_some() {
            continue;
        }
        if target.port.port == number {
            if candidate.selects_by_label {
                return vec![target.target_port];
            }
            found.insert(target.target_port);
        }
    }
    if found.is_empty() && candidate.selects_by_label { vec![number] } else { found.into_iter().collect() }
}

/// `./h` becomes `NAMESPACE/h`, `*/h` becomes `h`; `*/*` stands for everything.
fn with_resolved_hosts(server: &Server, namespace: &str) -> Server {
    let mut out = server.clone();
    for i in 0..out.hosts.len() {
        let Some((space, name)) = out.hosts[i].split_once('/') else { continue };
        match (space, name) {
            ("*", "*") => {
                out.hosts = vec!["*".to_owned()];
                break;
            }
            ("*", name) => out.hosts[i] = name.to_owned(),
            (".", name) => out.hosts[i] = format!("{namespace}/{name}"),
            _ => {}
        }
    }
    out
}

fn sni_hosts_of(server: &Server) -> Vec<String> {
    let hosts: BTreeSet<_> =
        server.hosts.iter().map(|h| h.split_once('/').map_or(h.as_str(), |(_, n)| n)).collect();
    hosts.into_iter().map(str::to_owned).collect()
}

/// `http.PORT[.BIND]` for plain HTTP; `https.PORT.PORTNAME.NAME.NAMESPACE[.BIND]` where TLS ends here; else empty.
fn route_name(server: &Server, number: u32, gateway: &Config<Gateway>) -> String {
    let bind = if server.bind.is_empty() { String::new() } else { format!(".{}", server.bind) };
    let Some(port) = &server.port else { return String::new() };
    match protocol(server) {
        p if p.is_http() => format!("http.{number}{bind}"),
        Protocol::Https if !is_passthrough(server) => {
            let meta = &gateway.meta;
            format!("https.{}.{}.{}.{}{bind}", port.number, port.name, meta.name, meta.namespace)
        }
        _ => String::new(),
    }
}

/// The port in a route's name (Istio `ParseGatewayRDSRouteName`): the listening port of plain HTTP, the Gateway's own
/// port of HTTPS; 0 where the name has another form.
fn listening_port(route: &str) -> u32 {
    if let Some(rest) = route.strip_prefix("http.") {
        return rest.parse().unwrap_or(0);
    }
    match route.strip_prefix("https.") {
        Some(rest) if route.matches('.').count() == 4 => {
            rest.split('.').next().and_then(|p| p.parse().ok()).unwrap_or(0)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_namespace_wildcard() {
        let server = Server {
            hosts: vec!["./a".into(), "*/b".into(), "c/d".into(), "e".into()],
            ..Default::default()
        };
        assert_eq!(with_resolved_hosts(&server, "ns").hosts, ["ns/a", "b", "c/d", "e"]);
        assert_eq!(sni_hosts_of(&with_resolved_hosts(&server, "ns")), ["a", "b", "d", "e"]);
    }

    #[test]
    fn a_routes_name_tells_its_port() {
        assert_eq!(listening_port("http.8080"), 8080);
        assert_eq!(listening_port("https.443.https.gw.ns"), 443);
        assert_eq!(listening_port("http.80.10.0.0.1"), 0);
    }
}

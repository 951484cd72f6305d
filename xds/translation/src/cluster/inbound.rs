//! Inbound clusters: from the sidecar to its application, one for each port.
//!
//! Source: Istio `buildInboundClusters`, `buildInboundCluster`.

use super::draft::Draft;
use super::{fixed, metadata, outbound, policy};
use crate::stat_name::{self, Subject};
use crate::traffic_policy::Policy;
use crate::{Cx, endpoint, names};
use meltemi_api::envoy::config::cluster::v3::{Cluster, cluster::DiscoveryType};
use meltemi_api::envoy::config::core::v3::{Address, BindConfig};
use meltemi_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use meltemi_api::istio::mesh::v1alpha1::mesh_config::inbound_traffic_policy::Mode;
use meltemi_api::istio::networking::v1alpha3::IstioIngressListener;
use meltemi_api::wkt;
use meltemi_world::proxy::{Interception, IpMode};
use meltemi_world::registry::ServiceTarget;
use meltemi_world::service::TargetPort;
use meltemi_world::{Port, Protocol, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The IPv4 address from which traffic to the application comes; iptables lets it through.
pub(super) const BIND_V4: &str = "127.0.0.6";
/// Its IPv6 counterpart.
pub(super) const BIND_V6: &str = "::6";
const LOCALHOST_V4: &str = "127.0.0.1";
const LOCALHOST_V6: &str = "::1";
/// The longest time that Go's `time.Duration` has in whole seconds: endpoints are never cleaned up.
const FOREVER_S: i64 = 9_223_372_035;

/// The clusters of a sidecar's own ports: of its Sidecar's ingress listeners if it has any, else of its services.
pub(super) fn inbound_clusters(cx: &Cx<'_>) -> Vec<Cluster> {
    let ingress = cx.scope.ingress();
    if ingress.is_empty() {
        // Without interception the application itself listens on those ports.
        let none = cx.proxy.metadata.interception_mode == Interception::None;
        return if none { Vec::new() } else { of_services(cx, &BTreeSet::new()) };
    }
    let mut out = Vec::new();
    if cx.features().sidecar_inbound_merge {
        let taken = ingress.iter().filter_map(|i| i.port.as_ref()).map(|p| p.number).collect();
        out = of_services(cx, &taken);
    }
    out.extend(ingress.iter().filter_map(|listener| of_ingress(cx, listener)));
    out
}

/// A cluster for each port of the workload that services name, save those that ingress listeners have taken.
fn of_services(cx: &Cx<'_>, taken: &BTreeSet<u32>) -> Vec<Cluster> {
    let mut by_port: BTreeMap<u32, Vec<&ServiceTarget>> = BTreeMap::new();
    for target in cx.targets.iter().filter(|t| !taken.contains(&t.target_port)) {
        by_port.entry(target.target_port).or_default().push(target);
    }
    let policy = cx.mesh().inbound_traffic_policy.as_ref().map_or(Mode::Passthrough, |p| p.mode());
    let address = if policy == Mode::Passthrough { String::new() } else { localhost(cx, true).to_owned() };
    let cluster = |(number, targets): (u32, Vec<&ServiceTarget>)| {
        let first = targets[0];
        // Of services with other ports of their own, only those of the first one's port are named.
        let named = targets.iter().filter(|t| t.port.port == first.port.port).map(|t| &t.service);
        Inbound {
            number,
            endpoint: (&address, number),
            service: Some(&first.service),
            host: &first.service.hostname,
            port: &first.port,
            named: one_for_each_host(named),
        }
        .cluster(cx)
    };
    by_port.into_iter().map(cluster).collect()
}

/// The hosts that the cluster of a port stands for: all services with that port behind them, or the one that an ingress
/// listener is for.
pub(super) fn hosts(cx: &Cx<'_>, number: u32) -> Vec<String> {
    let targets = cx.targets.iter().filter(|t| t.target_port == number);
    let mut hosts: Vec<String> = targets.map(|t| t.service.hostname.to_string()).collect();
    if cx.scope.ingress().iter().any(|i| i.port.as_ref().is_some_and(|p| p.number == number)) {
        hosts.truncate(1);
        if hosts.is_empty() {
            hosts.extend(name_of_sidecar(cx));
        }
    }
    hosts
}

/// What stands for the host of a port that no service names.
fn name_of_sidecar(cx: &Cx<'_>) -> Option<String> {
    cx.scope.sidecar.as_ref().map(|s| format!("{}.{}", s.meta.name, cx.scope.namespace))
}

/// The cluster of an ingress listener; `None` if its endpoint cannot be read.
fn of_ingress(cx: &Cx<'_>, listener: &IstioIngressListener) -> Option<Cluster> {
    let port = listener.port.as_ref()?;
    let number = port.number;
    let (address, endpoint_port) = default_endpoint(cx, &listener.default_endpoint)?;
    let service = cx.targets.iter().find(|t| t.target_port == number).map(|t| &t.service);
    // A port that no service names is known by its Sidecar.
    let host = service.map_or_else(|| name_of_sidecar(cx).unwrap_or_default(), |s| s.hostname.to_string());
    let protocol = Protocol::parse(&port.protocol);
    let port =
        Port { name: port.name.as_str().into(), port: number, protocol, target: TargetPort::Number(number) };
    let inbound = Inbound {
        number,
        endpoint: (&address, endpoint_port),
        service: service.map(|s| &**s),
        host: &host,
        port: &port,
        named: service.map(|s| &**s).into_iter().collect(),
    };
    Some(inbound.cluster(cx))
}

/// One inbound cluster.
struct Inbound<'a> {
    /// The port that names the cluster.
    number: u32,
    /// Where traffic goes; with an empty address where it was going.
    endpoint: (&'a str, u32),
    /// The first service behind the port.
    service: Option<&'a Service>,
    /// Its host.
    host: &'a str,
    /// The service's port, or the ingress listener's.
    port: &'a Port,
    /// The services that telemetry is told of.
    named: Vec<&'a Service>,
}

impl Inbound<'_> {
    fn cluster(&self, cx: &Cx<'_>) -> Cluster {
        let (address, port) = self.endpoint;
        let kind = if address.is_empty() { DiscoveryType::OriginalDst } else { DiscoveryType::Static };
        let mut draft = Draft::new(&names::inbound_cluster(self.number), kind);
        if kind == DiscoveryType::Static {
            draft.cluster.load_assignment = Some(ClusterLoadAssignment {
                cluster_name: draft.cluster.name.clone(),
                endpoints: one_endpoint(endpoint::address(address, port)),
                ..Default::default()
            });
        } else {
            draft.cluster.cleanup_interval = Some(wkt::seconds(FOREVER_S));
            draft.cluster.lb_config = self.service.and_then(|s| outbound::port_override(s, self.port));
        }
        draft.set_upstream_protocol(cx, self.port.protocol);
        if self.service.is_some_and(|s| !s.mesh_external) {
            metadata::set_services(cx, &mut draft.cluster, self.named.iter().copied());
        }
        self.name_statistics(cx, &mut draft.cluster);
        self.apply_policy(cx, &mut draft);
        if address != LOCALHOST_V4 && address != LOCALHOST_V6 {
            draft.cluster.upstream_bind_config = Some(bind_config(cx));
        }
        draft.finish()
    }

    fn name_statistics(&self, cx: &Cx<'_>, cluster: &mut Cluster) {
        let pattern = &cx.mesh().inbound_cluster_stat_name;
        if !pattern.is_empty() {
            let subject = self.service.map_or(Subject { host: self.host, kube: None }, Subject::from);
            let name = stat_name::fill(pattern, subject, self.port, "", self.number);
            cluster.alt_stat_name = stat_name::delimited(&name);
        }
    }

    /// The server's pool must hold what its clients' pools let through, so their rule counts here, too; a Sidecar
    /// overrides it.
    fn apply_policy(&self, cx: &Cx<'_>, draft: &mut Draft) {
        let rule = cx.scope.inbound_destination_rule(self.host).map(|m| &m.rule);
        let of_rule = rule.and_then(|r| r.spec.traffic_policy.as_ref());
        if let (Some(rule), Some(_), Some(_)) = (rule, of_rule, &draft.cluster.metadata) {
            metadata::set_rule(&mut draft.cluster, &rule.meta);
        }
        let defaults = cx.mesh().default_traffic_policy.as_ref();
        let mut policy = Policy::of_port(of_rule, self.port.port).with_defaults(defaults);
        policy.connection_pool = cx.scope.inbound_connection_pool(self.number).or(policy.connection_pool);
        policy::apply_inbound(cx, draft, &policy);
    }
}

/// One endpoint that nothing is known of but its address.
pub(super) fn one_endpoint(address: Address) -> Vec<LocalityLbEndpoints> {
    let endpoint = Endpoint { address: Some(address), ..Default::default() };
    let host_identifier = Some(HostIdentifier::Endpoint(endpoint));
    let lb_endpoints = vec![LbEndpoint { host_identifier, ..Default::default() }];
    vec![LocalityLbEndpoints { lb_endpoints, ..Default::default() }]
}

/// iptables sends what the proxy itself sends to localhost back to it, unless it comes from one of these addresses.
fn bind_config(cx: &Cx<'_>) -> BindConfig {
    match cx.proxy.ip_mode {
        IpMode::V4 => fixed::bind_to(BIND_V4, &[]),
        IpMode::V6 => fixed::bind_to(BIND_V6, &[]),
        IpMode::Dual if cx.features().dual_stack => fixed::bind_to(BIND_V4, &[BIND_V6]),
        IpMode::Dual => fixed::bind_to(BIND_V4, &[]),
    }
}

/// The endpoint of an ingress listener: a Unix socket, an address of the Pod (`0.0.0.0`, `[::]`), or localhost. An
/// empty address where there is none; `None` if it cannot be read.
fn default_endpoint(cx: &Cx<'_>, endpoint: &str) -> Option<(String, u32)> {
    if endpoint.is_empty() || endpoint.starts_with("unix://") {
        return Some((endpoint.to_owned(), 0));
    }
    let (host, port) = endpoint.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let own =
        |v4: bool| cx.proxy.ips().iter().find(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == v4));
    let address = match host.trim_matches(['[', ']']) {
        "0.0.0.0" => own(true).map_or(LOCALHOST_V4, |ip| ip),
        "::" => own(false).map_or(LOCALHOST_V6, |ip| ip),
        LOCALHOST_V4 => localhost(cx, true),
        LOCALHOST_V6 => localhost(cx, false),
        _ => "",
    };
    Some((address.to_owned(), port))
}

/// Localhost in the family that is preferred, or in the one that the proxy has.
fn localhost(cx: &Cx<'_>, prefer_v4: bool) -> &'static str {
    let v4 = if prefer_v4 { cx.proxy.supports_v4() } else { !cx.proxy.supports_v6() };
    if v4 { LOCALHOST_V4 } else { LOCALHOST_V6 }
}

fn one_for_each_host<'a>(services: impl Iterator<Item = &'a Arc<Service>>) -> Vec<&'a Service> {
    let mut hosts = BTreeSet::new();
    services.map(|s| &**s).filter(|s| hosts.insert(&s.hostname)).collect()
}

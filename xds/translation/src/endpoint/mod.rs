//! EDS: the endpoints of clusters, by locality.
//!
//! What an assignment depends on beside its service, port and subset: the proxy's network, requested networks,
//! cluster and IP family, and where load balancing asks for it its locality, labels and node.
//! Source: Istio `pilot/pkg/xds/endpoints/endpoint_builder.go`.

pub(crate) mod locality;
mod metadata;
mod mtls;
mod network;
mod select;

use crate::index::destination_rules::MergedRule;
use crate::traffic_policy::Policy;
use crate::{Cx, names, wire};
use locality::Setting;
use meltemi_api::envoy::config::core::v3::{self as core, HealthStatus};
use meltemi_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints,
    endpoint::AdditionalAddress, lb_endpoint::HostIdentifier,
};
use meltemi_api::istio::networking::v1alpha3::DestinationRule;
use meltemi_world::labels::Labels;
use meltemi_world::{Endpoint, Health, Locality, Port, Resolution, Service};
use std::collections::BTreeMap;

pub(crate) use select::{forces_unhealthy, in_network, keeps_draining};

/// The endpoints of an EDS cluster, by its name; `None` for a cluster that the proxy does not have.
pub fn load_assignment(cx: &Cx<'_>, cluster: &str) -> Option<ClusterLoadAssignment> {
    if cluster == names::SELF_DISCOVERY {
        return Some(own_peers(cx));
    }
    let name = names::parse_outbound(cluster)?;
    let service = cx.service(name.hostname)?;
    if is_dns(service) {
        return None;
    }
    let port = service.port(name.port)?;
    let rule = cx.scope.destination_rule(&cx.proxy.labels, &service.hostname);
    let rule = rule_of(rule);
    let target = Target { cx, service, port, subset: name.subset, rule, sni: name.sni, peers: false };
    let groups = target.groups();
    let policy = target.policy();
    let setting = Setting::effective(cx.mesh(), policy.load_balancer, Some(service));
    let endpoints = match setting {
        Some(setting) => setting.assign(cx, groups, policy.outlier_detection.is_some()),
        None => groups.into_iter().map(Group::into_envoy).collect(),
    };
    Some(ClusterLoadAssignment { cluster_name: cluster.to_owned(), endpoints, ..Default::default() })
}

/// The workloads like the proxy's own, in its region: Envoy compares how they and a service's endpoints are spread
/// over zones. Nothing ranks or weighs them.
fn own_peers(cx: &Cx<'_>) -> ClusterLoadAssignment {
    let own = cx.targets.first();
    let seen = own.and_then(|t| Some((cx.service(&t.service.hostname)?, &t.port)));
    let endpoints = seen.map_or_else(Vec::new, |(service, port)| {
        let target = Target { cx, service, port, subset: "", rule: None, sni: false, peers: true };
        target.groups().into_iter().map(Group::into_envoy).collect()
    });
    ClusterLoadAssignment { cluster_name: names::SELF_DISCOVERY.to_owned(), endpoints, ..Default::default() }
}

/// A port of a service, or of a subset, as a proxy reaches it.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// Who asks.
    pub(crate) cx: &'a Cx<'a>,
    /// The service.
    pub(crate) service: &'a Service,
    /// Its port.
    pub(crate) port: &'a Port,
    /// The subset; empty for all endpoints.
    pub(crate) subset: &'a str,
    /// The rule that applies to the service.
    pub(crate) rule: Option<&'a DestinationRule>,
    /// Whether the cluster is one of an AUTO_PASSTHROUGH gateway.
    pub(crate) sni: bool,
    /// Whether only workloads like the proxy's own are asked for.
    pub(crate) peers: bool,
}

/// The endpoints of one locality (Istio `LocalityEndpoints`).
#[derive(Clone, Debug)]
pub(crate) struct Group {
    locality: Locality,
    members: Vec<Member>,
    weight: Option<u32>,
    priority: u32,
}

/// An endpoint with what the load balancer asks of its workload.
#[derive(Clone, Debug)]
struct Member {
    labels: Labels,
    lb: LbEndpoint,
}

impl Target<'_> {
    /// The endpoints by locality, in the order of the localities.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let mtls = mtls::Check::new(self);
        let mut by_locality: BTreeMap<&Locality, Vec<(&Endpoint, LbEndpoint)>> = BTreeMap::new();
        for endpoint in select::endpoints(self) {
            let lb = self.lb_endpoint(endpoint, mtls.enabled(endpoint));
            by_locality.entry(&endpoint.workload.locality).or_default().push((endpoint, lb));
        }
        let groups = network::split_horizon(self, by_locality.into_values().collect());
        if self.sni { groups.into_iter().map(mtls::only).collect() } else { groups }
    }

    /// The traffic policy of the port. The mesh's default policy does not count for endpoints.
    pub(crate) fn policy(&self) -> Policy<'_> {
        self.rule.map(|rule| Policy::of_subset(rule, self.subset, self.port.port)).unwrap_or_default()
    }

    /// Source: Istio `buildEnvoyLbEndpoint`.
    fn lb_endpoint(&self, endpoint: &Endpoint, mtls: bool) -> LbEndpoint {
        let more =
            if self.cx.features().dual_stack { endpoint.addresses.get(1..).unwrap_or_default() } else { &[] };
        let address = |a: &str| Some(self::address(a, endpoint.port));
        LbEndpoint {
            health_status: health(self.cx, endpoint) as i32,
            load_balancing_weight: Some(endpoint.weight.max(1)),
            metadata: Some(metadata::of_endpoint(self.cx, self.service, endpoint, mtls)),
            host_identifier: Some(HostIdentifier::Endpoint(EnvoyEndpoint {
                address: address(endpoint.address()),
                additional_addresses: more
                    .iter()
                    .map(|a| AdditionalAddress { address: address(a) })
                    .collect(),
                ..Default::default()
            })),
        }
    }
}

impl Group {
    fn new(locality: Locality, members: Vec<Member>) -> Self {
        let mut group = Self { locality, members, weight: None, priority: 0 };
        group.weigh();
        group
    }

    /// Sets the weight to the sum of the members'; none where there are no members.
    fn weigh(&mut self) {
        let weights = self.members.iter().map(|m| m.lb.load_balancing_weight.unwrap_or(0));
        self.weight = weights.reduce(u32::saturating_add);
    }

    /// The group as Envoy has it.
    pub(crate) fn into_envoy(self) -> LocalityLbEndpoints {
        LocalityLbEndpoints {
            locality: Some(core::Locality {
                region: self.locality.region.to_string(),
                zone: self.locality.zone.to_string(),
                sub_zone: self.locality.subzone.to_string(),
            }),
            lb_endpoints: self.members.into_iter().map(|m| m.lb).collect(),
            load_balancing_weight: self.weight,
            priority: self.priority,
            ..Default::default()
        }
    }
}

/// The rule to ask, of a rule that may be there.
pub(crate) fn rule_of(merged: Option<&std::sync::Arc<MergedRule>>) -> Option<&DestinationRule> {
    merged.map(|m| &m.rule.spec)
}

/// Whether Envoy itself resolves the endpoints of a service.
pub(crate) fn is_dns(service: &Service) -> bool {
    matches!(service.resolution, Resolution::DnsLb | Resolution::DnsRoundRobinLb)
}

/// The health to send: endpoints with the draining label count as draining.
fn health(cx: &Cx<'_>, endpoint: &Endpoint) -> HealthStatus {
    match endpoint.health {
        _ if select::has_draining_label(cx, endpoint) => HealthStatus::Draining,
        Health::Unknown => HealthStatus::Unknown,
        Health::Healthy => HealthStatus::Healthy,
        Health::Unhealthy => HealthStatus::Unhealthy,
        Health::Draining | Health::Terminating => HealthStatus::Draining,
    }
}

/// An address and port; a port of 0 says that the address is a Unix socket's.
pub(crate) fn address(address: &str, port: u32) -> core::Address {
    if port == 0 {
        wire::pipe_address(address.trim_start_matches("unix://"))
    } else {
        wire::tcp_address(address, port)
    }
}

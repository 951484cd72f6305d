//! Which endpoints of a service a proxy is told of.
//!
//! Source: Istio `EndpointBuilder.filterIstioEndpoint`.

use super::{Target, is_dns};
use crate::Cx;
use crate::traffic_policy::{self, Policy};
use meltemi_world::service::TrafficDistribution;
use meltemi_world::{Endpoint, Health, Service};
use std::net::IpAddr;

/// The endpoints of a target that its proxy may use, in the registry's order.
pub(super) fn endpoints<'a>(target: &Target<'a>) -> Vec<&'a Endpoint> {
    let cx = target.cx;
    let filter = Filter {
        unhealthy: sends_unhealthy(cx, target.service, &target.policy()),
        draining: has_label(target.service, &cx.features().persistent_session_label),
        own_cluster: cx.index.cluster_local.contains(&target.service.hostname) || target.service.node_local,
        by_name: is_dns(target.service),
    };
    let subset = target.rule.and_then(|rule| traffic_policy::subset(rule, target.subset));
    let all = cx.snapshot.registry.endpoints(&target.service.key());
    all.iter()
        .filter(|e| e.is_behind(target.port))
        .filter(|e| subset.is_none_or(|s| e.labels().matches(&s.labels)))
        .filter(|e| filter.keeps(target, e))
        .collect()
}

/// Whether endpoints that are not ready are sent, as unhealthy ones, to clusters with this policy.
pub(crate) fn sends_unhealthy(cx: &Cx<'_>, service: &Service, policy: &Policy<'_>) -> bool {
    // With a panic threshold Envoy would use them, if too few others are left.
    let panics = policy.outlier_detection.is_some_and(|o| o.min_health_percent > 0);
    forces_unhealthy(cx, service) || (cx.features().auto_send_unhealthy && !panics)
}

/// Whether unhealthy endpoints are sent whatever a policy says: spilling over to other localities needs them.
/// Source: Istio `Service.ForcesSupportUnhealthyEndpoints`.
pub(crate) fn forces_unhealthy(cx: &Cx<'_>, service: &Service) -> bool {
    cx.features().send_unhealthy || service.traffic_distribution != TrafficDistribution::Any
}

/// Whether a workload says by label that it is draining.
pub(super) fn has_draining_label(cx: &Cx<'_>, endpoint: &Endpoint) -> bool {
    let label = &cx.features().draining_label;
    !label.is_empty() && endpoint.labels().get(label).is_some_and(|v| !v.is_empty())
}

/// Whether a service keeps draining endpoints, for sessions that stick to them.
/// Source: Istio `Service.SupportsDrainingEndpoints`.
pub(crate) fn keeps_draining(cx: &Cx<'_>, service: &Service) -> bool {
    let features = cx.features();
    has_label(service, &features.persistent_session_label)
        || has_label(service, &features.persistent_session_header_label)
}

fn has_label(service: &Service, label: &str) -> bool {
    service.labels.get(label).is_some_and(|v| !v.is_empty())
}

struct Filter {
    unhealthy: bool,
    draining: bool,
    own_cluster: bool,
    by_name: bool,
}

impl Filter {
    fn keeps(&self, target: &Target<'_>, endpoint: &Endpoint) -> bool {
        let (cx, proxy) = (target.cx, &target.cx.proxy.metadata);
        if target.service.node_local && *endpoint.workload.node != *proxy.node_name {
            return false;
        }
        if !is_visible(cx, endpoint) || (self.own_cluster && *endpoint.workload.cluster != *proxy.cluster_id)
        {
            return false;
        }
        if target.peers && !is_peer(cx, endpoint) {
            return false;
        }
        self.keeps_health(cx, endpoint) && self.keeps_address(cx, endpoint)
    }

    fn keeps_health(&self, cx: &Cx<'_>, endpoint: &Endpoint) -> bool {
        match endpoint.health {
            Health::Terminating => false,
            Health::Unhealthy if !self.unhealthy => false,
            Health::Draining => self.draining,
            _ => self.draining || !has_draining_label(cx, endpoint),
        }
    }

    fn keeps_address(&self, cx: &Cx<'_>, endpoint: &Endpoint) -> bool {
        let networks = &cx.index.networks;
        let gateways = if self.by_name { networks.all() } else { networks.by_ip() };
        match endpoint.address() {
            "" => !gateways.is_empty() && !in_network(cx, &endpoint.workload.network),
            // EDS carries addresses only; a name comes from a ServiceEntry that Envoy does not resolve.
            address => self.by_name || endpoint.port == 0 || address.parse::<IpAddr>().is_ok(),
        }
    }
}

/// Whether the proxy asked for endpoints of this network. One that asked for none in particular gets all.
pub(super) fn is_visible(cx: &Cx<'_>, endpoint: &Endpoint) -> bool {
    let view = &cx.proxy.metadata.requested_network_view;
    let network = &*endpoint.workload.network;
    view.is_empty() || network.is_empty() || view.iter().any(|n| n == network)
}

/// Whether an endpoint is of the proxy's own workload and revision, in its region: Pods of one ReplicaSet are spread
/// evenly, those of several need not be.
fn is_peer(cx: &Cx<'_>, endpoint: &Endpoint) -> bool {
    const REVISIONS: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];
    let proxy = cx.proxy;
    let same = |label: &str| {
        proxy.labels.get(label).unwrap_or_default() == endpoint.labels().get(label).unwrap_or_default()
    };
    *endpoint.workload.name == *proxy.metadata.workload_name
        && REVISIONS.iter().all(|label| same(label))
        && endpoint.workload.locality.region == proxy.locality.region
}

/// Whether the proxy is on a network, as far as is known.
pub(crate) fn in_network(cx: &Cx<'_>, network: &str) -> bool {
    let own = cx.proxy.metadata.network.as_str();
    own.is_empty() || network.is_empty() || own == network
}

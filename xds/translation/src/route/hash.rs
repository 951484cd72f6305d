//! Consistent hashing: which property of a request decides the host it goes to.
//!
//! Source: Istio `HashForHTTPDestination`, `hashForService`, `ConsistentHashToHashPolicy`.

use crate::Cx;
use istio::{ConsistentHashLb, LbPolicy, consistent_hash_lb::HashKey};
use meltemi_api::envoy::config::route::v3::route_action::{HashPolicy, hash_policy};
use meltemi_api::istio::networking::v1alpha3::{
    Destination, DestinationRule, HttpRouteDestination, TrafficPolicy, load_balancer_settings as istio,
    traffic_policy::PortTrafficPolicy,
};
use meltemi_api::wkt::to_prost_duration;

/// The hash settings for a route's destination: of the subset's port, the subset, the port, or the whole host.
pub(super) fn of_destination<'a>(cx: &Cx<'a>, to: &HttpRouteDestination) -> Option<&'a ConsistentHashLb> {
    let to = to.destination.as_ref()?;
    let rule = rule(cx, &to.host)?;
    let subset = rule.subsets.iter().find(|s| s.name == to.subset).and_then(|s| s.traffic_policy.as_ref());
    let host = rule.traffic_policy.as_ref();
    subset
        .and_then(|policy| of_port(policy, to))
        .or_else(|| subset.and_then(of_policy))
        .or_else(|| host.and_then(|policy| of_port(policy, to)))
        .or_else(|| host.and_then(of_policy))
}

/// The hash settings for a port of a service, where no VirtualService leads to it.
pub(super) fn of_service<'a>(cx: &Cx<'a>, hostname: &str, port: u32) -> Option<&'a ConsistentHashLb> {
    let policy = rule(cx, hostname)?.traffic_policy.as_ref()?;
    let level = policy.port_level_settings.iter().find(|s| number(s) == port);
    level.and_then(of_port_policy).or_else(|| of_policy(policy))
}

/// The hash settings for a service that the proxy itself stands in front of.
pub(super) fn of_inbound<'a>(cx: &Cx<'a>, hostname: &str) -> Option<&'a ConsistentHashLb> {
    of_policy(cx.scope.inbound_destination_rule(hostname)?.rule.spec.traffic_policy.as_ref()?)
}

fn rule<'a>(cx: &Cx<'a>, hostname: &str) -> Option<&'a DestinationRule> {
    cx.scope.destination_rule(&cx.proxy.labels, hostname).map(|merged| &merged.rule.spec)
}

fn of_port<'a>(policy: &'a TrafficPolicy, to: &Destination) -> Option<&'a ConsistentHashLb> {
    let port = to.port.as_ref()?.number;
    policy.port_level_settings.iter().find(|s| number(s) == port).and_then(of_port_policy)
}

fn number(settings: &PortTrafficPolicy) -> u32 {
    settings.port.as_ref().map_or(0, |p| p.number)
}

fn of_port_policy(settings: &PortTrafficPolicy) -> Option<&ConsistentHashLb> {
    consistent(settings.load_balancer.as_ref()?.lb_policy.as_ref()?)
}

fn of_policy(policy: &TrafficPolicy) -> Option<&ConsistentHashLb> {
    consistent(policy.load_balancer.as_ref()?.lb_policy.as_ref()?)
}

fn consistent(policy: &LbPolicy) -> Option<&ConsistentHashLb> {
    match policy {
        LbPolicy::ConsistentHash(hash) => Some(hash),
        LbPolicy::Simple(_) => None,
    }
}

/// Envoy's policy for hash settings; `None` where they name no property of the request.
pub(super) fn policy(hash: &ConsistentHashLb) -> Option<HashPolicy> {
    use hash_policy::PolicySpecifier;
    let specifier = match hash.hash_key.as_ref()? {
        HashKey::HttpHeaderName(name) => {
            PolicySpecifier::Header(hash_policy::Header { header_name: name.clone(), ..Default::default() })
        }
        HashKey::HttpCookie(cookie) => PolicySpecifier::Cookie(hash_policy::Cookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl.as_ref().map(to_prost_duration),
            path: cookie.path.clone(),
            attributes: cookie
                .attributes
                .iter()
                .map(|a| hash_policy::CookieAttribute { name: a.name.clone(), value: a.value.clone() })
                .collect(),
        }),
        HashKey::UseSourceIp(source_ip) => {
            PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties { source_ip: *source_ip })
        }
        HashKey::HttpQueryParameterName(name) => {
            PolicySpecifier::QueryParameter(hash_policy::QueryParameter { name: name.clone() })
        }
    };
    Some(HashPolicy { policy_specifier: Some(specifier), ..Default::default() })
}

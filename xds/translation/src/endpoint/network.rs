//! Endpoints of other networks: replaced by the gateways that lead to them.
//!
//! Source: Istio `EndpointsByNetworkFilter`.

use super::{Group, Member, Target, is_dns, metadata, select};
use crate::Cx;
use crate::index::networks::{Gateways, NetworkGateway};
use meltemi_api::envoy::config::endpoint::v3::{
    Endpoint as EnvoyEndpoint, LbEndpoint, lb_endpoint::HostIdentifier,
};
use meltemi_world::Endpoint;
use meltemi_world::labels::Labels;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The labels that Istio gives a gateway endpoint.
const CLUSTER: &str = "topology.istio.io/cluster";
const NETWORK: &str = "topology.istio.io/network";

/// The endpoints of each locality as the proxy reaches them: directly, or through gateways. Weights are scaled, so
/// that those of hidden endpoints can be shared out evenly among the gateways.
pub(super) fn split_horizon(
    target: &Target<'_>,
    localities: Vec<Vec<(&Endpoint, LbEndpoint)>>,
) -> Vec<Group> {
    let networks = &target.cx.index.networks;
    let gateways = if is_dns(target.service) { networks.all() } else { networks.by_ip() };
    localities
        .into_iter()
        .map(|endpoints| {
            let locality = endpoints.first().map(|(e, _)| e.workload.locality.clone()).unwrap_or_default();
            let members =
                if gateways.is_empty() { direct(endpoints) } else { reached(target.cx, gateways, endpoints) };
            Group::new(locality, members)
        })
        .collect()
}

fn direct(endpoints: Vec<(&Endpoint, LbEndpoint)>) -> Vec<Member> {
    endpoints.into_iter().map(|(e, lb)| Member { labels: e.workload.labels.clone(), lb }).collect()
}

fn reached(cx: &Cx<'_>, gateways: &Gateways, endpoints: Vec<(&Endpoint, LbEndpoint)>) -> Vec<Member> {
    let mut members = Vec::new();
    let mut shares: BTreeMap<&NetworkGateway, u32> = BTreeMap::new();
    for (endpoint, mut lb) in endpoints {
        let weight = scaled(lb.load_balancing_weight.unwrap_or(0), gateways.scale());
        lb.load_balancing_weight = Some(weight);
        match route(cx, gateways, endpoint) {
            // Without an address there is nothing to reach, and a Unix socket is no way to another network.
            Route::Direct if endpoint.address().is_empty() || endpoint.port == 0 => {}
            Route::Direct => members.push(Member { labels: endpoint.workload.labels.clone(), lb }),
            // A gateway routes by the SNI of mutual TLS.
            Route::Through(through) if metadata::speaks_mtls(&lb) && !through.is_empty() => {
                let share = weight / through.len() as u32;
                through.into_iter().for_each(|g| *shares.entry(g).or_default() += share);
            }
            Route::Through(_) => {}
        }
    }
    members.extend(shares.into_iter().map(|(gateway, weight)| gateway_member(cx, gateway, weight.max(1))));
    members
}

enum Route<'a> {
    Direct,
    /// Through these gateways; none: not at all.
    Through(Vec<&'a NetworkGateway>),
}

fn route<'a>(cx: &Cx<'_>, gateways: &'a Gateways, endpoint: &Endpoint) -> Route<'a> {
    let network = &endpoint.workload.network;
    let all = gateways.to(network, &endpoint.workload.cluster);
    let mut to = all.iter().filter(|g| g.port != 0).peekable();
    // A proxy that names no network is on none that has a gateway.
    let elsewhere = cx.proxy.metadata.network.is_empty() && !network.is_empty();
    if to.peek().is_none() || (!elsewhere && select::in_network(cx, network)) {
        return Route::Direct;
    }
    Route::Through(to.filter(|g| has_family(cx, &g.address)).collect())
}

/// Whether the proxy has the IP family of an address. One with a single family reaches no gateway by name.
fn has_family(cx: &Cx<'_>, address: &str) -> bool {
    let proxy = cx.proxy;
    match address.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        _ if proxy.is_dual_stack() => true,
        Ok(IpAddr::V4(_)) => proxy.supports_v4(),
        Ok(IpAddr::V6(_)) => proxy.supports_v6(),
        Err(_) => false,
    }
}

fn scaled(weight: u32, scale: u32) -> u32 {
    if weight == 0 { scale } else { weight.saturating_mul(scale) }
}

fn gateway_member(cx: &Cx<'_>, gateway: &NetworkGateway, weight: u32) -> Member {
    let labels = [(CLUSTER, &gateway.cluster), (NETWORK, &gateway.network)];
    let address = Some(super::address(&gateway.address, gateway.port));
    Member {
        labels: labels
            .into_iter()
            .filter(|(_, v)| !v.is_empty())
            .map(|(k, v)| (k, v.clone()))
            .collect::<Labels>(),
        lb: LbEndpoint {
            load_balancing_weight: Some(weight),
            metadata: Some(metadata::of_gateway(cx, &gateway.cluster)),
            host_identifier: Some(HostIdentifier::Endpoint(EnvoyEndpoint { address, ..Default::default() })),
            ..Default::default()
        },
    }
}

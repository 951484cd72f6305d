//! Clusters that proxies have whatever services there are.

use super::connection_pool::{self, Pool};
use super::draft::{self, Draft, HTTP_OPTIONS};
use super::inbound;
use crate::{Cx, names, sds, stat_name, wire};
use meltemi_api::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
};
use meltemi_api::envoy::config::core::v3::{self as core, BindConfig};
use meltemi_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_api::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions, http_protocol_options::explicit_http_config::ProtocolConfig,
};
use meltemi_api::wkt;

/// The Unix socket of an SDS server beside the proxy.
const CREDENTIAL_SOCKET: &str = "./var/run/secrets/credential-uds/socket";
/// How long idle connections of a passthrough cluster are kept, in seconds.
const PASSTHROUGH_IDLE_S: i64 = 300;

/// The cluster without endpoints: where traffic to nowhere goes.
pub(super) fn black_hole(cx: &Cx<'_>) -> Cluster {
    Cluster {
        name: names::BLACK_HOLE.to_owned(),
        alt_stat_name: stat_name::delimited(names::BLACK_HOLE),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        connect_timeout: connection_pool::default_connect_timeout(cx),
        ..Default::default()
    }
}

/// The cluster that sends traffic where it was going.
pub(super) fn passthrough(cx: &Cx<'_>) -> Cluster {
    let mut draft = original_destination(cx);
    draft.exchange_metadata(cx);
    draft.finish()
}

/// The cluster that sends inbound traffic to the application as it came.
pub(super) fn inbound_passthrough(cx: &Cx<'_>) -> Cluster {
    let mut draft = original_destination(cx);
    draft.cluster.name = names::INBOUND_PASSTHROUGH.to_owned();
    // Traffic from this address is let through by iptables; from any other it would come back to the proxy.
    let (own, more) = match (cx.proxy.supports_v4(), cx.proxy.supports_v6()) {
        (true, true) => (inbound::BIND_V4, vec![inbound::BIND_V6]),
        (true, false) => (inbound::BIND_V4, Vec::new()),
        _ => (inbound::BIND_V6, Vec::new()),
    };
    draft.cluster.upstream_bind_config = Some(bind_to(own, &more));
    draft.finish()
}

fn original_destination(cx: &Cx<'_>) -> Draft {
    let mut draft = Draft::new(names::PASSTHROUGH, DiscoveryType::OriginalDst);
    draft.cluster.common_lb_config = None;
    draft.set_lb(LbPolicy::ClusterProvided);
    draft.http = Some(passthrough_http(cx));
    // Outlier detection has no place here: there is no other endpoint to shift traffic to.
    let defaults = cx.mesh().default_traffic_policy.as_ref();
    let settings = defaults.and_then(|d| d.connection_pool.as_ref());
    let pool = Pool { settings, ..Pool::default() };
    connection_pool::apply_limits(cx, &mut draft, &pool);
    draft
}

/// The HTTP options of clusters that take any request: the client's protocol.
pub(super) fn passthrough_http(cx: &Cx<'_>) -> HttpProtocolOptions {
    HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(wkt::seconds(PASSTHROUGH_IDLE_S)),
            ..Default::default()
        }),
        upstream_protocol_options: Some(draft::downstream(draft::http1_options(cx))),
        ..Default::default()
    }
}

/// "Connect from this address, or for the other IP family from one of these."
pub(super) fn bind_to(address: &str, more: &[&str]) -> BindConfig {
    let from = |ip: &str| match wire::tcp_address(ip, 0).address {
        Some(core::address::Address::SocketAddress(address)) => Some(address),
        _ => None,
    };
    BindConfig {
        source_address: from(address),
        extra_source_addresses: more
            .iter()
            .map(|a| core::ExtraSourceAddress { address: from(a), ..Default::default() })
            .collect(),
        ..Default::default()
    }
}

/// The SDS server beside the proxy, for nodes that have one.
pub(super) fn external_sds(cx: &Cx<'_>) -> Cluster {
    let name = sds::EXTERNAL_CLUSTER.to_owned();
    let http2 = draft::explicit(ProtocolConfig::Http2ProtocolOptions(draft::http2_options()));
    let options = HttpProtocolOptions { upstream_protocol_options: Some(http2), ..Default::default() };
    Cluster {
        alt_stat_name: stat_name::delimited(&name),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        connect_timeout: connection_pool::default_connect_timeout(cx),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: inbound::one_endpoint(wire::pipe_address(CREDENTIAL_SOCKET)),
            ..Default::default()
        }),
        typed_extension_protocol_options: [(HTTP_OPTIONS.to_owned(), wire::any(&options))].into(),
        name,
        ..Default::default()
    }
}

//! Applies a traffic policy to a cluster, in the order in which its parts depend on each other.
//!
//! Source: Istio `ClusterBuilder.applyTrafficPolicy`.

use super::connection_pool::{self, Pool};
use super::draft::Draft;
use super::load_balancer::{self, Balancer};
use super::{outlier, proxy_protocol, tls};
use crate::Cx;
use crate::traffic_policy::Policy;
use meltemi_api::envoy::config::cluster::v3::cluster::{DiscoveryType, LbPolicy};
use meltemi_world::{Port, Service};

/// What an outbound cluster is for.
pub(super) struct Outbound<'a> {
    pub(super) service: &'a Service,
    pub(super) port: &'a Port,
    pub(super) policy: Policy<'a>,
    /// TLS; `None` where the cluster passes TLS of its clients on.
    pub(super) tls: Option<tls::Upstream<'a>>,
    /// Whether `failoverPriority` ranks endpoints that are part of the cluster.
    pub(super) ranks_by_labels: bool,
}

/// Applies the policy of an outbound cluster.
pub(super) fn apply_outbound(cx: &Cx<'_>, draft: &mut Draft, outbound: &Outbound<'_>) {
    let policy = &outbound.policy;
    // First the protocol, since pool settings of HTTP/2 only count for HTTP/2.
    if connection_pool::upgrades_to_http2(cx, outbound.port.protocol, policy.connection_pool) {
        draft.set_http2();
    }
    connection_pool::apply(
        cx,
        draft,
        &Pool { settings: policy.connection_pool, retry_budget: policy.retry_budget },
    );
    if let Some(settings) = policy.outlier_detection {
        outlier::apply(cx, draft, outbound.service, settings);
    }
    let balancer = Balancer {
        service: outbound.service,
        protocol: outbound.port.protocol,
        settings: policy.load_balancer,
        ranks_by_labels: outbound.ranks_by_labels,
    };
    load_balancer::apply(cx, draft, &balancer);
    if let Some(upstream) = &outbound.tls {
        tls::apply(cx, draft, upstream);
        if let Some(settings) = policy.proxy_protocol {
            proxy_protocol::apply(draft, settings);
        }
    }
    if draft.is(DiscoveryType::OriginalDst) {
        draft.set_lb(LbPolicy::ClusterProvided);
    }
}

/// Applies the policy of an inbound cluster: of all its parts, only the connection pool counts there.
pub(super) fn apply_inbound(cx: &Cx<'_>, draft: &mut Draft, policy: &Policy<'_>) {
    connection_pool::apply(
        cx,
        draft,
        &Pool { settings: policy.connection_pool, retry_budget: policy.retry_budget },
    );
    if draft.is(DiscoveryType::OriginalDst) {
        draft.set_lb(LbPolicy::ClusterProvided);
    }
}

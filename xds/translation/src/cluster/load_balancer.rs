//! Load balancers: how an outbound cluster chooses among its endpoints.
//!
//! Source: Istio `applyLoadBalancer`, `ApplyRingHashLoadBalancer`.

use super::draft::Draft;
use crate::Cx;
use crate::endpoint::locality::{Setting, locality_weighted};
use crate::endpoint::{self, Group};
use crate::traffic_policy::simple_lb;
use meltemi_api::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig,
    RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use meltemi_api::envoy::config::core::v3::RuntimeDouble;
use meltemi_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_api::envoy::r#type::v3::Percent;
use meltemi_api::istio::networking::v1alpha3::{
    LoadBalancerSettings, WarmupConfiguration,
    load_balancer_settings::{self, ConsistentHashLb, SimpleLb, consistent_hash_lb::HashAlgorithm},
};
use meltemi_api::wkt::to_prost_duration;
use meltemi_world::{Protocol, Service};

/// The ring's size where nothing says it (Envoy's own default, made explicit by Istio).
const DEFAULT_RING_SIZE: u64 = 1024;
/// Envoy's placeholder: the runtime key must not be empty, and nobody sets this one.
const NO_RUNTIME_KEY: &str = "(";

/// The load balancer of an outbound cluster.
pub(super) struct Balancer<'a> {
    pub(super) service: &'a Service,
    pub(super) protocol: Protocol,
    pub(super) settings: Option<&'a LoadBalancerSettings>,
    /// Whether `failoverPriority` ranks endpoints that are part of the cluster.
    pub(super) ranks_by_labels: bool,
}

/// Applies a load balancer; outlier detection must be applied already.
pub(super) fn apply(cx: &Cx<'_>, draft: &mut Draft, balancer: &Balancer<'_>) {
    if draft.cluster.lb_policy() == LbPolicy::ClusterProvided {
        return;
    }
    let unhealthy = cx.features().auto_send_unhealthy || endpoint::forces_unhealthy(cx, balancer.service);
    if unhealthy {
        // Not-ready endpoints are sent, too: in panic Envoy would use them.
        draft.common_lb().healthy_panic_threshold.get_or_insert(Percent { value: 0.0 });
    }
    apply_locality(cx, draft, balancer);
    if draft.is(DiscoveryType::OriginalDst) {
        return draft.set_lb(LbPolicy::ClusterProvided);
    }
    if cx.features().redis_filter && balancer.protocol == Protocol::Redis {
        // Clients shard by key.
        return draft.set_lb(LbPolicy::Maglev);
    }
    apply_algorithm(draft, balancer.settings);
    if let Some(load_balancer_settings::LbPolicy::ConsistentHash(hash)) =
        balancer.settings.and_then(|s| s.lb_policy.as_ref())
    {
        apply_hash(draft, hash);
    }
}

fn apply_locality(cx: &Cx<'_>, draft: &mut Draft, balancer: &Balancer<'_>) {
    let setting = Setting::effective(cx.mesh(), balancer.settings, Some(balancer.service));
    let outliers = draft.cluster.outlier_detection.is_some();
    let config = match &setting {
        Some(setting) => setting.for_cluster(cx, outliers),
        None => cx.features().locality_weighted_lb.then(locality_weighted),
    };
    draft.common_lb().locality_config_specifier = config;
    if draft.groups.is_empty() {
        return;
    }
    let groups = std::mem::take(&mut draft.groups);
    let endpoints = match setting {
        Some(setting) => setting.assign_with(cx, groups, outliers, balancer.ranks_by_labels),
        None => groups.into_iter().map(Group::into_envoy).collect(),
    };
    draft.cluster.load_assignment = Some(ClusterLoadAssignment {
        cluster_name: draft.cluster.name.clone(),
        endpoints,
        ..Default::default()
    });
}

fn apply_algorithm(draft: &mut Draft, settings: Option<&LoadBalancerSettings>) {
    match simple_lb(settings) {
        SimpleLb::Random => draft.set_lb(LbPolicy::Random),
        SimpleLb::RoundRobin => {
            draft.set_lb(LbPolicy::RoundRobin);
            draft.cluster.lb_config = slow_start(settings)
                .map(|s| LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config: Some(s) }));
        }
        SimpleLb::Passthrough => {
            draft.set_lb(LbPolicy::ClusterProvided);
            let kind = DiscoveryType::OriginalDst as i32;
            draft.cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind));
            draft.cluster.load_assignment = None;
        }
        _ => {
            draft.set_lb(LbPolicy::LeastRequest);
            draft.cluster.lb_config = slow_start(settings).map(|s| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    slow_start_config: Some(s),
                    ..Default::default()
                })
            });
        }
    }
}

/// The warm-up of new endpoints.
fn slow_start(settings: Option<&LoadBalancerSettings>) -> Option<SlowStartConfig> {
    let settings = settings?;
    let of_duration = || {
        let window = settings.warmup_duration_secs.as_ref()?;
        Some(SlowStartConfig { slow_start_window: Some(to_prost_duration(window)), ..Default::default() })
    };
    settings.warmup.as_ref().map(warm_up).or_else(of_duration)
}

fn warm_up(warmup: &WarmupConfiguration) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: warmup.duration.as_ref().map(to_prost_duration),
        aggression: Some(RuntimeDouble {
            default_value: warmup.aggression.as_ref().map_or(1.0, |a| a.value),
            runtime_key: NO_RUNTIME_KEY.to_owned(),
        }),
        min_weight_percent: Some(Percent {
            value: warmup.minimum_percent.as_ref().map_or(10.0, |m| m.value),
        }),
    }
}

#[allow(deprecated)] // `minimumRingSize` outside `ringHash` still counts.
fn apply_hash(draft: &mut Draft, hash: &ConsistentHashLb) {
    let ring = |size: u64| {
        LbConfig::RingHashLbConfig(RingHashLbConfig { minimum_ring_size: Some(size), ..Default::default() })
    };
    // An algorithm without a size leaves what the simple one has set.
    let config = match &hash.hash_algorithm {
        Some(HashAlgorithm::Maglev(maglev)) => {
            draft.set_lb(LbPolicy::Maglev);
            let table_size = (maglev.table_size != 0).then_some(maglev.table_size);
            table_size.map(|size| LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: Some(size) }))
        }
        Some(HashAlgorithm::RingHash(of_ring)) => {
            draft.set_lb(LbPolicy::RingHash);
            (of_ring.minimum_ring_size != 0).then(|| ring(of_ring.minimum_ring_size))
        }
        None => {
            draft.set_lb(LbPolicy::RingHash);
            Some(ring(if hash.minimum_ring_size == 0 { DEFAULT_RING_SIZE } else { hash.minimum_ring_size }))
        }
    };
    draft.cluster.lb_config = config.or(draft.cluster.lb_config.take());
}

//! Load balancing by locality: which localities come first, and with which weight.
//!
//! A DestinationRule wins over the service's own traffic distribution, and that over the mesh; in each, zone-aware
//! settings win over those by locality. Source: Istio `pilot/pkg/networking/core/loadbalancer`.

mod distribute;
mod priority;

use super::Group;
use crate::Cx;
use meltemi_api::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use meltemi_api::envoy::config::endpoint::v3::LocalityLbEndpoints;
use meltemi_api::envoy::r#type::v3::Percent;
use meltemi_api::istio::mesh::v1alpha1::MeshConfig;
use meltemi_api::istio::networking::v1alpha3::{
    LoadBalancerSettings, LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting,
    locality_load_balancer_setting::Distribute,
};
use meltemi_world::Service;
use meltemi_world::service::TrafficDistribution;
use priority::Failover;

/// The labels that a zone is known by, most important first.
const SAME_ZONE: [&str; 3] =
    ["topology.istio.io/network", "topology.kubernetes.io/region", "topology.kubernetes.io/zone"];
/// The labels that a node is known by, most important first.
const SAME_NODE: [&str; 5] = [
    "topology.istio.io/network",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
    "kubernetes.io/hostname",
];

/// What applies to a cluster.
#[derive(Clone, Debug)]
pub(crate) enum Setting<'a> {
    /// By region, zone and subzone.
    Locality {
        /// Shares of traffic by locality.
        distribute: &'a [Distribute],
        /// To which region a region fails over.
        failover: Vec<Failover<'a>>,
        /// Labels whose agreement makes endpoints near.
        labels: Vec<&'a str>,
        /// Whether failover does not need outlier detection.
        force: bool,
    },
    /// By zone, as Envoy itself balances.
    ZoneAware(&'a ZoneAwareLoadBalancerSetting),
}

impl<'a> Setting<'a> {
    /// What applies to a service under load balancer settings of a rule; `None` where locality does not count.
    /// Source: Istio `GetEffectiveLbSetting`.
    pub(crate) fn effective(
        mesh: &'a MeshConfig,
        lb: Option<&'a LoadBalancerSettings>,
        service: Option<&Service>,
    ) -> Option<Self> {
        if let Some(zone_aware) = lb.and_then(|l| l.zone_aware_lb_setting.as_ref()) {
            return Some(Self::ZoneAware(zone_aware));
        }
        if let Some(setting) = lb.and_then(|l| l.locality_lb_setting.as_ref()) {
            return Self::of_locality(setting);
        }
        match service.map_or(TrafficDistribution::Any, |s| s.traffic_distribution) {
            TrafficDistribution::PreferSameZone => return Some(Self::of_labels(&SAME_ZONE)),
            TrafficDistribution::PreferSameNode => return Some(Self::of_labels(&SAME_NODE)),
            TrafficDistribution::Any => {}
        }
        if let Some(zone_aware) = &mesh.zone_aware_lb_setting {
            return Some(Self::ZoneAware(zone_aware));
        }
        Self::of_locality(mesh.locality_lb_setting.as_ref()?)
    }

    fn of_locality(setting: &'a LocalityLoadBalancerSetting) -> Option<Self> {
        if setting.enabled.as_ref().is_some_and(|e| !e.value) {
            return None;
        }
        Some(Self::Locality {
            distribute: &setting.distribute,
            failover: setting.failover.iter().map(|f| Failover { from: &f.from, to: &f.to }).collect(),
            labels: setting.failover_priority.iter().map(String::as_str).collect(),
            force: false,
        })
    }

    fn of_labels(labels: &'static [&'static str]) -> Self {
        Self::Locality { distribute: &[], failover: Vec::new(), labels: labels.to_vec(), force: true }
    }

    /// The locality part of a cluster's load balancer; `outliers`: whether the cluster detects outliers.
    pub(crate) fn for_cluster(&self, cx: &Cx<'_>, outliers: bool) -> Option<LocalityConfigSpecifier> {
        match self {
            Self::Locality { distribute, failover, labels, force } => {
                // Without failover, weights by locality would override e.g. the choice by least requests.
                let fails_over = (outliers || *force) && !(failover.is_empty() && labels.is_empty());
                let weighted = fails_over || !distribute.is_empty() || cx.features().locality_weighted_lb;
                weighted.then(locality_weighted)
            }
            Self::ZoneAware(setting) => Some(LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
                routing_enabled: (!is_enabled(setting)).then_some(Percent { value: 0.0 }),
                min_cluster_size: setting.min_cluster_size.as_ref().map(|s| u64::from(s.value)),
                ..Default::default()
            })),
        }
    }

    /// Sets the priorities and weights of groups of endpoints, as the proxy sees them. Failover needs `outliers`
    /// detected, else Envoy never learns that a locality is down.
    pub(crate) fn assign(&self, cx: &Cx<'_>, groups: Vec<Group>, outliers: bool) -> Vec<LocalityLbEndpoints> {
        self.assign_with(cx, groups, outliers, true)
    }

    /// As [`Setting::assign`]; without `by_labels` the labels of endpoints do not rank them.
    pub(crate) fn assign_with(
        &self,
        cx: &Cx<'_>,
        groups: Vec<Group>,
        outliers: bool,
        by_labels: bool,
    ) -> Vec<LocalityLbEndpoints> {
        let own = &cx.proxy.locality;
        let mut groups = groups;
        match self {
            Self::Locality { distribute, .. } if !distribute.is_empty() => {
                distribute::apply(own, &mut groups, distribute)
            }
            Self::Locality { failover, labels, force, .. } if outliers || *force => {
                if by_labels && !labels.is_empty() {
                    groups = priority::by_labels(&cx.proxy.labels, groups, labels);
                }
                if labels.is_empty() || !failover.is_empty() {
                    priority::by_locality(own, &mut groups, failover);
                }
            }
            Self::Locality { .. } => {}
            Self::ZoneAware(setting) if is_enabled(setting) => {
                let labels: Vec<_> = setting.failover_priority.iter().map(String::as_str).collect();
                if by_labels && !labels.is_empty() {
                    groups = priority::by_labels(&cx.proxy.labels, groups, &labels);
                }
                let failover: Vec<_> =
                    setting.failover.iter().map(|f| Failover { from: &f.from, to: &f.to }).collect();
                priority::by_region(own, &mut groups, &failover);
            }
            Self::ZoneAware(_) => {}
        }
        groups.into_iter().map(Group::into_envoy).collect()
    }
}

/// "Weigh localities as the assignment says".
pub(crate) fn locality_weighted() -> LocalityConfigSpecifier {
    LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})
}

/// Zone-aware routing is on unless it says otherwise.
fn is_enabled(setting: &ZoneAwareLoadBalancerSetting) -> bool {
    setting.enabled.as_ref().is_none_or(|e| e.value)
}

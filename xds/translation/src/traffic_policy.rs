//! The traffic policy of one port of one destination: what a DestinationRule, its subset and the mesh say together.
//!
//! Settings for a port replace those for the destination as a whole; they are not laid over them.
//! Source: Istio `pilot/pkg/networking/util` (`GetPortLevelTrafficPolicy`, `MergeSubsetTrafficPolicy`).

use meltemi_api::istio::mesh::v1alpha1::mesh_config::DefaultTrafficPolicy;
use meltemi_api::istio::networking::v1alpha3::{
    ClientTlsSettings, ConnectionPoolSettings, DestinationRule, LoadBalancerSettings, OutlierDetection,
    Subset, TrafficPolicy,
    client_tls_settings::TlSmode,
    load_balancer_settings,
    load_balancer_settings::SimpleLb,
    traffic_policy::{PortTrafficPolicy, ProxyProtocol, RetryBudget, TunnelSettings},
};

/// The policy of one port. What is `None` is left to defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Policy<'a> {
    pub connection_pool: Option<&'a ConnectionPoolSettings>,
    pub load_balancer: Option<&'a LoadBalancerSettings>,
    pub outlier_detection: Option<&'a OutlierDetection>,
    pub tls: Option<&'a ClientTlsSettings>,
    pub tunnel: Option<&'a TunnelSettings>,
    pub proxy_protocol: Option<&'a ProxyProtocol>,
    pub retry_budget: Option<&'a RetryBudget>,
}

impl<'a> Policy<'a> {
    /// What a rule says of a port, for the destination as a whole (no subset).
    pub fn of_port(policy: Option<&'a TrafficPolicy>, port: u32) -> Self {
        match (policy, port_settings(policy, port)) {
            (_, Some(settings)) => Self::of_settings(settings),
            (Some(policy), None) => Self::of_policy(policy),
            (None, None) => Self::default(),
        }
    }

    /// What a rule says of a port of one of its subsets; an unknown subset says nothing of its own.
    pub fn of_subset(rule: &'a DestinationRule, subset: &str, port: u32) -> Self {
        let of_subset = self::subset(rule, subset).and_then(|s| s.traffic_policy.as_ref());
        Self::of_port(rule.traffic_policy.as_ref(), port).with_subset(of_subset, port)
    }

    /// This policy with a subset's laid over it.
    pub fn with_subset(self, subset: Option<&'a TrafficPolicy>, port: u32) -> Self {
        let Some(policy) = subset else { return self };
        let port_level = port_settings(subset, port);
        let over = port_level.map_or_else(|| Self::of_policy(policy), Self::of_settings);
        let replace = port_level.is_some();
        Self {
            connection_pool: lay_over(self.connection_pool, over.connection_pool, replace),
            load_balancer: lay_over(self.load_balancer, over.load_balancer, replace),
            outlier_detection: lay_over(self.outlier_detection, over.outlier_detection, replace),
            tls: lay_over(self.tls, over.tls, replace),
            tunnel: over.tunnel.or(self.tunnel),
            proxy_protocol: over.proxy_protocol.or(self.proxy_protocol),
            retry_budget: over.retry_budget.or(self.retry_budget),
        }
    }

    /// This policy with the mesh's defaults where it says nothing (MeshConfig `defaultTrafficPolicy`).
    pub fn with_defaults(self, defaults: Option<&'a DefaultTrafficPolicy>) -> Self {
        let Some(defaults) = defaults else { return self };
        Self {
            connection_pool: self.connection_pool.or(defaults.connection_pool.as_ref()),
            outlier_detection: self.outlier_detection.or(defaults.outlier_detection.as_ref()),
            ..self
        }
    }

    /// The TLS mode; `None` where the policy does not speak of TLS.
    pub fn tls_mode(&self) -> Option<TlSmode> {
        self.tls.map(ClientTlsSettings::mode)
    }

    fn of_policy(policy: &'a TrafficPolicy) -> Self {
        Self {
            connection_pool: policy.connection_pool.as_ref(),
            load_balancer: policy.load_balancer.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
            tunnel: policy.tunnel.as_ref(),
            proxy_protocol: policy.proxy_protocol.as_ref(),
            retry_budget: policy.retry_budget.as_ref(),
        }
    }

    fn of_settings(settings: &'a PortTrafficPolicy) -> Self {
        Self {
            connection_pool: settings.connection_pool.as_ref(),
            load_balancer: settings.load_balancer.as_ref(),
            outlier_detection: settings.outlier_detection.as_ref(),
            tls: settings.tls.as_ref(),
            ..Self::default()
        }
    }
}

/// The simple algorithm that load balancer settings name; `Unspecified` where they name none.
pub fn simple_lb(settings: Option<&LoadBalancerSettings>) -> SimpleLb {
    match settings.and_then(|s| s.lb_policy.as_ref()) {
        Some(load_balancer_settings::LbPolicy::Simple(simple)) => {
            SimpleLb::try_from(*simple).unwrap_or(SimpleLb::Unspecified)
        }
        _ => SimpleLb::Unspecified,
    }
}

/// Whether a policy, taken as a whole, sends traffic where it was going (`PASSTHROUGH`).
pub fn is_passthrough(policy: Option<&TrafficPolicy>) -> bool {
    simple_lb(policy.and_then(|p| p.load_balancer.as_ref())) == SimpleLb::Passthrough
}

/// A rule's subset by name.
pub fn subset<'a>(rule: &'a DestinationRule, name: &str) -> Option<&'a Subset> {
    rule.subsets.iter().find(|s| s.name == name)
}

fn port_settings(policy: Option<&TrafficPolicy>, port: u32) -> Option<&PortTrafficPolicy> {
    let of_port = |p: &&PortTrafficPolicy| p.port.as_ref().is_some_and(|s| s.number == port);
    policy?.port_level_settings.iter().find(of_port)
}

fn lay_over<T>(under: Option<T>, over: Option<T>, replace: bool) -> Option<T> {
    if replace { over } else { over.or(under) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_api::istio::networking::v1alpha3::PortSelector;

    fn simple(lb: SimpleLb) -> Option<LoadBalancerSettings> {
        let lb_policy = Some(load_balancer_settings::LbPolicy::Simple(lb as i32));
        Some(LoadBalancerSettings { lb_policy, ..Default::default() })
    }

    fn for_port(number: u32, load_balancer: Option<LoadBalancerSettings>) -> Vec<PortTrafficPolicy> {
        vec![PortTrafficPolicy { port: Some(PortSelector { number }), load_balancer, ..Default::default() }]
    }

    #[test]
    fn settings_of_a_port_replace_those_of_the_destination() {
        let policy = TrafficPolicy {
            load_balancer: simple(SimpleLb::Random),
            outlier_detection: Some(OutlierDetection::default()),
            port_level_settings: for_port(80, simple(SimpleLb::RoundRobin)),
            ..Default::default()
        };
        let of_80 = Policy::of_port(Some(&policy), 80);
        assert_eq!((simple_lb(of_80.load_balancer), of_80.outlier_detection), (SimpleLb::RoundRobin, None));
        assert_eq!(simple_lb(Policy::of_port(Some(&policy), 81).load_balancer), SimpleLb::Random);
    }

    #[test]
    fn a_subset_is_laid_over_and_its_port_settings_replace() {
        let base = TrafficPolicy {
            load_balancer: simple(SimpleLb::Random),
            outlier_detection: Some(OutlierDetection::default()),
            ..Default::default()
        };
        let subset = TrafficPolicy { port_level_settings: for_port(80, None), ..Default::default() };
        let base = Policy::of_port(Some(&base), 80);
        assert_eq!(base.with_subset(Some(&subset), 80), Policy::default());
        assert_eq!(base.with_subset(Some(&subset), 81), base);
    }
}

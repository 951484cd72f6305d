//! Which endpoints are spoken to in Istio's mutual TLS.
//!
//! Source: Istio `pilot/pkg/xds/endpoints/mtls_checker.go`, `EndpointsWithMTLSFilter`.

use super::{Group, Target, metadata};
use crate::index::authn::MtlsMode;
use crate::traffic_policy;
use meltemi_api::istio::networking::v1alpha3::{TrafficPolicy, client_tls_settings::TlSmode};
use meltemi_world::Endpoint;

/// Decides for the endpoints of one target.
pub(super) struct Check<'a> {
    target: &'a Target<'a>,
    /// The mode that a rule sets for the port.
    rule: Option<TlSmode>,
}

impl<'a> Check<'a> {
    pub(super) fn new(target: &'a Target<'a>) -> Self {
        Self { target, rule: rule_mode(target) }
    }

    /// Whether mutual TLS is spoken to an endpoint: it has a sidecar, and neither a rule nor its policies say no.
    pub(super) fn enabled(&self, endpoint: &Endpoint) -> bool {
        let workload = &endpoint.workload;
        if let Some(mode) = self.rule {
            return workload.istio_tls && mode == TlSmode::IstioMutual;
        }
        let policies = &self.target.cx.index.peer_authentications;
        workload.istio_tls
            && policies.of_port(&workload.namespace, &workload.labels, endpoint.port) != MtlsMode::Disable
    }
}

/// A group without the endpoints that do not speak mutual TLS: an AUTO_PASSTHROUGH gateway can't tell them apart.
pub(super) fn only(mut group: Group) -> Group {
    group.members.retain(|m| metadata::speaks_mtls(&m.lb));
    group.weigh();
    group
}

/// The TLS mode of a subset's port, else of the destination's. Source: Istio `tlsModeForDestinationRule`.
fn rule_mode(target: &Target<'_>) -> Option<TlSmode> {
    let rule = target.rule?;
    let of = |policy: Option<&TrafficPolicy>| tls_mode(policy?, target.port.port);
    if target.subset.is_empty() {
        return of(rule.traffic_policy.as_ref());
    }
    let subset = traffic_policy::subset(rule, target.subset)?;
    of(subset.traffic_policy.as_ref()).or_else(|| of(rule.traffic_policy.as_ref()))
}

fn tls_mode(policy: &TrafficPolicy, port: u32) -> Option<TlSmode> {
    let of_port = policy
        .port_level_settings
        .iter()
        .filter(|p| p.port.as_ref().map_or(0, |s| s.number) == port)
        .find_map(|p| p.tls.as_ref());
    of_port.or(policy.tls.as_ref()).map(|tls| tls.mode())
}

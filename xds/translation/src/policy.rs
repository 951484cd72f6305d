//! Which workloads a policy is for: by `targetRefs`, or else by labels.
//!
//! Source: Istio `pilot/pkg/model/policyattachment.go` (`WorkloadPolicyMatcher`).

use crate::Cx;
use meltemi_api::istio::security::v1beta1::{AuthorizationPolicy, RequestAuthentication};
use meltemi_api::istio::r#type::v1beta1::{PolicyTargetReference, WorkloadSelector};
use meltemi_api::istio::{extensions::v1alpha1 as extensions, telemetry::v1alpha1 as telemetry};
use meltemi_world::labels::Labels;
use meltemi_world::proxy::ProxyType;
use meltemi_world::service::Registry;
use meltemi_world::{Config, Service};

/// The label by which a workload says which Gateway API gateway it is an instance of.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// The class of Istio's waypoints.
const WAYPOINT_CLASS: &str = "istio-waypoint";

/// A policy that is attached to workloads.
pub trait Policy {
    /// The labels of the workloads that it is for.
    fn selector(&self) -> Option<&WorkloadSelector>;
    /// The objects that it is for.
    fn target_refs(&self) -> &[PolicyTargetReference];
    /// The one object that it is for, where `targetRefs` is empty.
    fn target_ref(&self) -> Option<&PolicyTargetReference>;
}

macro_rules! policy {
    ($($kind:ty),*) => {$(
        impl Policy for $kind {
            fn selector(&self) -> Option<&WorkloadSelector> {
                self.selector.as_ref()
            }
            fn target_refs(&self) -> &[PolicyTargetReference] {
                &self.target_refs
            }
            fn target_ref(&self) -> Option<&PolicyTargetReference> {
                self.target_ref.as_ref()
            }
        }
    )*};
}

policy!(AuthorizationPolicy, RequestAuthentication, telemetry::Telemetry);

impl Policy for extensions::TrafficExtension {
    fn selector(&self) -> Option<&WorkloadSelector> {
        self.selector.as_ref()
    }
    fn target_refs(&self) -> &[PolicyTargetReference] {
        &self.target_refs
    }
    fn target_ref(&self) -> Option<&PolicyTargetReference> {
        None
    }
}

/// The workload that policies are looked up for.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
    /// Whether it is a waypoint.
    pub is_waypoint: bool,
    /// The service whose traffic is concerned, where a filter chain is for one service.
    pub service: Option<&'a Service>,
    /// The mesh's root namespace.
    pub root: &'a str,
    /// Whether selectors count for Gateway API gateways (`ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY`).
    pub selectors_for_gateway_api: bool,
}

impl<'a> Workload<'a> {
    /// The proxy's own workload.
    pub fn of(cx: &Cx<'a>) -> Self {
        Self {
            namespace: &cx.proxy.namespace,
            labels: &cx.proxy.labels,
            is_waypoint: cx.proxy.kind == ProxyType::Waypoint,
            service: None,
            root: cx.snapshot.root_namespace(),
            selectors_for_gateway_api: cx.features().selector_policies_for_gateway_api,
        }
    }

    /// The same, for the traffic of one service.
    pub fn with_service(self, service: Option<&'a Service>) -> Self {
        Self { service, ..self }
    }

    /// Whether the policy is for this workload. Its namespace must have been looked at already: a policy without
    /// `targetRefs` is for its own namespace, or for all if it lies in the root namespace.
    pub fn is_target_of<P: Policy>(&self, policy: &Config<P>) -> bool {
        let refs = match policy.spec.target_refs() {
            [] => policy.spec.target_ref().map_or(&[][..], std::slice::from_ref),
            refs => refs,
        };
        let Some(gateway) = self.labels.get(GATEWAY_NAME) else {
            return refs.is_empty() && self.is_selected(&policy.spec);
        };
        if refs.is_empty() {
            let by_selector = !self.is_waypoint && self.selectors_for_gateway_api;
            return by_selector && self.is_selected(&policy.spec);
        }
        refs.iter().any(|r| self.is_referred_to(r, &policy.meta.namespace, gateway))
    }

    fn is_selected<P: Policy>(&self, policy: &P) -> bool {
        policy.selector().is_none_or(|s| self.labels.matches(&s.match_labels))
    }

    fn is_referred_to(&self, target: &PolicyTargetReference, namespace: &str, gateway: &str) -> bool {
        let is = |group: &str, kind: &str| target.group == group && target.kind == kind;
        if self.is_waypoint {
            let of =
                |registry| self.service.is_some_and(|s| attached_to(s, registry, &target.name, namespace));
            let of_service = (is("", "Service") || is("core", "Service")) && of(Registry::Kubernetes);
            let of_entry = is("networking.istio.io", "ServiceEntry") && of(Registry::External);
            let of_class = namespace == self.root
                && is("gateway.networking.k8s.io", "GatewayClass")
                && target.name == WAYPOINT_CLASS;
            if of_service || of_entry || of_class {
                return true;
            }
        }
        let own = namespace == self.namespace
            && (target.namespace.is_empty() || target.namespace == self.namespace);
        own && is("gateway.networking.k8s.io", "Gateway") && target.name == gateway
    }
}

fn attached_to(service: &Service, registry: Registry, name: &str, namespace: &str) -> bool {
    let object = if service.object_name.is_empty() { &service.name } else { &service.object_name };
    service.registry == registry && **object == *name && *service.namespace == *namespace
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_world::Meta;

    fn policy(selected: Option<&str>, gateway: Option<&str>) -> Config<AuthorizationPolicy> {
        let meta = Meta { name: "p".into(), namespace: "ns".into(), ..Default::default() };
        let selector = selected
            .map(|app| WorkloadSelector { match_labels: [("app".to_owned(), app.to_owned())].into() });
        let target = |name: &str| PolicyTargetReference {
            group: "gateway.networking.k8s.io".into(),
            kind: "Gateway".into(),
            name: name.into(),
            ..Default::default()
        };
        let target_refs = gateway.map(target).into_iter().collect();
        Config { meta, spec: AuthorizationPolicy { selector, target_refs, ..Default::default() } }
    }

    fn is_target(labels: &[(&str, &str)], policy: &Config<AuthorizationPolicy>) -> bool {
        let labels: Labels = labels.iter().copied().collect();
        let workload = Workload {
            namespace: "ns",
            labels: &labels,
            is_waypoint: false,
            service: None,
            root: "istio-system",
            selectors_for_gateway_api: true,
        };
        workload.is_target_of(policy)
    }

    #[test]
    fn references_count_for_gateways_only_and_instead_of_labels() {
        let gateway = [("app", "a"), (GATEWAY_NAME, "gw")];
        assert!(is_target(&[("app", "a")], &policy(Some("a"), None)));
        assert!(!is_target(&[("app", "a")], &policy(Some("b"), None)));
        assert!(!is_target(&[("app", "a")], &policy(None, Some("gw"))));
        assert!(is_target(&gateway, &policy(Some("a"), None)));
        assert!(is_target(&gateway, &policy(Some("other"), Some("gw"))));
        assert!(!is_target(&gateway, &policy(None, Some("other"))));
    }
}

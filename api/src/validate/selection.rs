//! Which workloads or targets a policy is for.
//!
//! Source: Istio `type/v1beta1/selector.proto`.

use super::{At, Findings, labels};
use crate::istio::r#type::v1beta1::{PolicyTargetReference, WorkloadSelector};

/// What a policy may be attached to: group and kind. `core` stands for the empty group.
const TARGETS: [(&str, &str); 4] = [
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

/// The ways in which a policy says what it is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// `selector`.
    pub selector: Option<&'a WorkloadSelector>,
    /// `targetRef`.
    pub target_ref: Option<&'a PolicyTargetReference>,
    /// `targetRefs`.
    pub target_refs: &'a [PolicyTargetReference],
}

impl Selection<'_> {
    /// Checks that there is one way at most, and that it can be followed.
    pub fn check(&self, spec: &At<'_>, out: &mut Findings) {
        let ways = [self.selector.is_some(), self.target_ref.is_some(), !self.target_refs.is_empty()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            out.error(spec, "selector, targetRef and targetRefs exclude each other; leave only one of them");
        }
        selector(spec, self.selector, out);
        if let Some(target) = self.target_ref {
            reference(&spec.field("targetRef"), target, out);
        }
        for (i, target) in self.target_refs.iter().enumerate() {
            reference(&spec.field("targetRefs").index(i), target, out);
        }
    }
}

/// Checks the labels by which a policy selects workloads.
pub fn selector(spec: &At<'_>, selector: Option<&WorkloadSelector>, out: &mut Findings) {
    if let Some(selector) = selector {
        labels::selector(&spec.field("selector").field("matchLabels"), &selector.match_labels, out);
    }
}

fn reference(at: &At<'_>, target: &PolicyTargetReference, out: &mut Findings) {
    if target.name.is_empty() {
        out.error(&at.field("name"), "missing: name the target");
    }
    if !target.namespace.is_empty() {
        out.error(&at.field("namespace"), "a policy is for targets of its own namespace; remove the field");
    }
    let group = if target.group.is_empty() { "core" } else { &target.group };
    if !TARGETS.contains(&(group, &target.kind)) {
        let message = format!(
            "{}/{} is nothing that a policy can be for; name a Service, a ServiceEntry, a Gateway of the Gateway API or a GatewayClass",
            target.group, target.kind
        );
        out.error(at, message);
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Row, check};
    use crate::istio::telemetry::v1alpha1::Telemetry;
    use serde_json::json;

    #[test]
    fn a_policy_is_for_one_thing_that_it_can_be_for() {
        let target =
            |group: &str, kind: &str| json!({"targetRefs": [{"group": group, "kind": kind, "name": "a"}]});
        let gateway = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "a"});
        let labels = json!({"matchLabels": {"app": "a"}});
        check::<Telemetry>(&[
            Row("nothing", json!({}), &[], &[]),
            Row("labels", json!({"selector": labels}), &[], &[]),
            Row("no labels", json!({"selector": {}}), &[], &["spec.selector.matchLabels"]),
            Row(
                "a wildcard",
                json!({"selector": {"matchLabels": {"app": "a*"}}}),
                &["spec.selector.matchLabels[app]"],
                &[],
            ),
            Row(
                "a label without a name",
                json!({"selector": {"matchLabels": {"": "a"}}}),
                &["spec.selector.matchLabels"],
                &[],
            ),
            Row("a target", json!({"targetRef": gateway}), &[], &[]),
            Row("two ways", json!({"targetRef": gateway, "targetRefs": [gateway]}), &["spec"], &[]),
            Row("two ways", json!({"selector": labels, "targetRefs": [gateway]}), &["spec"], &[]),
            Row("a Service", target("", "Service"), &[], &[]),
            Row("a Service", target("core", "Service"), &[], &[]),
            Row("a ServiceEntry", target("networking.istio.io", "ServiceEntry"), &[], &[]),
            Row("a class", target("gateway.networking.k8s.io", "GatewayClass"), &[], &[]),
            Row("Istio's Gateway", target("networking.istio.io", "Gateway"), &["spec.targetRefs[0]"], &[]),
            Row("a Pod", target("", "Pod"), &["spec.targetRefs[0]"], &[]),
            Row("no name", json!({"targetRef": {"kind": "Service"}}), &["spec.targetRef.name"], &[]),
            Row(
                "elsewhere",
                json!({"targetRef": {"kind": "Service", "name": "a", "namespace": "b"}}),
                &["spec.targetRef.namespace"],
                &[],
            ),
        ]);
    }
}

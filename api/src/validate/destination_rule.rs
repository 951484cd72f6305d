//! Rules of DestinationRules.

use super::load_balancer::load_balancer;
use super::scalar::{self, ExportOf, export_to};
use super::traffic::{connection_pool, outlier_detection};
use super::virtual_service::subset_name;
use super::{At, Findings, Validate, host, labels, tls};
use crate::istio::networking::v1alpha3::traffic_policy::{PortTrafficPolicy, TunnelSettings};
use crate::istio::networking::v1alpha3::{DestinationRule, TrafficPolicy};
use crate::k8s::ObjectMeta;

impl Validate for DestinationRule {
    fn validate(&self, meta: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        let namespace = &meta.namespace;
        out.check(&spec.field("host"), host::wildcard_domain(&self.host));
        traffic_policy(&spec.field("trafficPolicy"), namespace, self.traffic_policy.as_ref(), out);
        for (i, subset) in self.subsets.iter().enumerate() {
            let at = spec.field("subsets");
            let at = at.index(i);
            if self.subsets[..i].iter().any(|other| other.name == subset.name) {
                out.error(&at.field("name"), format!("{} is the name of another subset, too", subset.name));
            }
            out.check(&at.field("name"), subset_name(&subset.name));
            labels::labels(&at.field("labels"), &subset.labels, out);
            traffic_policy(&at.field("trafficPolicy"), namespace, subset.traffic_policy.as_ref(), out);
        }
        let of = if self.workload_selector.is_some() { ExportOf::SelectingRule } else { ExportOf::Other };
        export_to(&spec.field("exportTo"), namespace, &self.export_to, of, out);
        if let Some(selector) = &self.workload_selector {
            let at = spec.field("workloadSelector");
            labels::selector(&at.field("matchLabels"), &selector.match_labels, out);
        }
    }
}

fn traffic_policy(at: &At<'_>, namespace: &str, policy: Option<&TrafficPolicy>, out: &mut Findings) {
    let Some(policy) = policy else { return };
    if *policy == TrafficPolicy::default() {
        return out.error(at, "is empty; give it a field, or leave it out");
    }
    if policy.tunnel.is_some() && policy.proxy_protocol.is_some() {
        return out.error(&at.field("proxyProtocol"), "stands beside tunnel; remove one of them");
    }
    let outlier = policy.outlier_detection.as_ref();
    outlier_detection(&at.field("outlierDetection"), outlier, out);
    connection_pool(&at.field("connectionPool"), policy.connection_pool.as_ref(), out);
    load_balancer(&at.field("loadBalancer"), policy.load_balancer.as_ref(), outlier.is_some(), out);
    tls::client(&at.field("tls"), namespace, policy.tls.as_ref(), out);
    for (i, port) in policy.port_level_settings.iter().enumerate() {
        port_policy(&at.field("portLevelSettings").index(i), namespace, port, out);
    }
    if let Some(tunnel) = &policy.tunnel {
        self::tunnel(&at.field("tunnel"), tunnel, out);
    }
}

fn port_policy(at: &At<'_>, namespace: &str, policy: &PortTrafficPolicy, out: &mut Findings) {
    if policy.port.is_none() {
        out.error(&at.field("port"), "is missing; say for which port it is");
    }
    if *policy == (PortTrafficPolicy { port: policy.port, ..PortTrafficPolicy::default() }) {
        return out.error(at, "says nothing about its port; give it another field");
    }
    let outlier = policy.outlier_detection.as_ref();
    outlier_detection(&at.field("outlierDetection"), outlier, out);
    connection_pool(&at.field("connectionPool"), policy.connection_pool.as_ref(), out);
    load_balancer(&at.field("loadBalancer"), policy.load_balancer.as_ref(), outlier.is_some(), out);
    tls::client(&at.field("tls"), namespace, policy.tls.as_ref(), out);
}

fn tunnel(at: &At<'_>, tunnel: &TunnelSettings, out: &mut Findings) {
    if !matches!(tunnel.protocol.as_str(), "" | "CONNECT" | "POST") {
        out.error(&at.field("protocol"), format!("{:?} is neither CONNECT nor POST", tunnel.protocol));
    }
    if !host::is_ip(&tunnel.target_host) {
        out.check(&at.field("targetHost"), host::fqdn(&tunnel.target_host));
    }
    out.check(&at.field("targetPort"), scalar::port(tunnel.target_port));
}

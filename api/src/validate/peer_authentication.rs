//! PeerAuthentication.

use super::{At, Findings, Validate, scalar, selection};
use crate::istio::security::v1beta1::PeerAuthentication;
use crate::k8s::ObjectMeta;

impl Validate for PeerAuthentication {
    fn validate(&self, _: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        let ports = spec.field("portLevelMtls");
        let for_all = self.selector.as_ref().is_none_or(|s| s.match_labels.is_empty());
        if for_all && !self.port_level_mtls.is_empty() {
            out.error(&ports, "ports are those of a workload; select some by labels, or remove the field");
        }
        for port in self.port_level_mtls.keys() {
            out.check(&ports.key(&port.to_string()), scalar::port(*port));
        }
        selection::selector(spec, self.selector.as_ref(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Row, check};
    use super::PeerAuthentication;
    use serde_json::json;

    #[test]
    fn modes_of_ports_are_of_workloads() {
        let labels = json!({"matchLabels": {"app": "a"}});
        let ports = |port: &str| json!({"selector": labels, "portLevelMtls": {port: {"mode": "STRICT"}}});
        check::<PeerAuthentication>(&[
            Row("nothing", json!({}), &[], &[]),
            Row("a mode", json!({"mtls": {"mode": "STRICT"}}), &[], &[]),
            Row("a port", ports("8080"), &[], &[]),
            Row("port 0", ports("0"), &["spec.portLevelMtls[0]"], &[]),
            Row("a port too far", ports("65536"), &["spec.portLevelMtls[65536]"], &[]),
            Row("no workload", json!({"portLevelMtls": {"80": {}}}), &["spec.portLevelMtls"], &[]),
            Row(
                "all workloads",
                json!({"selector": {}, "portLevelMtls": {"80": {}}}),
                &["spec.portLevelMtls"],
                &["spec.selector.matchLabels"],
            ),
            Row(
                "a wildcard",
                json!({"selector": {"matchLabels": {"app": "*"}}}),
                &["spec.selector.matchLabels[app]"],
                &[],
            ),
        ]);
    }
}

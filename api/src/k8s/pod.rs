//! `v1` Pod.

use serde::Deserialize;

use super::base::{ApiGroupKind, ObjectMeta, or_default};

/// A Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(deserialize_with = "or_default")]
    pub spec: PodSpec,
    /// What is so.
    #[serde(deserialize_with = "or_default")]
    pub status: PodStatus,
}

impl Pod {
    /// The kind.
    pub const KIND: ApiGroupKind = ApiGroupKind { group: "", kind: "Pod" };
}

/// `spec` of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Name of its node, empty until it has one.
    #[serde(deserialize_with = "or_default")]
    pub node_name: String,
    /// Name of its service account, as a rule `default`; empty only before admission.
    #[serde(deserialize_with = "or_default")]
    pub service_account_name: String,
    /// Whether it shares the network of its node.
    #[serde(deserialize_with = "or_default")]
    pub host_network: bool,
    /// Its DNS label within `subdomain`, empty means its name.
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    /// The headless Service that gives it a DNS name, empty if none.
    #[serde(deserialize_with = "or_default")]
    pub subdomain: String,
    /// Containers.
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    /// Containers that run first, or beside the others if they restart always.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
}

/// A container of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Ports it says it listens on.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ContainerPort>,
    /// `Always` for an init container that runs beside the others.
    pub restart_policy: Option<String>,
}

/// A port of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name, empty if none.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Port.
    #[serde(deserialize_with = "or_default")]
    pub container_port: u16,
    /// `TCP`, `UDP` or `SCTP`; empty means `TCP`.
    #[serde(deserialize_with = "or_default")]
    pub protocol: String,
}

/// `status` of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    #[serde(deserialize_with = "or_default")]
    pub phase: String,
    /// Its first address, empty until it has one.
    #[serde(rename = "podIP", deserialize_with = "or_default")]
    pub pod_ip: String,
    /// All its addresses, of both families.
    #[serde(rename = "podIPs", deserialize_with = "or_default")]
    pub pod_ips: Vec<PodIp>,
    /// Its conditions, such as `Ready`.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<PodCondition>,
}

impl PodStatus {
    /// Whether its condition `Ready` is true.
    pub fn is_ready(&self) -> bool {
        self.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
    }

    /// Whether it has run to its end, so that its address may be another's by now.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// An address of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodIp {
    /// Address.
    #[serde(deserialize_with = "or_default")]
    pub ip: String,
}

/// A condition of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// Name of the condition.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[serde(deserialize_with = "or_default")]
    pub status: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_pod_is_read() {
        let pod: Pod = from_value(json!({
            "metadata": {"name": "a", "labels": null},
            "spec": {"nodeName": "n", "serviceAccountName": "s", "volumes": [{"name": "v"}],
                "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80}]}],
                "initContainers": [{"name": "istio-proxy", "restartPolicy": "Always"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}]}}))
        .unwrap();
        assert!(pod.status.is_ready() && !pod.status.is_finished());
        assert_eq!(pod.spec.containers[0].ports[0].container_port, 80);
        assert_eq!(pod.spec.init_containers[0].restart_policy.as_deref(), Some("Always"));
        assert_eq!(pod.status.pod_ips[1].ip, "fd00::1");
    }

    #[test]
    fn a_port_out_of_range_is_an_error() {
        let pod = json!({"spec": {"containers": [{"ports": [{"containerPort": 70_000}]}]}});
        let error = crate::object::decode::<Pod>(pod).unwrap_err();
        assert_eq!(error.field, "spec.containers[0].ports[0].containerPort");
    }
}

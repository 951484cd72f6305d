//! `v1` Service.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::base::{ApiGroupKind, IntOrString, ObjectMeta, or_default};

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(deserialize_with = "or_default")]
    pub spec: ServiceSpec,
    /// What is so.
    #[serde(deserialize_with = "or_default")]
    pub status: ServiceStatus,
}

impl Service {
    /// The kind.
    pub const KIND: ApiGroupKind = ApiGroupKind { group: "", kind: "Service" };
}

/// A Service without its metadata, for those who keep that in a form of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceBody {
    /// What is wanted.
    pub spec: ServiceSpec,
    /// What is so.
    pub status: ServiceStatus,
}

/// `spec` of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`; empty means `ClusterIP`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub type_: String,
    /// The virtual address; `None` as text for a headless Service, empty if there is none (yet).
    #[serde(rename = "clusterIP", deserialize_with = "or_default")]
    pub cluster_ip: String,
    /// All virtual addresses, of both families; the first is `cluster_ip`.
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    pub cluster_ips: Vec<String>,
    /// Ports.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ServicePort>,
    /// Labels of the Pods behind it; empty if somebody else names the endpoints.
    #[serde(deserialize_with = "or_default")]
    pub selector: BTreeMap<String, String>,
    /// The DNS name of an `ExternalName` Service.
    #[serde(deserialize_with = "or_default")]
    pub external_name: String,
    /// Further addresses that traffic may come to.
    #[serde(rename = "externalIPs", deserialize_with = "or_default")]
    pub external_ips: Vec<String>,
    /// The address asked of the cloud's load balancer.
    #[serde(rename = "loadBalancerIP", deserialize_with = "or_default")]
    pub load_balancer_ip: String,
    /// `Cluster` or `Local`; empty means `Cluster`.
    #[serde(deserialize_with = "or_default")]
    pub external_traffic_policy: String,
    /// `Cluster` or `Local`; empty means `Cluster`.
    #[serde(deserialize_with = "or_default")]
    pub internal_traffic_policy: String,
    /// Which endpoints are preferred: `PreferClose`, `PreferSameZone`, `PreferSameNode`; empty means none.
    #[serde(deserialize_with = "or_default")]
    pub traffic_distribution: String,
    /// Whether endpoints that are not ready count as ready.
    #[serde(deserialize_with = "or_default")]
    pub publish_not_ready_addresses: bool,
    /// `IPv4`, `IPv6`, in order of preference.
    #[serde(deserialize_with = "or_default")]
    pub ip_families: Vec<String>,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Name, empty only if it is the only port.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Port of the Service.
    #[serde(deserialize_with = "or_default")]
    pub port: u16,
    /// Port of the Pods; the number 0 means the same as `port`.
    #[serde(deserialize_with = "or_default")]
    pub target_port: IntOrString,
    /// Port on every node, 0 if none.
    #[serde(deserialize_with = "or_default")]
    pub node_port: u16,
    /// `TCP`, `UDP` or `SCTP`; empty means `TCP`.
    #[serde(deserialize_with = "or_default")]
    pub protocol: String,
    /// The application's protocol, such as `http` or `kubernetes.io/h2c`.
    pub app_protocol: Option<String>,
}

/// `status` of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// What the load balancer has given.
    #[serde(deserialize_with = "or_default")]
    pub load_balancer: LoadBalancerStatus,
}

/// What a load balancer has given a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerStatus {
    /// Where traffic may enter.
    #[serde(deserialize_with = "or_default")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// An address of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    /// Address, empty if there is only a name.
    #[serde(deserialize_with = "or_default")]
    pub ip: String,
    /// DNS name, empty if there is only an address.
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_service_is_read() {
        let service: Service = from_value(json!({
            "metadata": {"name": "a"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "selector": null,
                "ports": [{"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http"}, {"port": 81}],
                "externalIPs": ["192.0.2.1"], "sessionAffinity": "None"},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}}}))
        .unwrap();
        assert_eq!(service.spec.ports[0].target_port, IntOrString::String("web".into()));
        assert_eq!(service.spec.ports[1].target_port, IntOrString::default());
        assert_eq!(service.spec.external_ips, ["192.0.2.1"]);
        assert_eq!(service.status.load_balancer.ingress[0].ip, "192.0.2.2");
    }

    #[test]
    fn null_parts_read_as_missing() {
        let service: Service =
            from_value(json!({"spec": {"ports": null}, "status": {"loadBalancer": null}})).unwrap();
        assert_eq!(service, Service::default());
    }
}

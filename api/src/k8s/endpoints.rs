//! `discovery.k8s.io/v1` EndpointSlice and `v1` Endpoints.

use serde::Deserialize;

use super::base::{ApiGroupKind, ObjectMeta, ObjectReference, or_default};

/// An EndpointSlice: some of the endpoints of a Service, which its label `kubernetes.io/service-name` names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(deserialize_with = "or_default")]
    pub address_type: String,
    /// Ports, the same for all endpoints of the slice.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<EndpointPort>,
    /// Endpoints.
    #[serde(deserialize_with = "or_default")]
    pub endpoints: Vec<Endpoint>,
}

impl EndpointSlice {
    /// The kind.
    pub const KIND: ApiGroupKind = ApiGroupKind { group: "discovery.k8s.io", kind: "EndpointSlice" };
    /// The label that names the Service.
    pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

    /// Name of the Service that the slice belongs to.
    pub fn service(&self) -> Option<&str> {
        self.metadata.labels.get(Self::SERVICE_LABEL).map(String::as_str)
    }
}

/// A port of endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// Name of the Service's port; empty if that has none.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Port of the endpoint; `None` means any.
    pub port: Option<u16>,
    /// `TCP`, `UDP` or `SCTP`; empty means `TCP`.
    #[serde(deserialize_with = "or_default")]
    pub protocol: String,
    /// The application's protocol.
    pub app_protocol: Option<String>,
}

/// An endpoint of a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Addresses that are one and the same endpoint; in practice one.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<String>,
    /// Its state.
    #[serde(deserialize_with = "or_default")]
    pub conditions: EndpointConditions,
    /// Its host name in the DNS of a headless Service.
    pub hostname: Option<String>,
    /// Name of its node.
    pub node_name: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// The object behind it, as a rule a Pod.
    pub target_ref: Option<ObjectReference>,
    /// For whom it is meant.
    pub hints: Option<EndpointHints>,
}

/// State of an endpoint; not set means unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointConditions {
    /// Whether it takes new traffic.
    pub ready: Option<bool>,
    /// Whether it answers, even if it is going.
    pub serving: Option<bool>,
    /// Whether it is going.
    pub terminating: Option<bool>,
}

impl EndpointConditions {
    /// Whether it takes new traffic; unknown counts as yes.
    pub fn is_ready(&self) -> bool {
        self.ready != Some(false)
    }

    /// Whether it answers; unknown counts as `ready`.
    pub fn is_serving(&self) -> bool {
        self.serving.unwrap_or_else(|| self.is_ready())
    }

    /// Whether it is going; unknown counts as no.
    pub fn is_terminating(&self) -> bool {
        self.terminating == Some(true)
    }
}

/// For whom an endpoint is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointHints {
    /// Clients of these zones.
    #[serde(deserialize_with = "or_default")]
    pub for_zones: Vec<EndpointZone>,
    /// Clients on these nodes.
    #[serde(deserialize_with = "or_default")]
    pub for_nodes: Vec<EndpointZone>,
}

/// A zone or a node of [`EndpointHints`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointZone {
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// The older form of the endpoints of a Service, which has the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoints {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    /// Groups of addresses with the same ports.
    #[serde(deserialize_with = "or_default")]
    pub subsets: Vec<EndpointSubset>,
}

impl Endpoints {
    /// The kind.
    pub const KIND: ApiGroupKind = ApiGroupKind { group: "", kind: "Endpoints" };
}

/// Addresses with the same ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSubset {
    /// Those that are ready.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<EndpointAddress>,
    /// Those that are not.
    #[serde(deserialize_with = "or_default")]
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// Ports.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<EndpointPort>,
}

/// An address of [`Endpoints`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointAddress {
    /// Address.
    #[serde(deserialize_with = "or_default")]
    pub ip: String,
    /// Its host name in the DNS of a headless Service.
    pub hostname: Option<String>,
    /// Name of its node.
    pub node_name: Option<String>,
    /// The object behind it, as a rule a Pod.
    pub target_ref: Option<ObjectReference>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_slice_is_read() {
        let slice: EndpointSlice = from_value(json!({
            "metadata": {"name": "a-x", "labels": {"kubernetes.io/service-name": "a"}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": null, "port": null}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "nodeName": "n", "zone": "z",
                "targetRef": {"kind": "Pod", "name": "p", "namespace": "b", "uid": "u"},
                "hints": {"forZones": [{"name": "z"}]}}]}))
        .unwrap();
        assert_eq!(slice.service(), Some("a"));
        assert_eq!((slice.ports[0].port, slice.ports[1].port), (Some(8080), None));
        assert_eq!(slice.endpoints[0].hints.as_ref().unwrap().for_zones[0].name, "z");
    }

    #[test]
    fn a_slice_of_no_endpoints_has_null() {
        let slice: EndpointSlice = from_value(json!({"endpoints": null, "ports": null})).unwrap();
        assert_eq!(slice, EndpointSlice::default());
    }

    #[test]
    fn unknown_conditions_have_a_meaning() {
        let unknown = EndpointConditions::default();
        assert!(unknown.is_ready() && unknown.is_serving() && !unknown.is_terminating());
        let not_ready = EndpointConditions { ready: Some(false), ..Default::default() };
        assert!(!not_ready.is_ready() && !not_ready.is_serving());
    }

    #[test]
    fn endpoints_are_read() {
        let endpoints: Endpoints = from_value(json!({
            "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": null, "ports": [{"port": 80}]}]}))
        .unwrap();
        assert_eq!(endpoints.subsets[0].addresses[0].ip, "10.0.0.1");
    }
}

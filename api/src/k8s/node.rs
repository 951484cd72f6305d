//! `v1` Node and Namespace.

use serde::Deserialize;

use super::base::{ApiGroupKind, ObjectMeta, or_default};

/// A Node; its labels tell region and zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    /// What is so.
    #[serde(deserialize_with = "or_default")]
    pub status: NodeStatus,
}

impl Node {
    /// The kind.
    pub const KIND: ApiGroupKind = ApiGroupKind { group: "", kind: "Node" };
}

/// `status` of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Its addresses.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<NodeAddress>,
}

/// An address of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, `InternalDNS` or `ExternalDNS`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub type_: String,
    /// Address or name.
    #[serde(deserialize_with = "or_default")]
    pub address: String,
}

/// A Namespace; the mesh reads its labels and annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
}

impl Namespace {
    /// The kind.
    pub const KIND: ApiGroupKind = ApiGroupKind { group: "", kind: "Namespace" };
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_node_is_read() {
        let node: Node = from_value(json!({
            "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z"}},
            "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {"addresses": [{"type": "ExternalIP", "address": "192.0.2.1"}], "images": []}}))
        .unwrap();
        assert_eq!(node.status.addresses[0].type_, "ExternalIP");
        assert_eq!(from_value::<Namespace>(json!({"spec": {}})).unwrap(), Namespace::default());
    }
}

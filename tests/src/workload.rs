//! The objects that a cluster holds for a workload: what the scheduler, the kubelet and the controllers would have made.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// A Pod of a Deployment.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// The value of its label `app`, and the name of its service account.
    pub app: String,
    /// The value of its label `version`.
    pub version: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The node that it runs on.
    pub node: String,
    /// More labels.
    pub labels: Vec<(String, String)>,
}

/// The node that workloads run on if nothing else is said.
pub const NODE: &str = "node-a";

impl Workload {
    /// A Pod without more labels.
    pub fn new(namespace: &str, app: &str, version: &str, address: [u8; 4]) -> Self {
        let [namespace, app, version] = [namespace, app, version].map(String::from);
        Self { namespace, app, version, address: address.into(), node: NODE.into(), labels: Vec::new() }
    }

    /// Moves it to a node.
    pub fn on(mut self, node: &str) -> Self {
        self.node = node.into();
        self
    }

    /// Adds a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// `APP-VERSION`, as its server calls itself.
    pub fn name(&self) -> String {
        format!("{}-{}", self.app, self.version)
    }

    /// The name of its Pod: several Pods of a version differ by address.
    pub fn pod_name(&self) -> String {
        let [.., third, fourth] = self.address.octets();
        format!("{}-7d9f8b6c5-{:05}", self.name(), u16::from_be_bytes([third, fourth]))
    }

    /// Its Pod, if it has no proxy.
    pub fn plain_pod(&self) -> Value {
        let mut pod = self.pod();
        if let Some(labels) = pod["metadata"]["labels"].as_object_mut() {
            labels.remove("security.istio.io/tlsMode");
        }
        pod
    }

    /// Its Pod. It has a sidecar or is a gateway, and so takes part in mutual TLS.
    pub fn pod(&self) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.pod_name(), "namespace": self.namespace,
                "labels": {"app": self.app, "version": self.version, "security.istio.io/tlsMode": "istio"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                    "name": format!("{}-7d9f8b6c5", self.name()), "uid": "00000000-0000-0000-0000-000000000001",
                }],
            },
            "spec": {"serviceAccountName": self.app, "nodeName": self.node, "containers": [{"name": "app", "image": "app"}]},
            "status": {
                "phase": "Running", "podIP": self.address, "podIPs": [{"ip": self.address}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        for (name, value) in &self.labels {
            pod["metadata"]["labels"][name] = value.clone().into();
        }
        pod
    }
}

/// A port of a service: name, port, and the port of its Pods.
pub type Port<'a> = (&'a str, u16, u16);

/// A service with a cluster IP, that selects by the label `app`.
pub fn service(namespace: &str, app: &str, address: [u8; 4], ports: &[Port<'_>]) -> Value {
    let address = Ipv4Addr::from(address);
    let ports: Vec<_> = ports
        .iter()
        .map(|(name, port, target)| json!({"name": name, "port": port, "targetPort": target, "protocol": "TCP"}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": app, "namespace": namespace, "labels": {"app": app}},
        "spec": {"clusterIP": address, "clusterIPs": [address], "selector": {"app": app}, "ports": ports},
    })
}

/// The EndpointSlice of a service with these Pods, all ready.
pub fn slice(namespace: &str, app: &str, ports: &[Port<'_>], members: &[&Workload]) -> Value {
    let ports: Vec<_> = ports
        .iter()
        .map(|(name, _, target)| json!({"name": name, "port": target, "protocol": "TCP"}))
        .collect();
    let endpoints: Vec<_> = members
        .iter()
        .map(|m| {
            json!({
                "addresses": [m.address], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": m.node, "targetRef": {"kind": "Pod", "name": m.pod_name(), "namespace": namespace},
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{app}-0"), "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": app,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "ports": ports, "endpoints": endpoints,
    })
}

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": name, "labels": {"kubernetes.io/metadata.name": name, "istio-injection": "enabled"},
    }})
}

/// The node [`NODE`].
pub fn node() -> Value {
    node_in(NODE, "region1", "zone-a")
}

/// A node in a region and zone.
pub fn node_in(name: &str, region: &str, zone: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone,
        }},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]},
    })
}

//! Where a workload runs, and the labels that say so.
//!
//! Source: Istio `pilot/pkg/serviceregistry/util/label`, `pkg/model/proxy.go` (`GetLocalityLabel`).

use super::Mesh;
use crate::labels::Labels;
use crate::workload::{Node, Pod};
use crate::{Locality, Str, endpoint::EndpointWorkload};

/// The label of a workload's region.
pub const REGION: &str = "topology.kubernetes.io/region";
/// The label of a workload's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// The label of a workload's subzone.
pub const SUBZONE: &str = "topology.istio.io/subzone";
/// The label of a workload's cluster.
pub const CLUSTER: &str = "topology.istio.io/cluster";
/// The label of a workload's network.
pub const NETWORK: &str = "topology.istio.io/network";
/// The label of a workload's node.
pub const HOSTNAME: &str = "kubernetes.io/hostname";

const TLS_MODE: &str = "security.istio.io/tlsMode";

/// The locality that a workload's own labels declare; `None` where they declare none.
pub fn declared_locality(labels: &Labels) -> Option<Locality> {
    let text = labels.get("topology.istio.io/locality").or_else(|| labels.get("istio-locality"))?;
    if text.is_empty() {
        return None;
    }
    // A label's value cannot hold a slash, so dots stand for them.
    Some(if text.contains('/') { Locality::parse(text) } else { Locality::parse(&text.replace('.', "/")) })
}

/// The locality of a node, from its labels.
pub fn node_locality(node: &Node) -> Locality {
    let label = |name: &str, old: &str| -> Str {
        let set = |name| node.labels.get(name).filter(|v| !v.is_empty());
        set(name).or_else(|| set(old)).unwrap_or_default().into()
    };
    Locality {
        region: label(REGION, "failure-domain.beta.kubernetes.io/region"),
        zone: label(ZONE, "failure-domain.beta.kubernetes.io/zone"),
        subzone: label(SUBZONE, SUBZONE),
    }
}

/// The locality of a Pod: its own labels win over its node.
pub fn pod_locality(pod: &Pod, node: Option<&Node>) -> Locality {
    declared_locality(&pod.labels).or_else(|| node.map(node_locality)).unwrap_or_default()
}

/// `labels` with what is known of the place: a label of the workload's own is kept for the network only.
pub fn augment(labels: &Labels, cluster: &str, locality: &Locality, node: &str, network: &str) -> Labels {
    let set = [
        (REGION, &*locality.region),
        (ZONE, &*locality.zone),
        (SUBZONE, &*locality.subzone),
        (CLUSTER, cluster),
        (HOSTNAME, node),
    ];
    let mut added: Vec<(&str, &str)> = set.into_iter().filter(|(_, v)| !v.is_empty()).collect();
    if !network.is_empty() && labels.get(NETWORK).is_none_or(str::is_empty) {
        added.push((NETWORK, network));
    }
    labels.with_all(added)
}

/// Whether a workload's labels say that it accepts Istio's mutual TLS.
pub fn istio_tls(labels: &Labels) -> bool {
    labels.get(TLS_MODE) == Some("istio")
}

/// Whether a workload's labels say anything about TLS.
pub fn declares_tls(labels: &Labels) -> bool {
    labels.get(TLS_MODE).is_some()
}

/// What the endpoints of a Pod have in common.
pub fn pod_workload(mesh: &Mesh<'_>, pod: &Pod, node: Option<&Node>) -> EndpointWorkload {
    let locality = pod_locality(pod, node);
    let network = mesh.networks.of(pod.ip(), &pod.labels);
    let cluster = &mesh.settings.cluster_id;
    EndpointWorkload {
        labels: augment(&pod.labels, cluster, &locality, &pod.node, &network),
        service_account: mesh.spiffe_id(&pod.namespace, &pod.service_account),
        network,
        locality,
        cluster: cluster.clone(),
        istio_tls: istio_tls(&pod.labels),
        namespace: pod.namespace.clone(),
        name: pod.workload.clone(),
        node: pod.node.clone(),
    }
}

/// What is known of an address that belongs to no Pod.
pub fn bare_workload(mesh: &Mesh<'_>, address: &str) -> EndpointWorkload {
    let network = mesh.networks.of(address, &Labels::default());
    let cluster = &mesh.settings.cluster_id;
    EndpointWorkload {
        labels: augment(&Labels::default(), cluster, &Locality::default(), "", &network),
        network,
        cluster: cluster.clone(),
        ..EndpointWorkload::default()
    }
}

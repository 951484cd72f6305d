//! Objects of Kubernetes, cut down to what the world keeps of them.

use crate::config::{Config, Meta};
use crate::labels::Labels;
use crate::object::{ConfigMap, KubeService, Secret, Slice, SliceEndpoint, SlicePort};
use crate::workload::{ContainerPort, Namespace, Node, Pod};
use crate::{NsName, Str};
use meltemi_api::k8s;
use std::collections::BTreeMap;

/// The annotation in which `kubectl apply` repeats the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Slices of services that another cluster exports belong to no local Service.
const MCS_SERVICE: &str = "multicluster.kubernetes.io/service-name";

/// The metadata of any object.
pub fn meta(from: &k8s::ObjectMeta) -> Meta {
    Meta {
        name: from.name.as_str().into(),
        namespace: from.namespace.as_str().into(),
        labels: labels(&from.labels),
        annotations: select(&from.annotations, |name| name != LAST_APPLIED),
        creation: from.creation_timestamp.parse::<jiff::Timestamp>().map_or(0, |t| t.as_second()),
        resource_version: from.resource_version.as_str().into(),
        generation: from.generation,
        ..Meta::default()
    }
}

fn labels(from: &BTreeMap<String, String>) -> Labels {
    from.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

fn select(from: &BTreeMap<String, String>, keep: impl Fn(&str) -> bool) -> Labels {
    from.iter().filter(|(k, _)| keep(k)).map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

/// A Pod.
pub fn pod(from: &k8s::Pod) -> Pod {
    let (meta, spec, status) = (&from.metadata, &from.spec, &from.status);
    let mut ips: Vec<Str> = Vec::new();
    for ip in std::iter::once(&status.pod_ip).chain(status.pod_ips.iter().map(|i| &i.ip)) {
        if !ip.is_empty() && !ips.iter().any(|known| **known == **ip) {
            ips.push(ip.as_str().into());
        }
    }
    // A container that starts first and keeps running is a sidecar like any other.
    let lasting = spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let (workload, workload_kind) = workload(meta);
    Pod {
        name: meta.name.as_str().into(),
        namespace: meta.namespace.as_str().into(),
        uid: meta.uid.as_str().into(),
        labels: labels(&meta.labels),
        // What the injector notes about its own work is long and of no use afterwards.
        annotations: select(&meta.annotations, |name| {
            name.contains("istio.io/")
                && !matches!(name, "proxy.istio.io/overrides" | "sidecar.istio.io/status")
        }),
        ips,
        node: spec.node_name.as_str().into(),
        service_account: spec.service_account_name.as_str().into(),
        workload: workload.into(),
        workload_kind: workload_kind.into(),
        host_network: spec.host_network,
        phase: status.phase.as_str().into(),
        ready: status.is_ready(),
        terminating: meta.deletion_timestamp.is_some(),
        ports: spec.containers.iter().chain(lasting).flat_map(|c| &c.ports).map(container_port).collect(),
        hostname: spec.hostname.as_str().into(),
        subdomain: spec.subdomain.as_str().into(),
    }
}

fn container_port(from: &k8s::ContainerPort) -> ContainerPort {
    ContainerPort {
        name: from.name.as_str().into(),
        port: from.container_port.into(),
        protocol: transport(&from.protocol),
    }
}

fn transport(protocol: &str) -> Str {
    if protocol.is_empty() { "TCP".into() } else { protocol.into() }
}

/// Name and kind of what made a Pod. Source: Istio `pkg/kube/util.go` (`GetWorkloadMetaFromPod`).
fn workload(meta: &k8s::ObjectMeta) -> (String, String) {
    let (mut name, kind) = controller(meta).unwrap_or_else(|| (meta.name.clone(), "Pod".to_owned()));
    if let Some(given) = meta.labels.get("service.istio.io/workload-name") {
        name.clone_from(given);
    }
    (name, kind)
}

fn controller(meta: &k8s::ObjectMeta) -> Option<(String, String)> {
    // Only a Pod whose name was generated has been made by a controller that makes many.
    if meta.generate_name.is_empty() {
        return None;
    }
    let owner = meta.owner_references.iter().find(|o| o.controller)?;
    let without_hash = |label: &str| {
        let hash = meta.labels.get(label).filter(|h| !h.is_empty())?;
        let cut = owner.name.strip_suffix(hash.as_str())?;
        Some(cut.strip_suffix('-').unwrap_or(&owner.name).to_owned())
    };
    let found = match owner.kind.as_str() {
        "ReplicaSet" => without_hash("pod-template-hash")
            .map(|name| (name, "Deployment"))
            .or_else(|| without_hash("rollouts-pod-template-hash").map(|name| (name, "Rollout"))),
        "ReplicationController" => meta
            .labels
            .get("deploymentconfig")
            .filter(|name| !name.is_empty())
            .map(|name| (name.clone(), "DeploymentConfig")),
        "Job" => cron_job(&owner.name).map(|name| (name, "CronJob")),
        _ => None,
    };
    let (name, kind) = found.unwrap_or_else(|| (owner.name.clone(), owner.kind.as_str()));
    Some((if name.is_empty() { meta.name.clone() } else { name }, kind.to_owned()))
}

/// The CronJob behind a Job, whose name it ends with the minute or second of its schedule.
fn cron_job(job: &str) -> Option<String> {
    let (name, stamp) = job.rsplit_once('-')?;
    let digits = (8..=10).contains(&stamp.len()) && stamp.bytes().all(|b| b.is_ascii_digit());
    (digits && !name.is_empty()).then(|| name.to_owned())
}

/// A Node.
pub fn node(from: &k8s::Node) -> Node {
    Node {
        name: from.metadata.name.as_str().into(),
        labels: labels(&from.metadata.labels),
        addresses: from
            .status
            .addresses
            .iter()
            .map(|a| (a.type_.as_str().into(), a.address.as_str().into()))
            .collect(),
    }
}

/// A Namespace.
pub fn namespace(from: &k8s::Namespace) -> Namespace {
    Namespace {
        name: from.metadata.name.as_str().into(),
        labels: labels(&from.metadata.labels),
        annotations: select(&from.metadata.annotations, |name| name != LAST_APPLIED),
    }
}

/// A Service.
pub fn service(from: k8s::Service) -> KubeService {
    Config { meta: meta(&from.metadata), spec: k8s::ServiceBody { spec: from.spec, status: from.status } }
}

/// A Secret.
pub fn secret(from: k8s::Secret) -> Config<Secret> {
    let data = from.data.into_iter().map(|(k, v)| (k.into(), v)).collect();
    Config { meta: meta(&from.metadata), spec: Secret { kind: from.type_.into(), data } }
}

/// A ConfigMap; binary data is left out.
pub fn config_map(from: k8s::ConfigMap) -> Config<ConfigMap> {
    Config {
        meta: meta(&from.metadata),
        spec: from.data.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
    }
}

/// An EndpointSlice; `None` if it belongs to no Service of this cluster.
pub fn slice(from: &k8s::EndpointSlice) -> Option<Slice> {
    let service = from.service().filter(|name| !name.is_empty())?;
    if from.metadata.labels.contains_key(MCS_SERVICE) {
        return None;
    }
    Some(Slice {
        key: NsName::new(from.metadata.namespace.as_str(), from.metadata.name.as_str()),
        service: service.into(),
        address_type: from.address_type.as_str().into(),
        labels: labels(&from.metadata.labels),
        ports: from.ports.iter().map(slice_port).collect(),
        endpoints: from.endpoints.iter().map(slice_endpoint).collect(),
    })
}

fn slice_port(from: &k8s::EndpointPort) -> SlicePort {
    SlicePort {
        name: from.name.as_str().into(),
        port: from.port.unwrap_or_default().into(),
        protocol: transport(&from.protocol),
    }
}

fn slice_endpoint(from: &k8s::Endpoint) -> SliceEndpoint {
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().into();
    SliceEndpoint {
        addresses: from.addresses.iter().map(|a| a.as_str().into()).collect(),
        ready: from.conditions.is_ready(),
        serving: from.conditions.serving,
        terminating: from.conditions.terminating,
        hostname: text(&from.hostname),
        node: text(&from.node_name),
        zone: text(&from.zone),
        pod: target_pod(from.target_ref.as_ref()),
    }
}

fn target_pod(target: Option<&k8s::ObjectReference>) -> Option<NsName> {
    let target = target.filter(|t| t.kind == "Pod")?;
    Some(NsName::new(target.namespace.as_str(), target.name.as_str()))
}

/// The slices that Kubernetes' mirroring would make of an Endpoints object, for a Service that has no slices: one for
/// each of its subsets and address family.
pub fn slices_of_endpoints(from: &k8s::Endpoints) -> Vec<Slice> {
    let (namespace, name) = (from.metadata.namespace.as_str(), from.metadata.name.as_str());
    let mut slices = Vec::new();
    for (i, subset) in from.subsets.iter().enumerate() {
        for family in ["IPv4", "IPv6"] {
            let ready = subset.addresses.iter().map(|a| (a, true));
            let all = ready.chain(subset.not_ready_addresses.iter().map(|a| (a, false)));
            let endpoints: Vec<SliceEndpoint> = all
                .filter(|(a, _)| a.ip.contains(':') == (family == "IPv6"))
                .map(|(address, ready)| SliceEndpoint {
                    addresses: vec![address.ip.as_str().into()],
                    ready,
                    serving: Some(ready),
                    terminating: Some(false),
                    hostname: address.hostname.as_deref().unwrap_or_default().into(),
                    node: address.node_name.as_deref().unwrap_or_default().into(),
                    zone: Str::default(),
                    pod: target_pod(address.target_ref.as_ref()),
                })
                .collect();
            if !endpoints.is_empty() {
                slices.push(Slice {
                    key: NsName::new(namespace, format!("{name}-{i}-{}", family.to_ascii_lowercase())),
                    service: name.into(),
                    address_type: family.into(),
                    labels: labels(&from.metadata.labels),
                    ports: subset.ports.iter().map(slice_port).collect(),
                    endpoints,
                });
            }
        }
    }
    slices
}

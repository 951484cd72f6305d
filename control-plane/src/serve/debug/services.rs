//! Services, their endpoints, and gateways between networks.

use meltemi_translation::index::networks::Networks;
use meltemi_world::service::Registry;
use meltemi_world::visibility::Visibility;
use meltemi_world::{Endpoint, Health, Port, Resolution, Service, Snapshot};
use serde_json::{Map, Value, json};

use super::{Answer, Look, Query};

/// All services, by namespace and host.
pub(super) fn registryz(look: &Look, _: &Query) -> Answer {
    let snapshot = look.world.snapshot();
    Answer::Json(snapshot.registry.services().map(|s| service(&snapshot, s)).collect())
}

/// A service, in the fields of istiod's `model.Service`.
pub(super) fn service(snapshot: &Snapshot, service: &Service) -> Value {
    let cluster = &*snapshot.settings.cluster_id;
    let by_cluster = |addresses: &[meltemi_world::Str]| json!({"Addresses": {cluster: addresses}});
    let mut attributes = json!({
        "ServiceRegistry": registry(service),
        "Name": &*service.name,
        "Namespace": &*service.namespace,
        "Labels": labels(&service.labels),
        "ExportTo": export_to(service),
        "LabelSelectors": labels(&service.selector),
        "Aliases": service.aliases.iter()
            .map(|a| json!({"Hostname": &*a.hostname, "Namespace": &*a.namespace})).collect::<Value>(),
        "Type": &*service.kind,
        "ExternalName": service.external_name.as_deref().unwrap_or_default(),
        "NodeLocal": service.node_local,
        "ObjectName": &*service.object_name,
        "PublishNotReadyAddresses": service.publish_not_ready,
    });
    attributes["ClusterExternalAddresses"] = by_cluster(&service.external_addresses);
    if !service.external_ports.is_empty() {
        attributes["ClusterExternalPorts"] = json!({cluster: service.external_ports});
    }
    if !service.passthrough_target_ports.is_empty() {
        attributes["PassthroughTargetPorts"] = json!(service.passthrough_target_ports);
    }
    let mut out = json!({
        "Attributes": attributes,
        "ports": service.ports.iter().map(port).collect::<Value>(),
        "hostname": &*service.hostname,
        "defaultAddress": service.default_address(),
        "Resolution": resolution(service.resolution),
        "MeshExternal": service.mesh_external,
    });
    if service.registry == Registry::Kubernetes {
        out["clusterVIPs"] = by_cluster(&service.addresses);
    }
    if !service.service_accounts.is_empty() {
        out["serviceAccounts"] = service.service_accounts.iter().map(|a| a.to_string()).collect();
    }
    for address in &service.auto_addresses {
        let family =
            if address.contains(':') { "autoAllocatedIPv6Address" } else { "autoAllocatedIPv4Address" };
        out[family] = address.to_string().into();
    }
    if let Some(creation) = super::configs::creation(service.creation) {
        out["creationTime"] = creation.into();
    }
    out
}

/// A port, in the fields of istiod's `model.Port`.
pub(super) fn port(port: &Port) -> Value {
    json!({"name": &*port.name, "port": port.port, "protocol": port.protocol.to_string()})
}

fn registry(service: &Service) -> &'static str {
    match service.registry {
        Registry::Kubernetes => "Kubernetes",
        Registry::External => "External",
    }
}

/// istiod's numbers of `model.Resolution`.
fn resolution(resolution: Resolution) -> u8 {
    match resolution {
        Resolution::ClientSideLb => 0,
        Resolution::DnsLb => 1,
        Resolution::Passthrough => 2,
        Resolution::DnsRoundRobinLb => 3,
        Resolution::Alias => 4,
        Resolution::DynamicDns => 5,
    }
}

fn export_to(service: &Service) -> Value {
    match &service.export_to {
        None => Value::Null,
        Some(Visibility::Public) => json!({"*": {}}),
        Some(Visibility::Namespaces(names)) => {
            Value::Object(names.iter().map(|n| (n.to_string(), json!({}))).collect())
        }
    }
}

fn labels(labels: &meltemi_world::labels::Labels) -> Value {
    Value::Object(labels.iter().map(|(k, v)| (k.to_owned(), v.into())).collect())
}

/// Endpoints by host and namespace, in the fields of istiod's `EndpointShards`.
pub(super) fn endpoint_shards(look: &Look, _: &Query) -> Answer {
    let snapshot = look.world.snapshot();
    let mut out: Map<String, Value> = Map::new();
    for service in snapshot.registry.services() {
        let all = snapshot.registry.endpoints(&service.key());
        if all.is_empty() {
            continue;
        }
        let shard = format!("{}/{}", registry(service), snapshot.settings.cluster_id);
        let accounts: Map<String, Value> = all
            .iter()
            .map(|e| e.workload.service_account.to_string())
            .filter(|a| !a.is_empty())
            .map(|a| (a, json!({})))
            .collect();
        let shards = json!({"Shards": {shard: all.iter().map(endpoint).collect::<Value>()}, "ServiceAccounts": accounts});
        out.entry(service.hostname.to_string()).or_insert_with(|| json!({}))[&*service.namespace] = shards;
    }
    Answer::Json(out.into())
}

/// An endpoint, in the fields of istiod's `IstioEndpoint`.
fn endpoint(endpoint: &Endpoint) -> Value {
    let workload = &endpoint.workload;
    json!({
        "Labels": labels(&workload.labels),
        "Addresses": endpoint.addresses.iter().map(|a| a.to_string()).collect::<Value>(),
        "ServicePortName": &*endpoint.port_name,
        "ServiceAccount": &*workload.service_account,
        "Network": &*workload.network,
        "Locality": {"Label": workload.locality.label(), "ClusterID": &*workload.cluster},
        "EndpointPort": endpoint.port,
        "LbWeight": endpoint.weight,
        "TLSMode": if workload.istio_tls { "istio" } else { "disabled" },
        "Namespace": &*workload.namespace,
        "WorkloadName": &*workload.name,
        "HostName": &*endpoint.hostname,
        "SubDomain": &*endpoint.subdomain,
        "HealthStatus": match endpoint.health {
            Health::Unknown => 0,
            Health::Healthy => 1,
            Health::Unhealthy => 2,
            Health::Draining => 3,
            Health::Terminating => 4,
        },
        "NodeName": &*workload.node,
    })
}

/// Gateways between networks.
pub(super) fn networkz(look: &Look, _: &Query) -> Answer {
    let networks = Networks::build(&look.world.snapshot());
    let gateway = |g: &meltemi_translation::index::networks::NetworkGateway| json!({"Network": &*g.network, "Cluster": &*g.cluster, "Addr": &*g.address, "Port": g.port});
    Answer::Json(networks.all().iter().map(gateway).collect())
}

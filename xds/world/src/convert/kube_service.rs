//! Kubernetes Services as services of the mesh.
//!
//! Source: Istio `pilot/pkg/serviceregistry/kube/conversion.go`, `pkg/config/kube`.

use super::Mesh;
use crate::labels::Labels;
use crate::object::KubeService;
use crate::service::{Registry, TargetPort, TrafficDistribution};
use crate::visibility::Visibility;
use crate::workload::{Namespace, Node};
use crate::{NsName, Port, Protocol, Resolution, Service, ServiceKey, Str};
use meltemi_api::k8s;
use std::collections::{BTreeMap, BTreeSet};

const NODE_SELECTOR: &str = "traffic.istio.io/nodeSelector";
const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// The host of the Service `id`.
pub fn hostname(id: &NsName, domain: &str) -> Str {
    format!("{}.{}.svc.{domain}", id.name, id.namespace).into()
}

/// The key of the Service `id`.
pub fn key(id: &NsName, domain: &str) -> ServiceKey {
    ServiceKey { namespace: id.namespace.clone(), hostname: hostname(id, domain) }
}

/// The Service that a host names, whether or not there is one.
pub fn id_of_host(host: &str, domain: &str) -> Option<NsName> {
    let rest = host.strip_suffix(domain)?.strip_suffix(".svc.")?;
    let (name, namespace) = rest.split_once('.')?;
    (!namespace.contains('.')).then(|| NsName::new(namespace, name))
}

/// The Service that defines `key`, whether or not there is one.
pub fn id(key: &ServiceKey, domain: &str) -> Option<NsName> {
    id_of_host(&key.hostname, domain).filter(|id| id.namespace == key.namespace)
}

/// Converts a Service, save for what depends on others: the aliases that point to it and the addresses of nodes.
pub fn service(mesh: &Mesh<'_>, kube: &KubeService, namespace: Option<&Namespace>) -> Service {
    let (meta, spec) = (&kube.meta, &kube.spec.spec);
    let external_name = (spec.type_ == "ExternalName" && !spec.external_name.is_empty())
        .then(|| spec.external_name.as_str().into());
    let resolution = match spec.cluster_ip.as_str() {
        "None" => Resolution::Passthrough,
        _ if external_name.is_some() => Resolution::Alias,
        _ => Resolution::ClientSideLb,
    };
    let addresses = match (spec.cluster_ip.as_str(), spec.cluster_ips.len()) {
        ("None" | "", _) => vec![Service::UNSPECIFIED.into()],
        (ip, 0 | 1) => vec![ip.into()],
        _ => spec.cluster_ips.iter().map(|a| a.as_str().into()).collect(),
    };
    let annotation = |name: &str| meta.annotations.get(name).unwrap_or_default();
    let distribution = traffic_distribution(&spec.traffic_distribution, &meta.annotations, namespace);
    let node_ports = is_node_port_gateway(kube).then(|| {
        spec.ports.iter().map(|p| (u32::from(p.port), u32::from(p.node_port))).collect::<BTreeMap<_, _>>()
    });
    Service {
        name: meta.name.clone(),
        object_name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        hostname: hostname(&meta.key(), &mesh.settings.domain),
        registry: Registry::Kubernetes,
        ports: spec.ports.iter().map(port).collect(),
        addresses,
        auto_addresses: Vec::new(),
        resolution,
        mesh_external: external_name.is_some(),
        labels: meta.labels.clone(),
        selector: spec.selector.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        export_to: export_to(annotation("networking.istio.io/exportTo"), &meta.namespace),
        service_accounts: service_accounts(mesh, &meta.annotations, &meta.namespace),
        creation: meta.creation,
        node_local: spec.internal_traffic_policy == "Local",
        publish_not_ready: spec.publish_not_ready_addresses,
        traffic_distribution: distribution,
        kind: spec.type_.as_str().into(),
        external_name,
        external_addresses: external_addresses(&kube.spec),
        external_ports: node_ports.unwrap_or_default(),
        aliases: Vec::new(),
        races_addresses: false,
        passthrough_target_ports: BTreeMap::new(),
    }
}

fn port(port: &k8s::ServicePort) -> Port {
    Port {
        name: port.name.as_str().into(),
        port: port.port.into(),
        protocol: protocol(port.port, &port.name, &port.protocol, port.app_protocol.as_deref()),
        target: match &port.target_port {
            k8s::IntOrString::String(name) => TargetPort::Name(name.as_str().into()),
            // The apiserver fills this in; a file need not.
            k8s::IntOrString::Int(n) if *n <= 0 => TargetPort::Number(port.port.into()),
            k8s::IntOrString::Int(n) => TargetPort::Number(n.unsigned_abs()),
        },
    }
}

/// The protocol of a port of a Service.
pub fn protocol(port: u16, name: &str, transport: &str, app_protocol: Option<&str>) -> Protocol {
    if transport == "UDP" {
        return Protocol::Udp;
    }
    let name = match app_protocol {
        Some("kubernetes.io/h2c") => return Protocol::Http2,
        Some("kubernetes.io/ws") => return Protocol::Http,
        Some("kubernetes.io/wss") => return Protocol::Https,
        Some(given) => given,
        None => name,
    };
    const GRPC_WEB: &str = "grpc-web";
    if name.get(..GRPC_WEB.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(GRPC_WEB)) {
        return Protocol::GrpcWeb;
    }
    match Protocol::parse(name.split('-').next().unwrap_or_default()) {
        // SMTP, DNS, MySQL and MongoDB: the server speaks first, so sniffing would wait in vain.
        Protocol::Auto if matches!(port, 25 | 53 | 3306 | 27017) => Protocol::Tcp,
        found => found,
    }
}

fn export_to(annotation: &str, namespace: &str) -> Option<Visibility> {
    if annotation.is_empty() { None } else { Visibility::parse(annotation.split(','), namespace) }
}

fn service_accounts(mesh: &Mesh<'_>, annotations: &Labels, namespace: &str) -> Vec<Str> {
    let list =
        |name: &str| annotations.get(name).filter(|v| !v.is_empty()).into_iter().flat_map(|v| v.split(','));
    list("alpha.istio.io/canonical-serviceaccounts")
        .map(Into::into)
        .chain(
            list("alpha.istio.io/kubernetes-serviceaccounts")
                .map(|account| mesh.spiffe_id(namespace, account)),
        )
        .collect()
}

/// How traffic prefers near endpoints: the field, then the object's annotation, then the namespace's.
pub fn traffic_distribution(field: &str, own: &Labels, namespace: Option<&Namespace>) -> TrafficDistribution {
    match field {
        "PreferSameZone" | "PreferClose" => return TrafficDistribution::PreferSameZone,
        "PreferSameNode" => return TrafficDistribution::PreferSameNode,
        _ => {}
    }
    let inherited = namespace.and_then(|ns| ns.annotations.get(TRAFFIC_DISTRIBUTION));
    let own = own.get(TRAFFIC_DISTRIBUTION).filter(|v| !v.is_empty());
    match own.or(inherited).map(str::to_ascii_lowercase).as_deref() {
        Some("preferclose" | "prefersamezone") => TrafficDistribution::PreferSameZone,
        Some("prefersamenode") => TrafficDistribution::PreferSameNode,
        _ => TrafficDistribution::Any,
    }
}

/// Whether a change of the namespace's annotations can be seen in its services.
pub fn inherits_differently(old: Option<&Namespace>, new: Option<&Namespace>) -> bool {
    let value = |ns: Option<&Namespace>| traffic_distribution("", &Labels::default(), ns);
    value(old) != value(new)
}

fn external_addresses(body: &k8s::ServiceBody) -> Vec<Str> {
    let mut found: Vec<Str> = Vec::new();
    if body.spec.type_ == "LoadBalancer" {
        for ingress in &body.status.load_balancer.ingress {
            let address = if ingress.ip.is_empty() { &ingress.hostname } else { &ingress.ip };
            if !address.is_empty() {
                found.push(address.as_str().into());
            }
        }
    }
    found.extend(body.spec.external_ips.iter().map(|a| a.as_str().into()));
    found
}

/// The host that an ExternalName Service is another name of.
pub fn alias_target(kube: &KubeService) -> Option<Str> {
    let spec = &kube.spec.spec;
    let alias = spec.type_ == "ExternalName" && !spec.external_name.is_empty() && spec.cluster_ip != "None";
    alias.then(|| spec.external_name.as_str().into())
}

/// Whether the Service is a gateway that is reached by node ports.
pub fn is_node_port_gateway(kube: &KubeService) -> bool {
    kube.spec.spec.type_ == "NodePort" && kube.meta.annotations.get(NODE_SELECTOR).is_some()
}

/// The external addresses of the nodes that a gateway's annotation selects, sorted.
pub fn node_addresses<'a>(kube: &KubeService, nodes: impl Iterator<Item = &'a Node>) -> Vec<Str> {
    let text = kube.meta.annotations.get(NODE_SELECTOR).unwrap_or_default();
    // An annotation that cannot be read selects every node, as in Istio.
    let selector: BTreeMap<String, String> = serde_json::from_str(text).unwrap_or_default();
    let found: BTreeSet<Str> =
        nodes.filter(|n| n.labels.matches(&selector)).filter_map(external_ip).cloned().collect();
    found.into_iter().collect()
}

fn external_ip(node: &Node) -> Option<&Str> {
    node.addresses
        .iter()
        .find(|(kind, address)| &**kind == "ExternalIP" && !address.is_empty())
        .map(|(_, a)| a)
}

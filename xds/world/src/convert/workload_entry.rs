//! Workloads that selectors match: WorkloadEntries, and Pods as ServiceEntries see them.
//!
//! Source: Istio `pilot/pkg/serviceregistry/serviceentry/conversion.go`, and `serviceInstanceFromWorkloadInstance`
//! of the Kubernetes registry.

use super::{Mesh, topology};
use crate::config::{Config, Meta};
use crate::endpoint::EndpointWorkload;
use crate::labels::Labels;
use crate::object::KubeService;
use crate::service::{Registry, TargetPort};
use crate::workload::Pod;
use crate::{Endpoint, Health, Locality, NsName, Resolution, Service, Str};
use meltemi_api::istio::networking::v1alpha3 as networking;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The prefix of an address that is a path.
pub const UNIX: &str = "unix://";

/// A workload, before it is known which service's endpoint it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The object behind it.
    pub id: NsName,
    /// Its addresses, see [`Endpoint::addresses`].
    pub addresses: Vec<Str>,
    /// Its ports by name.
    pub ports: BTreeMap<Str, u32>,
    /// What its endpoints have in common.
    pub workload: Arc<EndpointWorkload>,
    /// Load-balancing weight; 0 where not given.
    pub weight: u32,
    /// Whether it may be sent traffic.
    pub health: Health,
    /// See [`Endpoint::hostname`].
    pub hostname: Str,
    /// See [`Endpoint::subdomain`].
    pub subdomain: Str,
}

impl Instance {
    /// An instance of an entry; `meta` is that of its object.
    pub fn of_entry(mesh: &Mesh<'_>, meta: &Meta, entry: &networking::WorkloadEntry) -> Self {
        // The object's own labels win over those of its spec.
        let spec: Labels = entry.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let labels = if meta.labels.is_empty() { spec } else { spec.with_all(meta.labels.iter()) };
        let locality = match entry.locality.as_str() {
            "" => topology::declared_locality(&labels).unwrap_or_default(),
            given => Locality::parse(given),
        };
        let network: Str = match entry.network.as_str() {
            "" => mesh.networks.of(&entry.address, &labels),
            given => given.into(),
        };
        let cluster = &mesh.settings.cluster_id;
        let account = entry.service_account.as_str();
        let name = meta.annotations.get("istio.io/autoRegistrationGroup");
        let name = name.or_else(|| meta.labels.get("service.istio.io/workload-name"));
        let workload = EndpointWorkload {
            labels: topology::augment(&labels, cluster, &locality, "", &network),
            service_account: if account.is_empty() {
                "".into()
            } else {
                mesh.spiffe_id(&meta.namespace, account)
            },
            // Only a network that the entry names makes its endpoint one of another network; the rest is a label.
            network: entry.network.as_str().into(),
            locality,
            cluster: cluster.clone(),
            istio_tls: topology::istio_tls(&labels)
                || !topology::declares_tls(&labels) && !account.is_empty(),
            namespace: meta.namespace.clone(),
            name: name.map_or_else(|| meta.name.clone(), Str::from),
            node: "".into(),
        };
        Self {
            id: meta.key(),
            addresses: vec![entry.address.as_str().into()],
            ports: entry.ports.iter().map(|(name, port)| (name.as_str().into(), *port)).collect(),
            workload: Arc::new(workload),
            weight: entry.weight,
            health: Health::Unknown,
            hostname: "".into(),
            subdomain: "".into(),
        }
    }

    /// An instance of a Pod.
    pub fn of_pod(mesh: &Mesh<'_>, pod: &Pod, workload: Arc<EndpointWorkload>) -> Self {
        let dual = mesh.settings.features.dual_stack && pod.ips.len() > 1;
        let mut ports = BTreeMap::new();
        for port in pod.ports.iter().filter(|p| !p.name.is_empty() && &*p.protocol == "TCP") {
            ports.entry(port.name.clone()).or_insert(port.port); // the first of a name wins (kubernetes#54213)
        }
        let (hostname, subdomain) = pod.dns_name();
        Self {
            id: pod.key(),
            addresses: if dual { pod.ips.clone() } else { vec![pod.ip().into()] },
            ports,
            workload,
            weight: 0,
            health: Health::Healthy,
            hostname,
            subdomain,
        }
    }

    /// The labels that selectors match.
    pub fn labels(&self) -> &Labels {
        &self.workload.labels
    }

    /// Whether only a service that is found by DNS can have it: its address is a name or a path.
    pub fn is_dns_only(&self) -> bool {
        let address = self.address();
        !address.is_empty() && address.parse::<IpAddr>().is_err()
    }

    /// The first address.
    pub fn address(&self) -> &Str {
        &self.addresses[0]
    }

    /// The path of its socket, if it is reached by one.
    pub fn socket(&self) -> Option<&str> {
        if self.addresses.len() == 1 { self.address().strip_prefix(UNIX) } else { None }
    }

    /// An endpoint of this instance; `service_port` as in [`Endpoint::service_port`].
    pub fn endpoint(&self, port_name: Str, service_port: u32, port: u32) -> Endpoint {
        Endpoint {
            addresses: self.addresses.clone(),
            port,
            port_name,
            service_port,
            workload: self.workload.clone(),
            weight: self.weight,
            health: self.health,
            hostname: self.hostname.clone(),
            subdomain: self.subdomain.clone(),
        }
    }
}

/// The instance of a WorkloadEntry; `None` while its health check fails.
pub fn instance(mesh: &Mesh<'_>, config: &Config<networking::WorkloadEntry>) -> Option<Instance> {
    let checked = config.meta.annotations.get("proxy.istio.io/health-checks-enabled");
    let checked = checked.is_some_and(|v| matches!(v, "1" | "t" | "T" | "true" | "TRUE" | "True"));
    let healthy = config.meta.status.as_ref().and_then(|s| s.healthy).unwrap_or(false);
    (!checked || healthy).then(|| Instance::of_entry(mesh, &config.meta, &config.spec))
}

/// Whether a Kubernetes Service can have this instance as an endpoint.
pub fn selects(service: &Service, instance: &Instance) -> bool {
    service.registry == Registry::Kubernetes
        && service.resolution == Resolution::ClientSideLb
        && !service.selector.is_empty()
        && service.namespace == instance.id.namespace
        && !instance.is_dns_only()
        && instance.labels().contains_all(&service.selector)
}

/// The port of an instance behind a port of a Kubernetes Service; `None` if it has none.
pub fn target_port(kube: &KubeService, service: &Service, index: usize, instance: &Instance) -> Option<u32> {
    let port = &service.ports[index];
    let named = |name: &str| instance.ports.get(name).copied().filter(|p| *p != 0);
    match &port.target {
        TargetPort::Name(name) => named(name),
        TargetPort::Number(number) => {
            let given = kube.spec.spec.ports.get(index).is_some_and(|p| p.target_port != Default::default());
            // The entry's port of this name wins over the Service's number.
            let own = if given { named(&port.name) } else { None };
            Some(own.unwrap_or(*number))
        }
    }
}

/// The endpoints that instances give a Kubernetes Service, port by port.
pub fn endpoints<'a>(
    kube: &KubeService,
    service: &Service,
    instances: impl Iterator<Item = &'a Instance> + Clone,
) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for (index, port) in service.ports.iter().enumerate() {
        for instance in instances.clone() {
            if let Some(number) = target_port(kube, service, index, instance) {
                found.push(instance.endpoint(port.name.clone(), 0, number));
            }
        }
    }
    found
}

//! Services of the registry, from Kubernetes Services and from ServiceEntries alike.

use crate::labels::Labels;
use crate::visibility::Visibility;
use crate::{Protocol, Str};
use std::collections::BTreeMap;
use std::fmt;

/// What identifies a service: one host may exist in several namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The namespace of the object that defines the service.
    pub namespace: Str,
    /// The service's fully qualified host name, possibly a wildcard.
    pub hostname: Str,
}

impl ServiceKey {
    /// The key of `hostname` defined in `namespace`.
    pub fn new(namespace: impl Into<Str>, hostname: impl Into<Str>) -> Self {
        Self { namespace: namespace.into(), hostname: hostname.into() }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

/// How Envoy finds the endpoints of a service (Istio `model.Resolution`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Endpoints by EDS.
    ClientSideLb,
    /// STRICT_DNS of each endpoint's host.
    DnsLb,
    /// The original destination address (headless Services, ServiceEntry `NONE`).
    Passthrough,
    /// LOGICAL_DNS (ServiceEntry `DNS_ROUND_ROBIN`).
    DnsRoundRobinLb,
    /// An ExternalName Service: another name of its target.
    Alias,
    /// A dynamic forward proxy (ServiceEntry `DYNAMIC_DNS`).
    DynamicDns,
}

/// Where a service came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registry {
    /// A Kubernetes Service.
    Kubernetes,
    /// A ServiceEntry.
    External,
}

/// How traffic prefers endpoints that are near (Istio `TrafficDistribution`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficDistribution {
    /// No preference.
    #[default]
    Any,
    /// The same network, region, zone and subzone first.
    PreferSameZone,
    /// The same node first, then as `PreferSameZone`.
    PreferSameNode,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// The port's name; endpoints refer to it.
    pub name: Str,
    /// The number clients connect to.
    pub port: u32,
    /// What it speaks.
    pub protocol: Protocol,
    /// What a workload listens on, as the Service or ServiceEntry says.
    pub target: TargetPort,
}

/// The port of a workload behind a service port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// A number.
    Number(u32),
    /// The name of a container's port.
    Name(Str),
}

/// A service: a host with ports, and how to reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The name of the defining object. For a ServiceEntry: its host, as in Istio.
    pub name: Str,
    /// The name of the Kubernetes object behind it (Istio `ObjectName`).
    pub object_name: Str,
    /// The namespace of the defining object.
    pub namespace: Str,
    /// The fully qualified host name.
    pub hostname: Str,
    /// Where it came from.
    pub registry: Registry,
    /// Its ports, in the object's order.
    pub ports: Vec<Port>,
    /// Its virtual addresses (IPs or CIDRs); `0.0.0.0` alone where it has none.
    pub addresses: Vec<Str>,
    /// The automatically allocated IPv4 and IPv6 addresses, where `addresses` is empty (ServiceEntries only).
    pub auto_addresses: Vec<Str>,
    /// How its endpoints are found.
    pub resolution: Resolution,
    /// Whether it stands outside the mesh: no mutual TLS.
    pub mesh_external: bool,
    /// Labels of the defining object.
    pub labels: Labels,
    /// The labels of the Pods (or WorkloadEntries) behind it; empty where it selects none.
    pub selector: Labels,
    /// Who may see it; `None` where the object does not say: the mesh's default.
    pub export_to: Option<Visibility>,
    /// SPIFFE IDs that its workloads may have in addition to those of its endpoints.
    pub service_accounts: Vec<Str>,
    /// When the defining object was created, in seconds since the epoch; 0 where unknown.
    pub creation: i64,
    /// Whether only endpoints on the client's node count (`internalTrafficPolicy: Local`).
    pub node_local: bool,
    /// Whether endpoints that are not ready count as healthy.
    pub publish_not_ready: bool,
    /// How traffic prefers near endpoints.
    pub traffic_distribution: TrafficDistribution,
    /// The kind of Kubernetes Service (`ClusterIP`, `LoadBalancer`, …), empty for a ServiceEntry.
    pub kind: Str,
    /// The target of an ExternalName Service.
    pub external_name: Option<Str>,
    /// Addresses from outside the cluster: of a load balancer, and `externalIPs`.
    pub external_addresses: Vec<Str>,
    /// Service port to node port, for gateways that are reached by node ports.
    pub external_ports: BTreeMap<u32, u32>,
    /// ExternalName Services whose target is this one.
    pub aliases: Vec<ServiceKey>,
    /// For ServiceEntries found by DNS: connect to whichever of a host's addresses answers first (annotation
    /// `istio.io/connect-strategy: RACE_FIRST_TCP_CONNECT`).
    pub races_addresses: bool,
    /// For `Resolution::Passthrough` ServiceEntries: service port to target port, where they differ.
    pub passthrough_target_ports: BTreeMap<u32, u32>,
}

impl Service {
    /// The address of a service that has no address of its own.
    pub const UNSPECIFIED: &'static str = "0.0.0.0";

    /// What identifies this service.
    pub fn key(&self) -> ServiceKey {
        ServiceKey { namespace: self.namespace.clone(), hostname: self.hostname.clone() }
    }

    /// The first address, `0.0.0.0` where there is none (Istio `DefaultAddress`).
    pub fn default_address(&self) -> &str {
        self.addresses.first().map_or(Self::UNSPECIFIED, |a| &**a)
    }

    /// The port with this number.
    pub fn port(&self, number: u32) -> Option<&Port> {
        self.ports.iter().find(|p| p.port == number)
    }

    /// Whether the service has no virtual address and its endpoints are reached one by one.
    pub fn is_headless(&self) -> bool {
        self.resolution == Resolution::Passthrough
    }
}

//! Endpoints: the addresses behind a service's ports.

use crate::Str;
use crate::labels::Labels;

/// Whether an endpoint may be sent traffic (Istio `HealthStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Nobody says: the endpoints of a ServiceEntry and WorkloadEntries without health checks. They get traffic.
    Unknown,
    /// Ready.
    Healthy,
    /// Not ready.
    Unhealthy,
    /// Shutting down, still serving those sessions that stick to it.
    Draining,
    /// Shutting down: never sent, not counted for failover.
    Terminating,
}

/// Where a workload runs: `region/zone/subzone`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// The region, empty where unknown.
    pub region: Str,
    /// The zone, empty where unknown.
    pub zone: Str,
    /// The subzone, empty where unknown.
    pub subzone: Str,
}

impl Locality {
    /// Reads `region/zone/subzone`; missing parts are empty, parts beyond the third are left out.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split('/');
        let mut next = || parts.next().unwrap_or_default().into();
        Self { region: next(), zone: next(), subzone: next() }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.subzone.is_empty()
    }

    /// `region/zone/subzone`, without empty parts at the end.
    pub fn label(&self) -> String {
        let full = format!("{}/{}/{}", self.region, self.zone, self.subzone);
        full.trim_end_matches('/').to_owned()
    }
}

/// One address behind one port of a service (Istio `IstioEndpoint`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// IP addresses (the first is used unless the proxy needs another family), a DNS name, or `unix://` and a path.
    pub addresses: Vec<Str>,
    /// The port to connect to; 0 for a Unix socket.
    pub port: u32,
    /// The name of the service port that it belongs to.
    pub port_name: Str,
    /// The number of that service port. 0 for a Kubernetes Service, where names are unique; several ServiceEntries of
    /// one host may use one name for several ports.
    pub service_port: u32,
    /// What describes the workload; shared by all endpoints of that workload.
    pub workload: std::sync::Arc<EndpointWorkload>,
    /// Load-balancing weight; 0 where not given.
    pub weight: u32,
    /// Whether it may be sent traffic.
    pub health: Health,
    /// The Pod's host name within its headless Service, empty where it has none.
    pub hostname: Str,
    /// The headless Service that the Pod names as its subdomain.
    pub subdomain: Str,
}

/// What endpoints of one workload have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndpointWorkload {
    /// The workload's labels, with the topology labels that Istio adds (region, zone, cluster, network, host name).
    pub labels: Labels,
    /// Its SPIFFE ID, empty where it has none.
    pub service_account: Str,
    /// Its network, empty for the default one.
    pub network: Str,
    /// Where it runs.
    pub locality: Locality,
    /// The cluster that it belongs to.
    pub cluster: Str,
    /// Whether it accepts Istio's mutual TLS (label `security.istio.io/tlsMode: istio`).
    pub istio_tls: bool,
    /// Its namespace.
    pub namespace: Str,
    /// The name of the workload (the Deployment, not the Pod).
    pub name: Str,
    /// The node that it runs on.
    pub node: Str,
}

impl Endpoint {
    /// The first address; empty where there is none.
    pub fn address(&self) -> &str {
        self.addresses.first().map_or("", |a| &**a)
    }

    /// Whether it stands behind this port of its service.
    pub fn is_behind(&self, port: &crate::Port) -> bool {
        match self.service_port {
            0 => self.port_name == port.name,
            number => number == port.port,
        }
    }

    /// The workload's labels.
    pub fn labels(&self) -> &Labels {
        &self.workload.labels
    }
}

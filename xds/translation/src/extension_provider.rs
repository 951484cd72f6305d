//! Services that MeshConfig's extension providers and similar settings name.
//!
//! Source: Istio `LookupCluster` (`pilot/pkg/model/telemetry_logging.go`).

use crate::{Cx, names};
use meltemi_world::{ServiceKey, Str};

/// A service of the registry and the cluster of one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCluster {
    /// The service's host.
    pub hostname: Str,
    /// The outbound cluster.
    pub cluster: String,
}

/// The service that `name` names, whoever may see it: `HOST`, if only one namespace has it, or `NAMESPACE/HOST`.
pub fn lookup(cx: &Cx<'_>, name: &str, port: u32) -> Option<ServiceCluster> {
    let registry = &cx.snapshot.registry;
    let parts: Vec<&str> = name.split('/').collect();
    let service = match parts[..] {
        [namespace, hostname] => registry.service(&ServiceKey::new(namespace, hostname)),
        _ => {
            let mut found = registry.by_host(name);
            found.next().filter(|_| found.next().is_none())
        }
    };
    let hostname = service?.hostname.clone();
    let cluster = names::outbound_cluster(port, "", &hostname);
    Some(ServiceCluster { hostname, cluster })
}

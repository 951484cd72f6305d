//! Services that MeshConfig's extension providers and similar settings name.
//!
//! Source: Istio `LookupCluster` (`pilot/pkg/model/telemetry_logging.go`).

use crate::{Cx, names};
use meltemi_api::istio::mesh::v1alpha1::{
    MeshConfig,
    mesh_config::extension_provider::{Provider, open_telemetry_tracing_provider},
};
use meltemi_world::{ServiceKey, Str};
use std::collections::BTreeSet;

/// A service of the registry and the cluster of one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCluster {
    /// The service's host.
    pub hostname: Str,
    /// The outbound cluster.
    pub cluster: String,
}

/// The hosts that the mesh's extension providers name: resources may depend on these services though no proxy sees them.
pub fn hosts(mesh: &MeshConfig) -> BTreeSet<&str> {
    let services = mesh.extension_providers.iter().filter_map(|p| p.provider.as_ref()).flat_map(services);
    services.map(|name| name.rsplit('/').next().unwrap_or(name)).collect()
}

fn services(provider: &Provider) -> Vec<&str> {
    use open_telemetry_tracing_provider::Sampling;
    match provider {
        Provider::EnvoyExtAuthzHttp(p) => vec![&p.service],
        Provider::EnvoyExtAuthzGrpc(p) => vec![&p.service],
        Provider::Zipkin(p) => vec![&p.service],
        Provider::Datadog(p) => vec![&p.service],
        Provider::Skywalking(p) => vec![&p.service],
        Provider::EnvoyHttpAls(p) => vec![&p.service],
        Provider::EnvoyTcpAls(p) => vec![&p.service],
        Provider::EnvoyOtelAls(p) => vec![&p.service],
        Provider::Sds(p) => vec![&p.service],
        Provider::Opentelemetry(p) => {
            let sampler =
                p.sampling.as_ref().and_then(|Sampling::DynatraceSampler(s)| s.http_service.as_ref());
            std::iter::once(p.service.as_str()).chain(sampler.map(|s| s.service.as_str())).collect()
        }
        // The rest name no service, or are tracers that Envoy no longer has.
        _ => Vec::new(),
    }
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

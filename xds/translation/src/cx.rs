//! The context of one translation: the world, its index, a proxy and what that proxy sees.

use crate::gateway::MergedGateway;
use crate::{Index, Scope};
use meltemi_world::registry::ServiceTarget;
use meltemi_world::{Proxy, Service, ServiceKey, Snapshot, Str};

/// Everything that a translation may read.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The world.
    pub snapshot: &'a Snapshot,
    /// Its configuration, arranged.
    pub index: &'a Index,
    /// The proxy, its labels refreshed from its Pod.
    pub proxy: &'a Proxy,
    /// What the proxy sees.
    pub scope: &'a Scope,
    /// The services that the proxy itself is an endpoint of (inbound).
    pub targets: &'a [ServiceTarget],
    /// A gateway's servers; `None` for sidecars, and for gateways that no Gateway resource applies to.
    pub gateway: Option<&'a MergedGateway>,
}

impl<'a> Cx<'a> {
    /// The service that the proxy sees under a host name.
    pub fn service(&self, hostname: &str) -> Option<&'a std::sync::Arc<Service>> {
        self.scope.service(hostname)
    }

    /// istiod's switches.
    pub fn features(&self) -> &'a meltemi_world::features::Features {
        &self.snapshot.settings.features
    }

    /// The mesh's settings.
    pub fn mesh(&self) -> &'a meltemi_api::istio::mesh::v1alpha1::MeshConfig {
        &self.snapshot.mesh
    }

    /// The SPIFFE IDs that the workloads of a service may have: those of its endpoints and those that it names
    /// itself, ordered, without repetition.
    pub fn service_accounts(&self, service: &Service) -> Vec<Str> {
        let mut accounts: Vec<Str> = self
            .snapshot
            .registry
            .endpoints(&ServiceKey::new(service.namespace.clone(), service.hostname.clone()))
            .iter()
            .map(|e| e.workload.service_account.clone())
            .chain(service.service_accounts.iter().cloned())
            .filter(|a| !a.is_empty())
            .collect();
        accounts.sort_unstable();
        accounts.dedup();
        accounts
    }
}

//! The context of one translation: the world, its index, a proxy and what that proxy sees.

use crate::findings::Findings;
use crate::gateway::MergedGateway;
use crate::{Index, Scope};
use meltemi_world::registry::ServiceTarget;
use meltemi_world::{Proxy, Service, Snapshot, Str};

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
    /// Where to say what could not be done.
    pub findings: &'a Findings,
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

    /// The proxy's own configuration: as it was started with, else the mesh's default.
    pub fn proxy_config(&self) -> Option<&'a meltemi_api::istio::mesh::v1alpha1::ProxyConfig> {
        self.proxy.metadata.proxy_config.as_deref().or(self.snapshot.mesh.default_config.as_ref())
    }

    /// The SPIFFE IDs that the workloads of a service may have: those of its endpoints and those that it names
    /// itself, in each of the mesh's trust domains, ordered, without repetition. Source: Istio
    /// `PushContext.addServiceAccounts`.
    pub fn service_accounts(&self, service: &Service) -> Vec<Str> {
        let endpoints = self.snapshot.registry.endpoints(&service.key());
        let of_endpoints = endpoints.iter().map(|e| &e.workload.service_account);
        let mut accounts: Vec<Str> =
            of_endpoints.chain(&service.service_accounts).filter(|a| !a.is_empty()).cloned().collect();
        accounts.sort_unstable();
        accounts.dedup();
        let aliases = &self.snapshot.mesh.trust_domain_aliases;
        if !aliases.is_empty() {
            let more: Vec<Str> = accounts.iter().flat_map(|a| in_trust_domains(a, aliases)).collect();
            accounts.extend(more);
            accounts.sort_unstable();
            accounts.dedup();
        }
        accounts
    }
}

/// An identity in other trust domains; nothing for what is no SPIFFE ID of a service account.
fn in_trust_domains(identity: &str, domains: &[String]) -> Vec<Str> {
    let Some(rest) = identity.strip_prefix("spiffe://") else { return Vec::new() };
    let parts: Vec<&str> = rest.split('/').collect();
    match parts[..] {
        [_, "ns", namespace, "sa", account] => {
            domains.iter().map(|d| format!("spiffe://{d}/ns/{namespace}/sa/{account}").into()).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_repeated_in_other_trust_domains() {
        let of = |id| {
            in_trust_domains(id, &["old".to_owned()]).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of("spiffe://td/ns/a/sa/b"), ["spiffe://old/ns/a/sa/b"]);
        assert!(of("www.example.com").is_empty());
        assert!(of("spiffe://td/workload/b").is_empty());
    }
}

//! From objects as users and Kubernetes write them to the registry's services and endpoints.
//!
//! Projections ([`project`]) turn what the apiserver or a file says into the world's own objects. The other modules
//! turn those into services and endpoints; they are functions of their arguments only.

pub mod ingress;
pub mod kube_endpoints;
pub mod kube_service;
pub mod network;
pub mod project;
pub mod service_entry;
pub mod topology;
pub mod workload_entry;

pub use network::Networks;

use crate::Str;
use crate::snapshot::Settings;

/// What conversions ask about the mesh as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Mesh<'a> {
    /// What the process was started with.
    pub settings: &'a Settings,
    /// The mesh's trust domain.
    pub trust_domain: &'a str,
    /// Which network an address is in.
    pub networks: &'a Networks,
}

impl Mesh<'_> {
    /// The SPIFFE ID of a service account.
    pub fn spiffe_id(&self, namespace: &str, account: &str) -> Str {
        // An `@` cannot stand in a URI's host; Istio writes a dot (`sanitizeTrustDomain`).
        format!("spiffe://{}/ns/{namespace}/sa/{account}", self.trust_domain.replace('@', ".")).into()
    }
}

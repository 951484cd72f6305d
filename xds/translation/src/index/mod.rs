//! The snapshot's configuration, arranged for the questions of translation.
//!
//! Each part is rebuilt only when an object of the kinds that it reads has changed; otherwise the next index shares
//! it with the one before.

pub mod authn;
pub mod authz;
pub mod cluster_local;
pub mod destination_rules;
pub mod envoy_filters;
pub mod extensions;
pub mod gateways;
pub mod networks;
pub mod request_authn;
pub mod services;
pub mod sidecars;
pub mod telemetry;
pub mod virtual_services;

use authn::PeerAuthentications;
use authz::AuthorizationPolicies;
use cluster_local::ClusterLocal;
use destination_rules::DestinationRules;
use envoy_filters::EnvoyFilters;
use extensions::Extensions;
use gateways::Gateways;
use meltemi_world::{ChangeSet, Kind, Snapshot};
use networks::Networks;
use request_authn::RequestAuthentications;
use services::Services;
use sidecars::Sidecars;
use std::sync::Arc;
use telemetry::Telemetries;
use virtual_services::VirtualServices;

/// All parts.
#[derive(Clone, Debug)]
pub struct Index {
    /// Services by who may see them.
    pub services: Arc<Services>,
    /// VirtualServices by gateway and by who may see them, delegates merged, names resolved.
    pub virtual_services: Arc<VirtualServices>,
    /// DestinationRules by host and by who may see them, merged.
    pub destination_rules: Arc<DestinationRules>,
    /// PeerAuthentications by namespace and workload.
    pub peer_authentications: Arc<PeerAuthentications>,
    /// RequestAuthentications by namespace.
    pub request_authentications: Arc<RequestAuthentications>,
    /// AuthorizationPolicies by namespace.
    pub authorization_policies: Arc<AuthorizationPolicies>,
    /// TrafficExtensions and WasmPlugins by namespace.
    pub extensions: Arc<Extensions>,
    /// Gateways between networks.
    pub networks: Arc<Networks>,
    /// Hosts that only proxies of their own cluster reach.
    pub cluster_local: Arc<ClusterLocal>,
    /// Sidecar resources by namespace, in order of precedence.
    pub sidecars: Arc<Sidecars>,
    /// Gateways in order of age.
    pub gateways: Arc<Gateways>,
    /// EnvoyFilters by namespace, their patches read.
    pub envoy_filters: Arc<EnvoyFilters>,
    /// Telemetry resources by namespace.
    pub telemetries: Arc<Telemetries>,
}

impl Index {
    /// Arranges a snapshot from scratch.
    pub fn build(snapshot: &Snapshot) -> Self {
        Self {
            services: Arc::new(Services::build(snapshot)),
            virtual_services: Arc::new(VirtualServices::build(snapshot)),
            destination_rules: Arc::new(DestinationRules::build(snapshot)),
            peer_authentications: Arc::new(PeerAuthentications::build(snapshot)),
            request_authentications: Arc::new(RequestAuthentications::build(snapshot)),
            authorization_policies: Arc::new(AuthorizationPolicies::build(snapshot)),
            extensions: Arc::new(Extensions::build(snapshot)),
            networks: Arc::new(Networks::build(snapshot)),
            cluster_local: Arc::new(ClusterLocal::build(snapshot)),
            sidecars: Arc::new(Sidecars::build(snapshot)),
            gateways: Arc::new(Gateways::build(snapshot)),
            envoy_filters: Arc::new(EnvoyFilters::build(snapshot)),
            telemetries: Arc::new(Telemetries::build(snapshot)),
        }
    }

    /// The index of the next snapshot: parts whose input did not change are shared.
    pub fn next(&self, snapshot: &Snapshot, changes: &ChangeSet) -> Self {
        if changes.mesh {
            return Self::build(snapshot);
        }
        let mut next = self.clone();
        let by_namespace = snapshot.mesh.service_entry_visibility.is_some() && changes.has(Kind::Namespace);
        if !changes.services.is_empty() || by_namespace {
            next.services = Arc::new(Services::build(snapshot));
            next.networks = Arc::new(Networks::build(snapshot));
        }
        if changes.has(Kind::VirtualService) {
            next.virtual_services = Arc::new(self.virtual_services.next(snapshot));
        }
        if changes.has(Kind::DestinationRule) {
            next.destination_rules = Arc::new(DestinationRules::build(snapshot));
        }
        if changes.has(Kind::PeerAuthentication) {
            next.peer_authentications = Arc::new(PeerAuthentications::build(snapshot));
        }
        if changes.has(Kind::RequestAuthentication) {
            next.request_authentications = Arc::new(RequestAuthentications::build(snapshot));
        }
        if changes.has(Kind::AuthorizationPolicy) {
            next.authorization_policies = Arc::new(AuthorizationPolicies::build(snapshot));
        }
        if changes.has(Kind::WasmPlugin) || changes.has(Kind::TrafficExtension) {
            next.extensions = Arc::new(Extensions::build(snapshot));
        }
        if changes.has(Kind::Sidecar) {
            next.sidecars = Arc::new(Sidecars::build(snapshot));
        }
        if changes.has(Kind::Gateway) {
            next.gateways = Arc::new(Gateways::build(snapshot));
        }
        if changes.has(Kind::EnvoyFilter) {
            next.envoy_filters = Arc::new(self.envoy_filters.next(snapshot));
        }
        if changes.has(Kind::Telemetry) {
            next.telemetries = Arc::new(Telemetries::build(snapshot));
        }
        next
    }
}

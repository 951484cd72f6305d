//! The snapshot: everything that is known, at one moment, immutable.

use crate::diagnostics::Diagnostic;
use crate::features::Features;
use crate::identity::SecretAccess;
use crate::jwks::Jwks;
use crate::object::{ConfigMap, KubeService, Secret, Slice};
use crate::registry::Registry;
use crate::workload::{Namespace, Node, Pod};
use crate::{Config, Kind, NsName, ServiceKey, Str};
use imbl::OrdMap;
use meltemi_api::istio::{
    extensions::v1alpha1::{TrafficExtension, WasmPlugin},
    mesh::v1alpha1::{MeshConfig, MeshNetworks},
    networking::v1alpha3 as networking,
    security::v1beta1 as security,
    telemetry::v1alpha1::Telemetry,
};
use meltemi_api::k8s::{IngressClassSpec, IngressSpec, ReferenceGrantSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// All objects of one kind, by namespace and name. Cloning shares everything.
pub type Table<T> = OrdMap<NsName, Arc<T>>;

/// The control plane's environment variables, which MeshConfig may refer to (`envName` of a provider's header). Their
/// values may be secrets, so they are never shown.
#[derive(Clone, Default, PartialEq)]
pub struct Environment(BTreeMap<Str, Str>);

impl Environment {
    /// The value of a variable, empty where it is not set.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(vars: T) -> Self {
        Self(vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What the process was started with and does not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The name of the cluster that is watched (`--clusterID`, `Kubernetes` by default).
    pub cluster_id: Str,
    /// The suffix of service names (`--domain`, `cluster.local` by default).
    pub domain: Str,
    /// The control plane's own namespace (`POD_NAMESPACE`, `istio-system` by default).
    pub namespace: Str,
    /// The control plane's revision (`REVISION`, `default` by default).
    pub revision: Str,
    /// Whether gateways may read Secrets only if the apiserver says so of their service account (`list secrets` in its
    /// namespace). Without an apiserver there is nobody to ask, and those of their own namespace are theirs.
    pub secret_access_reviewed: bool,
    /// istiod's switches.
    pub features: Features,
    /// The process's environment variables.
    pub environment: Environment,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_id: "Kubernetes".into(),
            domain: "cluster.local".into(),
            namespace: "istio-system".into(),
            revision: "default".into(),
            secret_access_reviewed: false,
            features: Features::default(),
            environment: Environment::default(),
        }
    }
}

/// Everything that translation may ask.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Snapshot {
    /// What the process was started with.
    pub settings: Arc<Settings>,
    /// Mesh-wide settings, defaults applied.
    pub mesh: Arc<MeshConfig>,
    /// Networks and their gateways.
    pub networks: Arc<MeshNetworks>,
    /// The certificates of the mesh's own authority, in PEM, one a text.
    pub roots: Arc<Vec<Str>>,
    pub namespaces: OrdMap<Str, Arc<Namespace>>,
    pub nodes: OrdMap<Str, Arc<Node>>,
    pub pods: Table<Pod>,
    /// Pod by each of its addresses, where it does not use the node's network.
    pub pods_by_ip: OrdMap<Str, Arc<Pod>>,
    pub kube_services: Table<KubeService>,
    /// Endpoint slices by the Service that they belong to, then by their own name.
    pub slices: OrdMap<NsName, OrdMap<Str, Arc<Slice>>>,
    pub secrets: Table<Config<Secret>>,
    pub config_maps: Table<Config<ConfigMap>>,
    pub virtual_services: Table<Config<networking::VirtualService>>,
    pub destination_rules: Table<Config<networking::DestinationRule>>,
    pub service_entries: Table<Config<networking::ServiceEntry>>,
    pub workload_entries: Table<Config<networking::WorkloadEntry>>,
    pub workload_groups: Table<Config<networking::WorkloadGroup>>,
    pub sidecars: Table<Config<networking::Sidecar>>,
    pub gateways: Table<Config<networking::Gateway>>,
    pub envoy_filters: Table<Config<networking::EnvoyFilter>>,
    pub proxy_configs: Table<Config<meltemi_api::istio::networking::v1beta1::ProxyConfig>>,
    pub peer_authentications: Table<Config<security::PeerAuthentication>>,
    pub request_authentications: Table<Config<security::RequestAuthentication>>,
    pub authorization_policies: Table<Config<security::AuthorizationPolicy>>,
    pub telemetries: Table<Config<Telemetry>>,
    pub wasm_plugins: Table<Config<WasmPlugin>>,
    pub traffic_extensions: Table<Config<TrafficExtension>>,
    pub ingresses: Table<Config<IngressSpec>>,
    pub ingress_classes: Table<Config<IngressClassSpec>>,
    /// The Gateway that each Ingress makes which the mesh serves.
    pub ingress_gateways: Table<Config<networking::Gateway>>,
    /// The VirtualService that Ingresses make together, by host.
    pub ingress_routes: OrdMap<Str, Arc<Config<networking::VirtualService>>>,
    pub reference_grants: Table<Config<ReferenceGrantSpec>>,
    /// Which service accounts of gateways may read Secrets, of those that were asked for.
    pub secret_access: Table<SecretAccess>,
    /// Keys of JWT issuers that were fetched.
    pub jwks: Table<Jwks>,
    /// Services and their endpoints, from Kubernetes and from ServiceEntries, ready to be asked.
    pub registry: Registry,
    /// What is wrong with the objects above.
    pub diagnostics: OrdMap<(Kind, NsName), Arc<Vec<Diagnostic>>>,
}

impl Snapshot {
    /// An empty world.
    pub fn empty(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            mesh: Arc::new(crate::mesh::defaults()),
            networks: Arc::default(),
            roots: Arc::default(),
            namespaces: OrdMap::new(),
            nodes: OrdMap::new(),
            pods: OrdMap::new(),
            pods_by_ip: OrdMap::new(),
            kube_services: OrdMap::new(),
            slices: OrdMap::new(),
            secrets: OrdMap::new(),
            config_maps: OrdMap::new(),
            virtual_services: OrdMap::new(),
            destination_rules: OrdMap::new(),
            service_entries: OrdMap::new(),
            workload_entries: OrdMap::new(),
            workload_groups: OrdMap::new(),
            sidecars: OrdMap::new(),
            gateways: OrdMap::new(),
            envoy_filters: OrdMap::new(),
            proxy_configs: OrdMap::new(),
            peer_authentications: OrdMap::new(),
            request_authentications: OrdMap::new(),
            authorization_policies: OrdMap::new(),
            telemetries: OrdMap::new(),
            wasm_plugins: OrdMap::new(),
            traffic_extensions: OrdMap::new(),
            ingresses: OrdMap::new(),
            ingress_classes: OrdMap::new(),
            ingress_gateways: OrdMap::new(),
            ingress_routes: OrdMap::new(),
            reference_grants: OrdMap::new(),
            secret_access: OrdMap::new(),
            jwks: OrdMap::new(),
            registry: Registry::default(),
            diagnostics: OrdMap::new(),
        }
    }

    /// All Gateways: those that users wrote and those that are made of other objects.
    pub fn all_gateways(&self) -> impl Iterator<Item = &Arc<Config<networking::Gateway>>> {
        self.gateways.values().chain(self.ingress_gateways.values())
    }

    /// All VirtualServices: those that users wrote and those that are made of other objects.
    pub fn all_virtual_services(&self) -> impl Iterator<Item = &Arc<Config<networking::VirtualService>>> {
        self.virtual_services.values().chain(self.ingress_routes.values())
    }

    /// The mesh's root namespace: configuration there applies to all namespaces.
    pub fn root_namespace(&self) -> &str {
        &self.mesh.root_namespace
    }

    /// The mesh's trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.mesh.trust_domain
    }
}

/// What differs between two successive snapshots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangeSet {
    /// Objects that were added, changed in a way that matters, or removed.
    pub objects: BTreeSet<(Kind, NsName)>,
    /// Services that were added, changed or removed, from whatever object; also those whose endpoints changed in a way
    /// that shows beyond their own assignment: in a cluster or a listener.
    pub services: BTreeSet<ServiceKey>,
    /// Services whose endpoints changed.
    pub endpoints: BTreeSet<ServiceKey>,
    /// Whether the mesh's settings or networks changed.
    pub mesh: bool,
}

impl ChangeSet {
    /// Whether nothing changed that anybody could notice.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.services.is_empty() && self.endpoints.is_empty() && !self.mesh
    }

    /// Whether an object of this kind changed.
    pub fn has(&self, kind: Kind) -> bool {
        self.objects.range((kind, NsName::new("", ""))..).next().is_some_and(|(k, _)| *k == kind)
    }

    /// The changed objects of this kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &NsName> {
        self.objects.range((kind, NsName::new("", ""))..).take_while(move |(k, _)| *k == kind).map(|(_, n)| n)
    }
}

impl ChangeSet {
    /// Adds another change set that came after this one.
    pub fn merge(&mut self, later: &ChangeSet) {
        self.objects.extend(later.objects.iter().cloned());
        self.services.extend(later.services.iter().cloned());
        self.endpoints.extend(later.endpoints.iter().cloned());
        self.mesh |= later.mesh;
    }
}

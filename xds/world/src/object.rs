//! What sources hand in: typed objects, and their removal.

use crate::identity::SecretAccess;
use crate::jwks::Jwks;
use crate::labels::Labels;
use crate::workload::{Namespace, Node, Pod};
use crate::{Config, NsName, Str};
use bytes::Bytes;
use meltemi_api::istio::{
    extensions::v1alpha1 as extensions, mesh::v1alpha1 as mesh, networking::v1alpha3 as networking,
    security::v1beta1 as security, telemetry::v1alpha1 as telemetry,
};
use meltemi_api::k8s;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The kinds of objects that make up the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    Secret,
    ConfigMap,
    VirtualService,
    DestinationRule,
    ServiceEntry,
    WorkloadEntry,
    WorkloadGroup,
    Sidecar,
    Gateway,
    EnvoyFilter,
    ProxyConfig,
    PeerAuthentication,
    RequestAuthentication,
    AuthorizationPolicy,
    Telemetry,
    WasmPlugin,
    TrafficExtension,
    Ingress,
    IngressClass,
    ReferenceGrant,
    /// Whether a gateway may read Secrets: what the apiserver answers when asked.
    SecretAccess,
    /// Keys that were fetched.
    Jwks,
}

impl Kind {
    /// The kind's name as Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::WorkloadGroup => "WorkloadGroup",
            Self::Sidecar => "Sidecar",
            Self::Gateway => "Gateway",
            Self::EnvoyFilter => "EnvoyFilter",
            Self::ProxyConfig => "ProxyConfig",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::Telemetry => "Telemetry",
            Self::WasmPlugin => "WasmPlugin",
            Self::TrafficExtension => "TrafficExtension",
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::SecretAccess => "SecretAccess",
            Self::Jwks => "Jwks",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Kubernetes Service as the registry keeps it: slim, before conversion.
pub type KubeService = Config<KubeServiceBody>;

/// What a Kubernetes Service says.
pub type KubeServiceBody = k8s::ServiceBody;

/// A Secret's payload. It never shows its content.
#[derive(Clone, PartialEq)]
pub struct Secret {
    /// Its type (`kubernetes.io/tls`, `Opaque`, …).
    pub kind: Str,
    /// Its data, decoded.
    pub data: BTreeMap<Str, Bytes>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("kind", &self.kind).field("keys", &self.data.keys()).finish()
    }
}

/// A ConfigMap's data.
pub type ConfigMap = BTreeMap<Str, Str>;

/// One endpoint slice, projected.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// The slice's own name.
    pub key: NsName,
    /// The Service that it belongs to (label `kubernetes.io/service-name`).
    pub service: Str,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: Str,
    /// Its labels.
    pub labels: Labels,
    /// Name and number of each port.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of an endpoint slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the service port, or empty.
    pub name: Str,
    /// The number; 0 where the slice gives none.
    pub port: u32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Str,
}

/// An endpoint of an endpoint slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its addresses.
    pub addresses: Vec<Str>,
    /// Condition `ready`; true where absent.
    pub ready: bool,
    /// Condition `serving`, where given.
    pub serving: Option<bool>,
    /// Condition `terminating`, where given.
    pub terminating: Option<bool>,
    /// Its host name, or empty.
    pub hostname: Str,
    /// The node that it is on, or empty.
    pub node: Str,
    /// Its zone, or empty.
    pub zone: Str,
    /// The Pod behind it, if it names one.
    pub pod: Option<NsName>,
}

/// An object of any kind.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Object {
    Namespace(Arc<Namespace>),
    Node(Arc<Node>),
    Pod(Arc<Pod>),
    Service(Arc<KubeService>),
    EndpointSlice(Arc<Slice>),
    Secret(Arc<Config<Secret>>),
    ConfigMap(Arc<Config<ConfigMap>>),
    VirtualService(Arc<Config<networking::VirtualService>>),
    DestinationRule(Arc<Config<networking::DestinationRule>>),
    ServiceEntry(Arc<Config<networking::ServiceEntry>>),
    WorkloadEntry(Arc<Config<networking::WorkloadEntry>>),
    WorkloadGroup(Arc<Config<networking::WorkloadGroup>>),
    Sidecar(Arc<Config<networking::Sidecar>>),
    Gateway(Arc<Config<networking::Gateway>>),
    EnvoyFilter(Arc<Config<networking::EnvoyFilter>>),
    ProxyConfig(Arc<Config<meltemi_api::istio::networking::v1beta1::ProxyConfig>>),
    PeerAuthentication(Arc<Config<security::PeerAuthentication>>),
    RequestAuthentication(Arc<Config<security::RequestAuthentication>>),
    AuthorizationPolicy(Arc<Config<security::AuthorizationPolicy>>),
    Telemetry(Arc<Config<telemetry::Telemetry>>),
    WasmPlugin(Arc<Config<extensions::WasmPlugin>>),
    TrafficExtension(Arc<Config<extensions::TrafficExtension>>),
    Ingress(Arc<Config<k8s::IngressSpec>>),
    IngressClass(Arc<Config<k8s::IngressClassSpec>>),
    ReferenceGrant(Arc<Config<k8s::ReferenceGrantSpec>>),
    SecretAccess(Arc<SecretAccess>),
    Jwks(Arc<Jwks>),
}

/// One thing that a source saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object is there, new or changed.
    Upsert(Object),
    /// The object is gone.
    Remove(Kind, NsName),
    /// The mesh's configuration, defaults applied.
    Mesh(Arc<mesh::MeshConfig>),
    /// The mesh's networks.
    Networks(Arc<mesh::MeshNetworks>),
    /// The certificates of the mesh's own authority, in PEM, one a text.
    Roots(Arc<Vec<Str>>),
}

impl Object {
    /// The object's kind and key.
    pub fn id(&self) -> (Kind, NsName) {
        match self {
            Self::Namespace(o) => (Kind::Namespace, NsName::new("", o.name.clone())),
            Self::Node(o) => (Kind::Node, NsName::new("", o.name.clone())),
            Self::Pod(o) => (Kind::Pod, NsName::new(o.namespace.clone(), o.name.clone())),
            Self::EndpointSlice(o) => (Kind::EndpointSlice, o.key.clone()),
            Self::Service(o) => (Kind::Service, o.meta.key()),
            Self::Secret(o) => (Kind::Secret, o.meta.key()),
            Self::ConfigMap(o) => (Kind::ConfigMap, o.meta.key()),
            Self::VirtualService(o) => (Kind::VirtualService, o.meta.key()),
            Self::DestinationRule(o) => (Kind::DestinationRule, o.meta.key()),
            Self::ServiceEntry(o) => (Kind::ServiceEntry, o.meta.key()),
            Self::WorkloadEntry(o) => (Kind::WorkloadEntry, o.meta.key()),
            Self::WorkloadGroup(o) => (Kind::WorkloadGroup, o.meta.key()),
            Self::Sidecar(o) => (Kind::Sidecar, o.meta.key()),
            Self::Gateway(o) => (Kind::Gateway, o.meta.key()),
            Self::EnvoyFilter(o) => (Kind::EnvoyFilter, o.meta.key()),
            Self::ProxyConfig(o) => (Kind::ProxyConfig, o.meta.key()),
            Self::PeerAuthentication(o) => (Kind::PeerAuthentication, o.meta.key()),
            Self::RequestAuthentication(o) => (Kind::RequestAuthentication, o.meta.key()),
            Self::AuthorizationPolicy(o) => (Kind::AuthorizationPolicy, o.meta.key()),
            Self::Telemetry(o) => (Kind::Telemetry, o.meta.key()),
            Self::WasmPlugin(o) => (Kind::WasmPlugin, o.meta.key()),
            Self::TrafficExtension(o) => (Kind::TrafficExtension, o.meta.key()),
            Self::Ingress(o) => (Kind::Ingress, o.meta.key()),
            Self::IngressClass(o) => (Kind::IngressClass, o.meta.key()),
            Self::ReferenceGrant(o) => (Kind::ReferenceGrant, o.meta.key()),
            Self::SecretAccess(o) => (Kind::SecretAccess, o.account.clone()),
            Self::Jwks(o) => (Kind::Jwks, o.source.key()),
        }
    }
}

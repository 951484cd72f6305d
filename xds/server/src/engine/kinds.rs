//! The types of resources that are generated.

use meltemi_api::envoy::config::{
    cluster::v3::Cluster, core::v3::TypedExtensionConfig, endpoint::v3::ClusterLoadAssignment,
    listener::v3::Listener, route::v3::RouteConfiguration,
};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::Secret;
use prost::Name;

/// A type of resource, in the order in which pushes go out: make before break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// CDS.
    Clusters,
    /// EDS.
    Endpoints,
    /// LDS.
    Listeners,
    /// RDS.
    Routes,
    /// SDS.
    Secrets,
    /// ECDS.
    Extensions,
    /// NDS, of pilot-agent's DNS proxy.
    NameTable,
}

/// The type URL of Istio's name table.
pub const NAME_TABLE: &str = "type.googleapis.com/istio.networking.nds.v1.NameTable";

impl ResourceType {
    /// All types.
    pub const ALL: [Self; 7] = [
        Self::Clusters,
        Self::Endpoints,
        Self::Listeners,
        Self::Routes,
        Self::Secrets,
        Self::Extensions,
        Self::NameTable,
    ];

    /// The type with this URL.
    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.url() == type_url)
    }

    /// The canonical type URL.
    pub fn url(self) -> String {
        match self {
            Self::Clusters => Cluster::type_url(),
            Self::Endpoints => ClusterLoadAssignment::type_url(),
            Self::Listeners => Listener::type_url(),
            Self::Routes => RouteConfiguration::type_url(),
            Self::Secrets => Secret::type_url(),
            Self::Extensions => TypedExtensionConfig::type_url(),
            Self::NameTable => NAME_TABLE.to_owned(),
        }
    }

    /// Whether a proxy gets all resources of the type, rather than those that it names.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Clusters | Self::Listeners | Self::NameTable)
    }
}

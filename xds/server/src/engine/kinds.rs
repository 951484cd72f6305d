//! The types of resources that are generated.

use meltemi_distribution::type_url;

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
    /// PCDS, of pilot-agent: the roots that it trusts.
    ProxyConfig,
}

/// The type URL of Istio's ProxyConfig.
pub const PROXY_CONFIG: &str = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig";

/// The type URL of Istio's name table.
pub const NAME_TABLE: &str = "type.googleapis.com/istio.networking.nds.v1.NameTable";

impl ResourceType {
    /// All types.
    pub const ALL: [Self; 8] = [
        Self::Clusters,
        Self::Endpoints,
        Self::Listeners,
        Self::Routes,
        Self::Secrets,
        Self::Extensions,
        Self::NameTable,
        Self::ProxyConfig,
    ];

    /// The type with this URL.
    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.url() == type_url)
    }

    /// The canonical type URL.
    pub fn url(self) -> &'static str {
        match self {
            Self::Clusters => type_url::CLUSTER,
            Self::Endpoints => type_url::ENDPOINT,
            Self::Listeners => type_url::LISTENER,
            Self::Routes => type_url::ROUTE,
            Self::Secrets => type_url::SECRET,
            Self::Extensions => type_url::EXTENSION_CONFIG,
            Self::NameTable => NAME_TABLE,
            Self::ProxyConfig => PROXY_CONFIG,
        }
    }

    /// Whether a proxy gets all resources of the type, rather than those that it names.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Clusters | Self::Listeners | Self::NameTable | Self::ProxyConfig)
    }
}

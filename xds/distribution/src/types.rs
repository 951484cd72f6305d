//! What the xDS protocol and Envoy want of each type of resource.

/// Type URLs that streams treat specially.
pub mod type_url {
    /// CDS.
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// EDS.
    pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// LDS.
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// RDS.
    pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// SDS.
    pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    /// ECDS.
    pub const EXTENSION_CONFIG: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
    /// Workloads and services of ambient.
    pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
    /// Workloads.
    pub const WORKLOAD: &str = "type.googleapis.com/istio.workload.Workload";
    /// Authorization of ambient.
    pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";
}

/// When the delta protocol tells that a resource is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// With the push that finds it gone.
    AtOnce,
    /// In a response of its own, once the client has settled what referred to the resource.
    Last,
    /// Not at all.
    Never,
}

/// The rules of one type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The place within a push; smaller goes first.
    pub(crate) order: u8,
    /// Whether a client that names nothing asks for everything.
    pub(crate) legacy_wildcard: bool,
    /// Whether a state-of-the-world response must hold all resources, since what it lacks is deleted.
    pub(crate) whole: bool,
    /// How removals are told.
    pub(crate) removal: Removal,
    /// The types that must be settled before a removal that goes last.
    pub(crate) removal_waits_for: &'static [&'static str],
    /// The type of which the client must have settled what is new to it, before it is sent what may refer to that.
    pub(crate) waits_for: Option<&'static str>,
    /// The type whose resources, when sent, make the client wait for the resource of the same name of this type.
    pub(crate) follows: Option<&'static str>,
}

/// The rules of a type.
///
/// The order is Envoy's ("xDS protocol", *Eventual consistency considerations*): a cluster before what routes to it, its
/// endpoints right after it, listeners, then the routes they name; clusters that nothing refers to any more are taken
/// away last. Istio's is the same (`PushOrder` in `pilot/pkg/xds/ads.go`), save that it removes first.
pub(crate) fn rules(url: &str) -> Rules {
    use type_url::{
        ADDRESS, AUTHORIZATION, CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, SECRET, WORKLOAD,
    };
    let rules = Rules {
        order: 8,
        // Istio's own types are wildcards (`IsWildcardTypeURL`): pilot-agent and ztunnel name nothing.
        legacy_wildcard: true,
        whole: false,
        removal: Removal::AtOnce,
        removal_waits_for: &[],
        waits_for: None,
        follows: None,
    };
    let named = Rules { legacy_wildcard: false, ..rules };
    match url {
        CLUSTER => Rules {
            order: 0,
            whole: true,
            removal: Removal::Last,
            removal_waits_for: &[LISTENER, ROUTE],
            ..rules
        },
        // Envoy keeps an updated cluster warming, and the old one serving, until endpoints arrive for it, asks for none
        // since it is still subscribed, and Istio sets no timeout. So endpoints must follow every cluster that is sent
        // ("xDS protocol", *Resource warming*; envoyproxy/envoy#13009, #33607; Istio `forceEDSPush`). Istio names a
        // cluster's endpoints as the cluster.
        ENDPOINT => Rules {
            order: 1,
            removal: Removal::Last,
            removal_waits_for: &[CLUSTER, LISTENER, ROUTE],
            follows: Some(CLUSTER),
            ..named
        },
        // A route or listener takes effect at once, but a new cluster only once it has its endpoints, and until then a
        // request for it is answered 503. Envoy sends no requests for clusters meanwhile, so its answer tells when.
        LISTENER => Rules { order: 2, whole: true, waits_for: Some(CLUSTER), ..rules },
        ROUTE => Rules { order: 3, waits_for: Some(CLUSTER), ..named },
        SECRET => Rules { order: 4, ..named },
        ADDRESS => Rules { order: 5, ..rules },
        WORKLOAD => Rules { order: 6, ..rules },
        AUTHORIZATION => Rules { order: 7, ..rules },
        // Envoy drops a removed extension even while a draining listener uses it (envoyproxy/envoy#32823;
        // Istio `neverRemoveDelta`).
        EXTENSION_CONFIG => Rules { removal: Removal::Never, ..named },
        _ => rules,
    }
}

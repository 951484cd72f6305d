//! A cluster while it is being made: with the parts that are packed only at the end.
//!
//! Source: Istio `clusterWrapper`, `ClusterBuilder.buildCluster`, `setUpstreamProtocol`.

use crate::endpoint::Group;
use crate::{Cx, header_case, metadata_exchange, stat_name, wire};
use meltemi_api::envoy::config::cluster::v3::{
    Cluster, Filter,
    cluster::{
        ClusterDiscoveryType, CommonLbConfig, CustomClusterType, DiscoveryType, EdsClusterConfig, LbPolicy,
    },
};
use meltemi_api::envoy::config::core::v3::{Http1ProtocolOptions, Http2ProtocolOptions};
use meltemi_api::envoy::extensions::clusters::dynamic_forward_proxy::v3::ClusterConfig;
use meltemi_api::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
        explicit_http_config::ProtocolConfig,
    },
};
use meltemi_world::Protocol;

/// The key of a cluster's HTTP options.
pub(super) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A cluster with what is not packed yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// All that is final.
    pub(super) cluster: Cluster,
    /// HTTP options, where any are needed.
    pub(super) http: Option<HttpProtocolOptions>,
    /// For a dynamic forward proxy: its configuration.
    pub(super) dynamic: Option<ClusterConfig>,
    /// For a cluster resolved by DNS: its endpoints, not ranked yet.
    pub(super) groups: Vec<Group>,
}

impl Draft {
    /// A cluster whose statistics bear its name.
    pub(super) fn new(name: &str, kind: DiscoveryType) -> Self {
        let cluster = Cluster {
            name: name.to_owned(),
            alt_stat_name: stat_name::delimited(name),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind as i32)),
            common_lb_config: Some(CommonLbConfig::default()),
            ..Default::default()
        };
        Self { cluster, ..Self::default() }
    }

    /// A dynamic forward proxy.
    pub(super) fn dynamic(name: &str, config: ClusterConfig) -> Self {
        let cluster = Cluster {
            name: name.to_owned(),
            alt_stat_name: stat_name::delimited(name),
            lb_policy: LbPolicy::ClusterProvided as i32,
            ..Default::default()
        };
        Self { cluster, dynamic: Some(config), ..Self::default() }
    }

    /// How the cluster finds its endpoints; `None` for a dynamic forward proxy.
    pub(super) fn kind(&self) -> Option<DiscoveryType> {
        match self.cluster.cluster_discovery_type {
            Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).ok(),
            _ => None,
        }
    }

    /// Whether the cluster has this discovery type.
    pub(super) fn is(&self, kind: DiscoveryType) -> bool {
        self.kind() == Some(kind)
    }

    /// Sets how the load balancer chooses.
    pub(super) fn set_lb(&mut self, policy: LbPolicy) {
        self.cluster.lb_policy = policy as i32;
    }

    /// The settings that all load balancers share.
    pub(super) fn common_lb(&mut self) -> &mut CommonLbConfig {
        self.cluster.common_lb_config.get_or_insert_default()
    }

    /// The HTTP options, added if there are none.
    pub(super) fn http(&mut self) -> &mut HttpProtocolOptions {
        self.http.get_or_insert_default()
    }

    /// The options of HTTP/2, if the cluster speaks that and nothing else.
    pub(super) fn http2(&mut self) -> Option<&mut Http2ProtocolOptions> {
        match self.http.as_mut()?.upstream_protocol_options.as_mut()? {
            UpstreamProtocolOptions::ExplicitHttpConfig(config) => match config.protocol_config.as_mut()? {
                ProtocolConfig::Http2ProtocolOptions(options) => Some(options),
                _ => None,
            },
            _ => None,
        }
    }

    /// Chooses HTTP/2, unless a protocol is chosen already.
    pub(super) fn set_http2(&mut self) {
        let options = &mut self.http().upstream_protocol_options;
        options.get_or_insert_with(|| explicit(ProtocolConfig::Http2ProtocolOptions(http2_options())));
    }

    /// Chooses the protocol that the client speaks; options chosen for HTTP/1 are kept.
    pub(super) fn use_downstream_protocol(&mut self) {
        let options = &mut self.http().upstream_protocol_options;
        let http1 = match options.take() {
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::HttpProtocolOptions(http1)),
            })) => http1,
            _ => Http1ProtocolOptions::default(),
        };
        *options = Some(downstream(http1));
    }

    /// Chooses how to speak to a port of this protocol.
    pub(super) fn set_upstream_protocol(&mut self, cx: &Cx<'_>, protocol: Protocol) {
        if protocol.is_http2() {
            return self.set_http2();
        }
        if protocol.is_http_or_sniffed() && header_case::is_preserved(cx) {
            let http1 = ProtocolConfig::HttpProtocolOptions(http1_options(cx));
            self.http().upstream_protocol_options = Some(explicit(http1));
        }
        // Not at gateways: they do not sniff, and their clients would negotiate an HTTP/2 that the server may lack.
        if protocol.is_auto() && cx.proxy.is_sidecar() {
            self.use_downstream_protocol();
        }
    }

    /// Adds the filter by which peers exchange metadata, where the proxy has it.
    pub(super) fn exchange_metadata(&mut self, cx: &Cx<'_>) {
        if let Some(config) = metadata_exchange::network_filter(cx) {
            let name = metadata_exchange::NAME.to_owned();
            self.cluster.filters.push(Filter { name, typed_config: Some(config), ..Default::default() });
        }
    }

    /// If the endpoints come by EDS, says from where.
    pub(super) fn name_eds_source(&mut self) {
        if self.is(DiscoveryType::Eds) {
            let service_name = self.cluster.name.clone();
            self.cluster.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(wire::ads()), service_name });
        }
    }

    /// The finished cluster.
    pub(super) fn finish(mut self) -> Cluster {
        if let Some(mut http) = self.http {
            // Envoy demands a choice of protocol once there are HTTP options at all.
            http.upstream_protocol_options.get_or_insert_with(|| {
                explicit(ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()))
            });
            self.cluster.typed_extension_protocol_options =
                [(HTTP_OPTIONS.to_owned(), wire::any(&http))].into();
        }
        if let Some(config) = self.dynamic {
            self.cluster.cluster_discovery_type =
                Some(ClusterDiscoveryType::ClusterType(CustomClusterType {
                    name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
                    typed_config: Some(wire::any(&config)),
                }));
        }
        self.cluster
    }
}

/// The protocol of the client, HTTP/1 with these options.
pub(super) fn downstream(http1: Http1ProtocolOptions) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http_protocol_options: Some(http1),
        http2_protocol_options: Some(http2_options()),
        ..Default::default()
    })
}

/// One protocol, chosen.
pub(super) fn explicit(protocol: ProtocolConfig) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(protocol) })
}

/// HTTP/2 with Envoy's defaults.
pub(super) fn http2_options() -> Http2ProtocolOptions {
    Http2ProtocolOptions::default()
}

/// HTTP/1 as the proxy's configuration wants it: headers in their original case, or as Envoy writes them.
pub(super) fn http1_options(cx: &Cx<'_>) -> Http1ProtocolOptions {
    Http1ProtocolOptions { header_key_format: header_case::format(cx), ..Default::default() }
}

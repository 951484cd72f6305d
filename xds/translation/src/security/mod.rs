//! Authentication and authorization: the filters that all chains carry, and the TLS contexts of servers.
//!
//! Source: Istio `pilot/pkg/security`, `pilot/pkg/networking/plugin`.

mod authz;
pub(crate) mod jwt;

use crate::Cx;
use crate::policy::Workload;
use crate::proxy_headers::ListenerClass;
use authz::Chain;
use meltemi_api::envoy::config::listener::v3::Filter;
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use meltemi_world::Service;
use meltemi_world::proxy::ProxyType;

/// The filters of chains of one class. Those for HTTP stand in the HTTP connection manager; those for TCP stand before
/// the TCP proxy and know nothing of HTTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    /// CUSTOM policies, before anything reads tokens.
    pub http_custom: Vec<HttpFilter>,
    /// Tokens of requests.
    pub http_authentication: Vec<HttpFilter>,
    /// ALLOW, DENY and AUDIT policies.
    pub http_authorization: Vec<HttpFilter>,
    /// CUSTOM policies.
    pub network_custom: Vec<Filter>,
    /// ALLOW, DENY and AUDIT policies.
    pub network_authorization: Vec<Filter>,
}

impl Filters {
    /// The filters of chains of a class. What leaves a workload is not checked.
    pub fn of(cx: &Cx<'_>, class: ListenerClass) -> Self {
        if class == ListenerClass::SidecarOutbound {
            return Self::default();
        }
        let mut filters = Self::network(cx, None);
        let workload = Workload::of(cx);
        let applied = cx.index.authorization_policies.of(&workload);
        let chain = chain(cx, false);
        filters.http_custom = authz::custom_http(cx, chain, &applied.custom);
        filters.http_authentication = jwt::filter(cx, &workload).into_iter().collect();
        filters.http_authorization = authz::http(cx, chain, &applied);
        filters
    }

    /// The network filters of a chain for the traffic of one service.
    pub fn network(cx: &Cx<'_>, service: Option<&Service>) -> Self {
        let workload = Workload::of(cx).with_service(service);
        let applied = cx.index.authorization_policies.of(&workload);
        let chain = chain(cx, true);
        Self {
            network_custom: authz::custom_network(cx, chain, &applied.custom),
            network_authorization: authz::network(cx, chain, &applied),
            ..Self::default()
        }
    }
}

fn chain(cx: &Cx<'_>, tcp: bool) -> Chain {
    Chain { tcp, filter_state: cx.proxy.kind == ProxyType::Waypoint }
}

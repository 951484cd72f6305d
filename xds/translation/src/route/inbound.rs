//! The RouteConfiguration that inbound listeners carry inline.

use super::default;
use meltemi_api::envoy::config::route::v3 as envoy;
use meltemi_world::{Protocol, Resolution, Service};

/// What an inbound filter chain knows about its port.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// The cluster behind it, also the name of the RouteConfiguration.
    pub cluster: &'a str,
    /// The host of the service that the chain was made for; empty where there is none.
    pub hostname: &'a str,
    /// The service's port, or that of the Sidecar's ingress listener.
    pub port: u32,
    /// What the port speaks.
    pub protocol: Protocol,
    /// The service itself, where there is one.
    pub service: Option<&'a Service>,
}

/// The routes of an inbound port: everything to the application. Source: Istio `buildSidecarInboundHTTPRouteConfig`.
pub fn inbound(to: &Inbound<'_>) -> envoy::RouteConfiguration {
    // A wildcard host that the proxy resolves by itself must not be fed other names.
    let dynamic = to.service.filter(|s| s.resolution == Resolution::DynamicDns);
    let domain = dynamic.map_or("*", |s| &*s.hostname);
    let operation = default::operation(to.hostname, to.port);
    envoy::RouteConfiguration {
        name: to.cluster.to_owned(),
        virtual_hosts: vec![envoy::VirtualHost {
            name: format!("inbound|http|{}", to.port),
            domains: vec![domain.to_owned()],
            routes: vec![default::inbound(to.cluster.to_owned(), operation, to.protocol)],
            ..Default::default()
        }],
        validate_clusters: Some(false),
        ..Default::default()
    }
}

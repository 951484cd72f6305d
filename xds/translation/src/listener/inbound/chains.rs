//! The filter chains of one port.
//!
//! Source: Istio `inboundChainForOpts`, `buildSidecarInboundHTTPOpts`, `buildInboundNetworkFilters`.

use super::matches::{self, Match};
use super::mtls;
use super::port::{InboundPort, OwnedSubject, inside_tls};
use crate::index::authn::{MtlsMode, WorkloadMtls};
use crate::listener::http::{self, HttpOptions, Routes};
use crate::listener::{Side, network, tls};
use crate::{names, route, stat_name};
use hcm::SetCurrentClientCertDetails;
use meltemi_api::envoy::config::core::v3::{Http2ProtocolOptions, TransportSocket};
use meltemi_api::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch};
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager as hcm,
};
use meltemi_world::service::TargetPort;
use meltemi_world::{Port, Protocol};

/// The chain of unknown ports for HTTP.
const CATCH_ALL_HTTP: &str = "virtualInbound-catchall-http";

/// Builds chains, with what all of them share.
pub(super) struct Chains<'a> {
    side: &'a Side<'a>,
    mtls: WorkloadMtls,
    /// The sockets that end mutual TLS, with HTTP inside and without.
    socket_http: TransportSocket,
    socket_tcp: TransportSocket,
}

/// What the chains of one port have in common.
struct Target<'p> {
    port: &'p InboundPort<'p>,
    /// The port that is matched; 0 for all.
    number: u32,
    /// Whether it is none that anything names.
    passthrough: bool,
}

impl<'a> Chains<'a> {
    pub(super) fn new(side: &'a Side<'a>) -> Self {
        let cx = &side.cx;
        Self {
            side,
            mtls: cx.index.peer_authentications.of_workload(&cx.proxy.namespace, &cx.proxy.labels),
            socket_http: tls::transport_socket(&mtls::context(cx, true)),
            socket_tcp: tls::transport_socket(&mtls::context(cx, false)),
        }
    }

    pub(super) fn side(&self) -> &'a Side<'a> {
        self.side
    }

    /// What the workload does with mutual TLS.
    pub(super) fn mtls(&self) -> &WorkloadMtls {
        &self.mtls
    }

    /// The chains of a port.
    pub(super) fn of_port(&self, port: &InboundPort<'_>) -> Vec<FilterChain> {
        let mode = self.mtls.of_port(port.target_port);
        let target = Target { port, number: port.target_port, passthrough: false };
        // With mutual TLS of the mesh, TLS as the user wants it would be in the way.
        let Some(settings) = port.tls.filter(|_| mode == MtlsMode::Disable) else {
            return self.build(&target, &matches::of(port.protocol, mode, self.side.accepts_http10()), None);
        };
        let port = &InboundPort { protocol: inside_tls(port.protocol), ..port.clone() };
        let socket = tls::transport_socket(&tls::context(&self.side.cx, settings, false));
        let target = Target { port, ..target };
        let matches: Vec<Match> = matches::of_user_tls(port.protocol).into_iter().collect();
        self.build(&target, &matches, Some(&socket))
    }

    /// The chains of a port that nothing names; 0 stands for all of them.
    pub(super) fn of_passthrough(&self, number: u32) -> Vec<FilterChain> {
        let port = InboundPort {
            target_port: number,
            port: 0,
            port_name: names::VIRTUAL_INBOUND.into(),
            protocol: Protocol::Auto,
            subject: OwnedSubject::default(),
            cluster: names::INBOUND_PASSTHROUGH.to_owned(),
            binds: Vec::new(),
            bound: false,
            tls: None,
            metadata: None,
        };
        let matches = matches::of(Protocol::Auto, self.mtls.of_port(number), self.side.accepts_http10());
        self.build(&Target { port: &port, number, passthrough: true }, &matches, None)
    }

    fn build(
        &self,
        target: &Target<'_>,
        matches: &[Match],
        socket: Option<&TransportSocket>,
    ) -> Vec<FilterChain> {
        let of = |http: bool| matches.iter().any(|m| m.http == http);
        let http = if of(true) { self.http_filters(target) } else { Vec::new() };
        let tcp = if of(false) { self.tcp_filters(target) } else { Vec::new() };
        let chain = |m: &Match| {
            let own = if m.http { &self.socket_http } else { &self.socket_tcp };
            FilterChain {
                name: target.name(m.http),
                filter_chain_match: Some(FilterChainMatch {
                    destination_port: (target.number > 0).then_some(target.number),
                    application_protocols: m.alpn.iter().map(|&p| p.to_owned()).collect(),
                    transport_protocol: m.transport.to_owned(),
                    ..Default::default()
                }),
                filters: if m.http { http.clone() } else { tcp.clone() },
                transport_socket: m.ends_tls.then(|| socket.unwrap_or(own).clone()),
                metadata: target.port.metadata.clone(),
                ..Default::default()
            }
        };
        matches.iter().map(chain).collect()
    }

    fn http_filters(&self, target: &Target<'_>) -> Vec<Filter> {
        let port = target.port;
        let routes = route::inbound(
            &self.side.cx,
            &route::Inbound {
                cluster: &port.cluster,
                hostname: &port.subject.host,
                port: port.port,
                protocol: port.protocol,
                service: None,
            },
        );
        let routes = Routes::Inline(Box::new(routes));
        let mut options = HttpOptions::new(self.side, routes, port.protocol, target.number);
        options.stat_prefix = target.stat_prefix();
        options.base = self.base(port.protocol);
        let mut out: Vec<Filter> = network::metadata_exchange(self.side).into_iter().collect();
        out.extend(network::extensions(self.side, target.number));
        out.push(http::filter(self.side, options));
        out
    }

    /// What only inbound connection managers have: they tell the application who the client is.
    fn base(&self, protocol: Protocol) -> HttpConnectionManager {
        let headers = &self.side.headers;
        let chosen = headers.set_current_cert_details.as_ref();
        HttpConnectionManager {
            forward_client_cert_details: headers.forward_client_cert as i32,
            set_current_client_cert_details: Some(SetCurrentClientCertDetails {
                subject: Some(chosen.and_then(|c| c.subject.as_ref()).is_none_or(|v| v.value)),
                uri: chosen.and_then(|c| c.uri.as_ref()).is_none_or(|v| v.value),
                dns: chosen.and_then(|c| c.dns.as_ref()).is_none_or(|v| v.value),
                cert: chosen.and_then(|c| c.cert.as_ref()).is_some_and(|v| v.value),
                chain: chosen.and_then(|c| c.chain.as_ref()).is_some_and(|v| v.value),
                ..Default::default()
            }),
            http2_protocol_options: protocol.is_http2().then(Http2ProtocolOptions::default),
            ..Default::default()
        }
    }

    fn tcp_filters(&self, target: &Target<'_>) -> Vec<Filter> {
        let port = target.port;
        let pattern = &self.side.cx.mesh().inbound_cluster_stat_name;
        let stat_prefix = if pattern.is_empty() { port.cluster.clone() } else { target.fill(pattern) };
        let proxy = network::tcp_proxy(self.side, &stat_prefix, &port.cluster);
        let terminal = network::terminal(self.side, port.protocol, &proxy, &port.cluster);
        network::complete(self.side, port.port, true, terminal)
    }
}

impl Target<'_> {
    /// The name of a chain.
    fn name(&self, http: bool) -> String {
        match (self.passthrough, http) {
            (true, true) => CATCH_ALL_HTTP.to_owned(),
            (true, false) => names::VIRTUAL_INBOUND.to_owned(),
            (false, _) => self.port.name(),
        }
    }

    /// The statistics of the connection manager.
    fn stat_prefix(&self) -> String {
        let prefix = if self.passthrough {
            self.port.cluster.clone()
        } else {
            format!("inbound_{}", self.port.name())
        };
        stat_name::delimited(&prefix)
    }

    /// A pattern for statistics filled in. Source: Istio `BuildInboundStatPrefix`, which does not know the workload's
    /// port.
    fn fill(&self, pattern: &str) -> String {
        const TARGET_PORT: &str = "%TARGET_PORT%";
        let port = Port {
            name: self.port.port_name.clone(),
            port: self.port.port,
            protocol: self.port.protocol,
            target: TargetPort::Number(self.number),
        };
        let fill = |part: &str| stat_name::fill(part, self.port.subject.as_subject(), &port, "", 0);
        let parts: Vec<String> = pattern.split(TARGET_PORT).map(fill).collect();
        parts.join(TARGET_PORT)
    }
}

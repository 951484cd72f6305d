//! The Gateway resources of one gateway proxy, merged into one logical gateway.
//!
//! Source: Istio `pilot/pkg/model/gateway.go` (`mergeGateways`) and `PushContext.mergeGateways`.

mod credentials;
mod merge;
mod select;

use meltemi_api::istio::networking::v1alpha3::{self as networking, server_tls_settings::TlSmode};
use meltemi_world::{Config, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use select::merged;

/// A physical port of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerPort {
    /// The port that the proxy listens on.
    pub number: u32,
    /// The protocol as the Gateway writes it.
    pub protocol: String,
    /// The address to bind; empty for all.
    pub bind: String,
}

/// One server of a Gateway resource, hosts resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayServer {
    /// The server. Of its hosts, `./h` has become `NAMESPACE/h`, and `*/h` just `h`.
    pub server: networking::Server,
    /// The Gateway resource that it belongs to.
    pub gateway: Arc<Config<networking::Gateway>>,
    /// For a server with TLS: the hosts to match by SNI, ordered.
    pub sni_hosts: Vec<String>,
    /// The name of its RouteConfiguration; empty where it has none.
    pub route_name: String,
}

/// The servers of one port.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MergedServers {
    /// The servers, in order of precedence.
    pub servers: Vec<Arc<GatewayServer>>,
    /// The RouteConfiguration that plain-text HTTP servers share.
    pub route_name: String,
}

/// All servers of one proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MergedGateway {
    /// The ports, in the order in which they were first seen.
    pub ports: Vec<ServerPort>,
    /// The servers of each port.
    pub servers: BTreeMap<ServerPort, MergedServers>,
    /// The HTTP servers behind each RouteConfiguration.
    pub by_route: BTreeMap<String, Vec<Arc<GatewayServer>>>,
    /// For each listening port of plain HTTP: the ports that Gateways name for it.
    pub port_map: BTreeMap<u32, BTreeSet<u32>>,
    /// Hosts of AUTO_PASSTHROUGH servers; `None` where there is no such server.
    pub auto_passthrough: Option<BTreeSet<String>>,
    /// Secrets that its Gateways may refer to, by the names under which Envoy asks for them.
    pub verified_credentials: BTreeSet<String>,
    /// Servers that were left out, each with the reason.
    pub rejected: Vec<String>,
}

impl GatewayServer {
    /// `NAMESPACE/NAME` of the Gateway resource.
    pub fn gateway_name(&self) -> String {
        self.gateway.meta.key().to_string()
    }

    /// The server's protocol.
    pub fn protocol(&self) -> Protocol {
        protocol(&self.server)
    }

    /// The server's TLS mode, if it has TLS settings.
    pub fn tls_mode(&self) -> Option<TlSmode> {
        self.server.tls.as_ref().map(networking::ServerTlsSettings::mode)
    }

    /// Whether the proxy passes TLS through without ending it.
    pub fn is_passthrough(&self) -> bool {
        is_passthrough(&self.server)
    }

    /// Whether the proxy serves HTTP here, plain or after ending TLS.
    pub fn is_http(&self) -> bool {
        is_http(&self.server)
    }

    /// Whether the server has TLS settings other than a redirect to HTTPS (Istio `IsTLSServer`).
    pub fn is_tls(&self) -> bool {
        is_tls(&self.server)
    }
}

fn protocol(server: &networking::Server) -> Protocol {
    server.port.as_ref().map_or(Protocol::Auto, |p| Protocol::parse(&p.protocol))
}

fn is_tls(server: &networking::Server) -> bool {
    // TLS settings of a plain HTTP port only ask for a redirect to HTTPS.
    server.tls.is_some() && !protocol(server).is_http()
}

fn is_passthrough(server: &networking::Server) -> bool {
    server.tls.as_ref().is_some_and(|t| matches!(t.mode(), TlSmode::Passthrough | TlSmode::AutoPassthrough))
}

fn is_http(server: &networking::Server) -> bool {
    let protocol = protocol(server);
    protocol.is_http() || protocol.is_https() && !is_passthrough(server)
}

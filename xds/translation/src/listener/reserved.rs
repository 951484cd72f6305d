//! Where a proxy cannot listen.
//!
//! Source: Istio `Proxy.CanBindToPort`, `conflictWithReservedListener` (`pilot/pkg/model/context.go`).

use super::Side;
use meltemi_world::Protocol;

/// The first port that every process may bind.
const FIRST_UNPRIVILEGED_PORT: u32 = 1024;

/// Where a listener would be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The address; empty where it is not chosen yet.
    pub(super) bind: &'a str,
    /// The port; 0 for a Unix socket.
    pub(super) port: u32,
    /// What it speaks.
    pub(super) protocol: Protocol,
    /// Whether it has a socket of its own, rather than getting redirected connections.
    pub(super) bound: bool,
}

impl Place<'_> {
    /// Whether the proxy can listen there: one without privileges cannot on low ports, and no listener may take what
    /// Envoy's own listeners of the bootstrap have.
    pub(super) fn is_free(&self, side: &Side<'_>) -> bool {
        let node = &side.cx.proxy.metadata;
        let privileged = (1..FIRST_UNPRIVILEGED_PORT).contains(&self.port);
        if self.bound && privileged && node.is_unprivileged() {
            return false;
        }
        let reserved = [
            node.envoy_status_port,
            node.envoy_prometheus_port,
            node.envoy_secure_metrics_port,
            node.envoy_secure_merged_metrics_port,
        ];
        self.port == 0 || !self.is_everywhere(side) || !reserved.contains(&self.port)
    }

    /// Whether redirected connections arrive there.
    pub(super) fn is_virtual(&self, side: &Side<'_>) -> bool {
        let mesh = side.cx.mesh();
        let ports = [mesh.proxy_listen_port, mesh.proxy_inbound_listen_port];
        self.port != 0 && self.is_everywhere(side) && ports.iter().any(|p| p.unsigned_abs() == self.port)
    }

    /// Whether it would listen on all addresses, as listeners for HTTP do that have none of their own.
    fn is_everywhere(&self, side: &Side<'_>) -> bool {
        match self.bind {
            "" => self.protocol.is_http(),
            bind => bind == side.wildcard(),
        }
    }
}

//! Names that Envoy, istioctl, dashboards and EnvoyFilter authors rely on.
//!
//! Source: Istio `pilot/pkg/model/service.go` (`BuildSubsetKey`, `BuildDNSSrvSubsetKey`), `pilot/pkg/util/constants`.

/// The cluster that traffic to nowhere is sent to.
pub const BLACK_HOLE: &str = "BlackHoleCluster";
/// The cluster that passes outbound traffic through to where it was going.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// The cluster that passes inbound traffic through to the application.
pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// The bootstrap's cluster of a proxy's own peers, by which Envoy balances zones (node metadata `ENABLE_SELF_DISCOVERY`).
pub const SELF_DISCOVERY: &str = "local_cluster";
/// The listener that all outbound traffic arrives at.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// The listener that all inbound traffic arrives at.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";
/// The cluster of a destination without a host, as of an invalid Gateway API backend.
pub const UNKNOWN_SERVICE: &str = "UnknownService";
/// The gateway name that stands for the sidecars of the mesh.
pub const MESH_GATEWAY: &str = "mesh";

/// `outbound|PORT|SUBSET|HOST`.
pub fn outbound_cluster(port: u32, subset: &str, hostname: &str) -> String {
    format!("outbound|{port}|{subset}|{hostname}")
}

/// `outbound_.PORT_.SUBSET_.HOST`: the SNI of mutual TLS, and the cluster name on AUTO_PASSTHROUGH gateways.
pub fn outbound_sni(port: u32, subset: &str, hostname: &str) -> String {
    format!("outbound_.{port}_.{subset}_.{hostname}")
}

/// `inbound|PORT||`.
pub fn inbound_cluster(target_port: u32) -> String {
    format!("inbound|{target_port}||")
}

/// The parts of an outbound cluster's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundName<'a> {
    /// The service port.
    pub port: u32,
    /// The subset; empty for the whole service.
    pub subset: &'a str,
    /// The service's host.
    pub hostname: &'a str,
    /// Whether it is of the form of [`outbound_sni`].
    pub sni: bool,
}

/// Reads the name of an outbound cluster, in either form. Source: Istio `ParseSubsetKey`.
pub fn parse_outbound(name: &str) -> Option<OutboundName<'_>> {
    let (rest, separator) = match name.strip_prefix("outbound|") {
        Some(rest) => (rest, "|"),
        None => (name.strip_prefix("outbound_.")?, "_."),
    };
    let mut parts = rest.splitn(3, separator);
    let (port, subset, hostname) = (parts.next()?, parts.next()?, parts.next()?);
    if hostname.contains(separator) {
        return None;
    }
    Some(OutboundName { port: port.parse().ok()?, subset, hostname, sni: separator != "|" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_outbound_clusters_are_read_back() {
        let parts = OutboundName { port: 80, subset: "v1", hostname: "a.b", sni: false };
        assert_eq!(parse_outbound(&outbound_cluster(80, "v1", "a.b")), Some(parts));
        assert_eq!(parse_outbound(&outbound_sni(80, "v1", "a.b")), Some(OutboundName { sni: true, ..parts }));
        assert_eq!(parse_outbound("outbound|80|a.b"), None);
        assert_eq!(parse_outbound(BLACK_HOLE), None);
    }
}

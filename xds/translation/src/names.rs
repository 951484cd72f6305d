//! Names that Envoy, istioctl, dashboards and EnvoyFilter authors rely on.
//!
//! Source: Istio `pilot/pkg/model/service.go` (`BuildSubsetKey`, `BuildDNSSrvSubsetKey`), `pilot/pkg/util/constants`.

/// The cluster that traffic to nowhere is sent to.
pub const BLACK_HOLE: &str = "BlackHoleCluster";
/// The cluster that passes outbound traffic through to where it was going.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// The cluster that resolves the name that outbound traffic goes to (`ALLOW_ANY_DYNAMIC_DNS`).
pub const DYNAMIC_DNS: &str = "AllowAnyDynamicDNSCluster";
/// The cluster that passes inbound traffic through to the application.
pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
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

/// Port and host in a cluster's name of the form `DIRECTION|PORT|SUBSET|HOST`.
pub fn parse_cluster(name: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = name.split('|').collect();
    match parts[..] {
        [_, port, _, hostname] => Some((port, hostname)),
        _ => None,
    }
}

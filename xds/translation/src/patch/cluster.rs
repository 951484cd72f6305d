//! Patches of clusters.
//!
//! Source: Istio `cluster_patch.go`.

use super::{Patch, Patches};
use meltemi_api::envoy::config::cluster::v3::Cluster;
use meltemi_api::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{
    ApplyTo, ClusterMatch, envoy_config_object_match::ObjectTypes, patch::Operation,
};
use meltemi_api::merge;
use std::ops::ControlFlow;

impl Patches<'_> {
    /// Patches clusters and adds those that patches bring. An inbound cluster's name does not tell its services, so
    /// `hosts` tells them by its port.
    pub fn clusters(&self, clusters: &mut Vec<Cluster>, hosts: &dyn Fn(u32) -> Vec<String>) {
        let patches: Vec<&Patch<'_>> = self.to(ApplyTo::Cluster).collect();
        if patches.is_empty() {
            return;
        }
        clusters.retain_mut(|cluster| {
            patches.iter().try_for_each(|patch| apply(patch, cluster, hosts)).is_continue()
        });
        clusters.extend(patches.iter().filter(|p| self.adds(p)).filter_map(|p| p.message::<Cluster>()));
    }
}

/// Applies a patch to a cluster; breaks if the cluster is to be removed.
fn apply(patch: &Patch<'_>, cluster: &mut Cluster, hosts: &dyn Fn(u32) -> Vec<String>) -> ControlFlow<()> {
    let lists = patch.merges();
    if lists.is_none() && patch.operation != Operation::Remove || !is_for(patch, cluster, hosts) {
        return ControlFlow::Continue(());
    }
    let Some(lists) = lists else { return ControlFlow::Break(()) };
    match patch.message::<Cluster>().and_then(|c| c.transport_socket) {
        Some(socket) => merge_transport_socket(patch, cluster, socket),
        None => patch.merge_into(cluster, lists),
    }
    ControlFlow::Continue(())
}

/// A patch with a transport socket changes nothing else. One of the name of the cluster's own is merged into it,
/// another one takes its place; but Envoy takes either a socket or a choice of sockets.
fn merge_transport_socket(patch: &Patch<'_>, cluster: &mut Cluster, socket: TransportSocket) {
    let named = |own: &&mut TransportSocket| own.name == socket.name;
    let own = if cluster.transport_socket_matches.is_empty() {
        cluster.transport_socket.as_mut().filter(named)
    } else {
        let mut choices = cluster.transport_socket_matches.iter_mut();
        let Some(own) = choices.find_map(|m| m.transport_socket.as_mut().filter(named)) else { return };
        Some(own)
    };
    match own {
        Some(own) => merge_sockets(patch, own, &socket),
        None => cluster.transport_socket = Some(socket),
    }
}

/// Merges the settings of a transport socket into those of another of the same name.
pub(super) fn merge_sockets(patch: &Patch<'_>, own: &mut TransportSocket, other: &TransportSocket) {
    let (Some(ConfigType::TypedConfig(own)), Some(ConfigType::TypedConfig(other))) =
        (&mut own.config_type, &other.config_type)
    else {
        return;
    };
    match merge::merge_any(own, other) {
        Some(merged) => *own = merged,
        None => patch.fail("its transport socket is of another type"),
    }
}

fn is_for(patch: &Patch<'_>, cluster: &Cluster, hosts: &dyn Fn(u32) -> Vec<String>) -> bool {
    let Some(ObjectTypes::Cluster(wanted)) = &patch.matches.object_types else { return true };
    if !wanted.name.is_empty() {
        return wanted.name == cluster.name;
    }
    let parts = Parts::of(&cluster.name);
    (wanted.subset.is_empty() || wanted.subset == parts.subset)
        && (wanted.port_number == 0 || wanted.port_number == parts.port)
        && of_service(wanted, &parts, hosts)
}

fn of_service(wanted: &ClusterMatch, parts: &Parts<'_>, hosts: &dyn Fn(u32) -> Vec<String>) -> bool {
    if wanted.service.is_empty() {
        return true;
    }
    let hosts = if parts.inbound { hosts(parts.port) } else { Vec::new() };
    if hosts.is_empty() { wanted.service == parts.hostname } else { hosts.contains(&wanted.service) }
}

/// The parts of a cluster's name; empty where it has none. Source: Istio `ParseSubsetKey`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// Whether it is of inbound traffic.
    pub(super) inbound: bool,
    /// The port.
    pub(super) port: u32,
    /// The subset.
    pub(super) subset: &'a str,
    /// The service's host.
    pub(super) hostname: &'a str,
}

impl<'a> Parts<'a> {
    /// Reads `DIRECTION|PORT|SUBSET|HOST`, or the same with `_.` between; as much of it as there is.
    pub(super) fn of(name: &'a str) -> Self {
        let dotted = name.starts_with("outbound_") || name.starts_with("inbound_");
        let separator = if dotted { "_." } else { "|" };
        let mut out = Self::default();
        let Some((direction, rest)) = name.split_once(separator) else { return out };
        out.inbound = direction == "inbound";
        let Some((port, rest)) = rest.split_once(separator) else { return out };
        out.port = port.parse().unwrap_or(0);
        let Some((subset, hostname)) = rest.split_once(separator) else { return out };
        out.subset = subset;
        if !hostname.contains(separator) {
            out.hostname = hostname;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_far_as_it_goes() {
        let parts = |inbound, port, subset, hostname| Parts { inbound, port, subset, hostname };
        assert_eq!(Parts::of("outbound|80|v1|a.b"), parts(false, 80, "v1", "a.b"));
        assert_eq!(Parts::of("outbound_.80_._.a.b"), parts(false, 80, "", "a.b"));
        assert_eq!(Parts::of("inbound|8080||"), parts(true, 8080, "", ""));
        assert_eq!(Parts::of("BlackHoleCluster"), Parts::default());
    }
}

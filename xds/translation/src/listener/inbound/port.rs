//! The ports of a workload that inbound chains are made for: those that services name, or those of its Sidecar.

use super::wildcards;
use crate::listener::Side;
use crate::listener::reserved::Place;
use crate::stat_name::Subject;
use crate::{Cx, names, wire};
use meltemi_api::envoy::config::core::v3::Metadata;
use meltemi_api::istio::networking::v1alpha3::{CaptureMode, IstioIngressListener, ServerTlsSettings};
use meltemi_world::proxy::Interception;
use meltemi_world::registry::ServiceTarget;
use meltemi_world::{Meta, Protocol, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One port of the workload.
#[derive(Clone, Debug)]
pub(super) struct InboundPort<'a> {
    /// The port that the workload listens on.
    pub(super) target_port: u32,
    /// The service's port, or the ingress listener's.
    pub(super) port: u32,
    /// Its name.
    pub(super) port_name: Str,
    /// What it speaks.
    pub(super) protocol: Protocol,
    /// What statistics and spans are named after.
    pub(super) subject: OwnedSubject,
    /// The cluster of the workload's port.
    pub(super) cluster: String,
    /// The addresses to listen on; where the port is not bound, the first only gives the chains their name.
    pub(super) binds: Vec<String>,
    /// Whether the proxy listens on the port itself.
    pub(super) bound: bool,
    /// TLS as the user wants it ended.
    pub(super) tls: Option<&'a ServerTlsSettings>,
    /// The Sidecar that defines the port.
    pub(super) metadata: Option<Metadata>,
}

/// What a port's statistics are of.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnedSubject {
    /// The host, empty where there is none.
    pub(super) host: String,
    /// Name and namespace of the Kubernetes Service.
    kube: Option<(Str, Str)>,
}

impl OwnedSubject {
    pub(super) fn as_subject(&self) -> Subject<'_> {
        let kube = self.kube.as_ref().map(|(name, namespace)| (&**name, &**namespace));
        Subject { host: &self.host, kube }
    }
}

impl InboundPort<'_> {
    /// `ADDRESS_PORT`, the name of its chains, and of its listener.
    pub(super) fn name(&self) -> String {
        format!("{}_{}", self.binds.first().map_or("", String::as_str), self.target_port)
    }
}

/// The ports of the proxy's workload, by number. Of several services on one port, the oldest decides.
pub(super) fn ports<'a>(side: &Side<'a>) -> Vec<InboundPort<'a>> {
    let cx = &side.cx;
    let ingress = cx.scope.ingress();
    let mut found = BTreeMap::new();
    if ingress.is_empty() {
        // Without interception, the workload itself listens on the ports of its services.
        if cx.proxy.metadata.interception_mode != Interception::None {
            add_services(side, &BTreeSet::new(), &mut found);
        }
        return found.into_values().collect();
    }
    if cx.features().sidecar_inbound_merge {
        let taken = ingress.iter().filter_map(|i| i.port.as_ref()).map(|p| p.number).collect();
        add_services(side, &taken, &mut found);
    }
    for listener in ingress {
        if let Some(port) = of_ingress(side, listener) {
            found.entry(port.target_port).or_insert(port);
        }
    }
    found.into_values().collect()
}

fn add_services<'a>(side: &Side<'a>, taken: &BTreeSet<u32>, found: &mut BTreeMap<u32, InboundPort<'a>>) {
    let binds = wildcards(&side.cx);
    let bound = side.cx.proxy.metadata.interception_mode == Interception::None;
    for target in side.cx.targets.iter().filter(|t| !taken.contains(&t.target_port)) {
        let place =
            Place { bind: side.wildcard(), port: target.target_port, protocol: target.port.protocol, bound };
        if place.is_free(side) && !place.is_virtual(side) {
            found.entry(target.target_port).or_insert_with(|| of_target(target, &binds, bound));
        }
    }
}

fn of_target<'a>(target: &ServiceTarget, binds: &[String], bound: bool) -> InboundPort<'a> {
    let subject = Subject::from(&*target.service);
    InboundPort {
        target_port: target.target_port,
        port: target.port.port,
        port_name: target.port.name.clone(),
        protocol: target.port.protocol,
        subject: OwnedSubject {
            host: subject.host.to_owned(),
            kube: subject.kube.map(|(name, namespace)| (name.into(), namespace.into())),
        },
        cluster: names::inbound_cluster(target.target_port),
        binds: binds.to_vec(),
        bound,
        tls: None,
        metadata: None,
    }
}

/// `None` for a listener that cannot be bound.
fn of_ingress<'a>(side: &Side<'a>, listener: &'a IstioIngressListener) -> Option<InboundPort<'a>> {
    let cx = &side.cx;
    let port = listener.port.as_ref()?;
    let bound = match listener.capture_mode() {
        CaptureMode::Default => cx.proxy.metadata.interception_mode == Interception::None,
        mode => mode == CaptureMode::None,
    };
    let mut protocol = Protocol::parse(&port.protocol);
    if !(Place { bind: &listener.bind, port: port.number, protocol, bound }).is_free(side) {
        return None;
    }
    let tls = listener.tls.as_ref().filter(|_| cx.features().tls_on_sidecar_ingress);
    if tls.is_some() {
        protocol = inside_tls(protocol);
    }
    let sidecar = cx.scope.sidecar.as_ref().map_or_else(|| "".into(), |s| s.meta.name.clone());
    let meta = Meta { name: sidecar, namespace: cx.scope.namespace.clone(), ..Default::default() };
    Some(InboundPort {
        target_port: port.number,
        port: port.number,
        port_name: port.name.as_str().into(),
        protocol,
        subject: OwnedSubject { host: format!("{}.{}", meta.name, meta.namespace), kube: None },
        cluster: names::inbound_cluster(port.number),
        binds: if listener.bind.is_empty() { own_addresses(cx) } else { vec![listener.bind.clone()] },
        bound,
        tls,
        metadata: Some(wire::config_metadata("sidecar", &meta)),
    })
}

/// What is inside of TLS that is ended. Source: Istio `AfterTLSTermination`.
pub(super) fn inside_tls(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::Https => Protocol::Http,
        Protocol::Tls => Protocol::Tcp,
        other => other,
    }
}

/// The proxy's first address that others can reach; else all of its addresses. Source: Istio
/// `getSidecarInboundBindIPs`.
fn own_addresses(cx: &Cx<'_>) -> Vec<String> {
    let reachable = cx.proxy.ips().iter().filter_map(|ip| ip.parse().ok()).find(is_global_unicast);
    reachable.map_or_else(|| wildcards(cx), |ip| vec![ip.to_string()])
}

/// Source: Go `netip.Addr.IsGlobalUnicast`, to which private addresses are global, too.
fn is_global_unicast(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
}

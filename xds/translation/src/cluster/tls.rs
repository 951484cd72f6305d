//! TLS of outbound clusters: which kind applies, and the transport sockets that follow.
//!
//! Source: Istio `pilot/pkg/networking/core/cluster_tls.go`.

mod context;

use super::draft::Draft;
use crate::index::authn::MtlsMode;
use crate::{Cx, wire};
use meltemi_api::envoy::config::cluster::v3::cluster::{DiscoveryType, TransportSocketMatch};
use meltemi_api::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use meltemi_api::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use meltemi_api::istio::networking::v1alpha3::{
    ClientTlsSettings, TrafficPolicy, client_tls_settings::TlSmode,
};
use meltemi_world::{Port, Resolution, Service, Str};
use prost_types::Struct;

pub(super) use context::{Source, socket};

/// What decides on the TLS of a cluster.
#[derive(Clone, Copy)]
pub(super) struct Upstream<'a> {
    pub(super) service: &'a Service,
    /// The settings of a rule.
    pub(super) settings: Option<&'a ClientTlsSettings>,
    /// The identities that servers may have.
    pub(super) accounts: &'a [Str],
    /// The SNI of mutual TLS.
    pub(super) sni: &'a str,
    /// What the servers do with mutual TLS; `None` where nothing is known of them.
    pub(super) mode: Option<MtlsMode>,
    /// Whether the rule selects workloads.
    pub(super) selects: bool,
}

/// The settings that apply.
struct Chosen {
    settings: ClientTlsSettings,
    /// Whether nobody asked for them: then only endpoints with a sidecar are spoken to so.
    automatic: bool,
}

/// Applies TLS to an outbound cluster. Settings that lack something leave it without TLS.
pub(super) fn apply(cx: &Cx<'_>, draft: &mut Draft, upstream: &Upstream<'_>) {
    let Some(chosen) = choose(cx, upstream) else { return };
    let source =
        Source { service: Some(upstream.service), accounts: upstream.accounts, selects: upstream.selects };
    let Some(socket) = socket(cx, draft, &chosen.settings, &source) else { return };
    let mesh = chosen.automatic && chosen.settings.mode() == TlSmode::IstioMutual;
    // Where traffic goes to its original destination, no endpoint metadata tells who has a sidecar.
    if mesh && !draft.is(DiscoveryType::OriginalDst) {
        draft.cluster.transport_socket_matches = vec![
            matching("tlsMode-istio", &[("tlsMode", "istio")], socket),
            matching("tlsMode-disabled", &[], raw_buffer()),
        ];
    } else {
        draft.cluster.transport_socket = Some(socket);
    }
}

/// What the servers of a service do with mutual TLS, as far as policies of their namespace say; `None` for servers
/// outside the mesh. Source: Istio `BestEffortInferServiceMTLSMode`.
pub(super) fn server_mode(
    cx: &Cx<'_>,
    service: &Service,
    port: &Port,
    policy: Option<&TrafficPolicy>,
) -> Option<MtlsMode> {
    if service.mesh_external {
        return None;
    }
    if service.resolution == Resolution::Passthrough || crate::traffic_policy::is_passthrough(policy) {
        let endpoints = cx.snapshot.registry.endpoints(&service.key());
        let mut of_port = endpoints.iter().filter(|e| e.is_behind(port)).peekable();
        if of_port.peek().is_none() || of_port.any(|e| !e.workload.istio_tls) {
            return Some(MtlsMode::Disable);
        }
    }
    let of_namespace = cx.index.peer_authentications.of_namespace(&service.namespace);
    Some(of_namespace.unwrap_or(MtlsMode::Permissive))
}

/// "Plain TCP".
pub(super) fn raw_buffer() -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(ConfigType::TypedConfig(wire::any(&RawBuffer {}))),
    }
}

fn matching(name: &str, labels: &[(&str, &str)], socket: TransportSocket) -> TransportSocketMatch {
    let fields = labels.iter().map(|(k, v)| ((*k).to_owned(), wire::string(v))).collect();
    TransportSocketMatch {
        name: name.to_owned(),
        r#match: Some(Struct { fields }),
        transport_socket: Some(socket),
    }
}

/// Source: Istio `buildUpstreamTLSSettings`.
fn choose(cx: &Cx<'_>, upstream: &Upstream<'_>) -> Option<Chosen> {
    let Some(asked) = upstream.settings else { return automatic(cx, upstream) };
    let chosen = |settings| Some(Chosen { settings, automatic: false });
    if matches!(asked.mode(), TlSmode::Disable | TlSmode::Simple) {
        return chosen(asked.clone());
    }
    if has_node_certificates(cx) {
        // The node's certificates need not mean anything to servers outside the mesh.
        if cx.features().prefer_rule_tls_for_external && upstream.service.mesh_external {
            return chosen(asked.clone());
        }
        let mut settings = from_node(cx, asked.subject_alt_names.clone(), &asked.sni);
        settings.insecure_skip_verify = asked.insecure_skip_verify;
        return chosen(settings);
    }
    if asked.mode() != TlSmode::IstioMutual {
        return chosen(asked.clone());
    }
    let sans = &asked.subject_alt_names;
    chosen(ClientTlsSettings {
        mode: TlSmode::IstioMutual as i32,
        sni: if asked.sni.is_empty() { upstream.sni.to_owned() } else { asked.sni.clone() },
        subject_alt_names: if sans.is_empty() { names(upstream.accounts) } else { sans.clone() },
        insecure_skip_verify: asked.insecure_skip_verify,
        ..Default::default()
    })
}

/// Auto mTLS: mutual TLS to whatever in the mesh has a sidecar, unless policies say that it wants none.
fn automatic(cx: &Cx<'_>, upstream: &Upstream<'_>) -> Option<Chosen> {
    let enabled = cx.mesh().enable_auto_mtls.as_ref().is_some_and(|v| v.value);
    if !enabled || upstream.service.mesh_external || matches!(upstream.mode, None | Some(MtlsMode::Disable)) {
        return None;
    }
    let accounts = names(upstream.accounts);
    let settings = if has_node_certificates(cx) {
        from_node(cx, accounts, upstream.sni)
    } else {
        ClientTlsSettings {
            mode: TlSmode::IstioMutual as i32,
            sni: upstream.sni.to_owned(),
            subject_alt_names: accounts,
            ..Default::default()
        }
    };
    Some(Chosen { settings, automatic: true })
}

/// Whether the node brought client certificates of its own (`TLS_CLIENT_CERT_CHAIN`).
fn has_node_certificates(cx: &Cx<'_>) -> bool {
    !cx.proxy.metadata.tls_client_cert_chain.is_empty()
}

fn from_node(cx: &Cx<'_>, subject_alt_names: Vec<String>, sni: &str) -> ClientTlsSettings {
    let node = &cx.proxy.metadata;
    ClientTlsSettings {
        mode: TlSmode::Mutual as i32,
        ca_certificates: node.tls_client_root_cert.clone(),
        client_certificate: node.tls_client_cert_chain.clone(),
        private_key: node.tls_client_key.clone(),
        subject_alt_names,
        sni: sni.to_owned(),
        ..Default::default()
    }
}

fn names(accounts: &[Str]) -> Vec<String> {
    accounts.iter().map(ToString::to_string).collect()
}

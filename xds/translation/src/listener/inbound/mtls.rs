//! The TLS context of servers in the mesh: the workload's certificate, and clients with an identity of the mesh.
//!
//! Source: Istio `BuildInboundTLS` (`pilot/pkg/security/authn/utils`), `ApplyToCommonTLSContext`.

use crate::listener::tls;
use crate::{Cx, compliance, metadata_exchange, sds};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, TlsParameters,
    tls_parameters::TlsProtocol,
};
use meltemi_api::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use meltemi_api::istio::mesh::v1alpha1::mesh_config::tls_config::TlsProtocol as MeshProtocol;

/// What servers accept where MeshConfig `meshMTLS` does not say.
const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// The context. `http`: HTTP is inside; otherwise peers may tell each other what they are.
pub(super) fn context(cx: &Cx<'_>, http: bool) -> DownstreamTlsContext {
    let mut alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
    if !http && metadata_exchange::by_alpn(cx) {
        alpn.insert(0, metadata_exchange::ALPN.to_owned());
    }
    let node = &cx.proxy.metadata;
    let certificate = tls::file_certificate(&node.tls_server_cert_chain, &node.tls_server_key);
    let root = (!node.tls_server_root_cert.is_empty()).then(|| sds::root_file(&node.tls_server_root_cert));
    let mut common = CommonTlsContext {
        alpn_protocols: alpn,
        tls_params: Some(parameters(cx)),
        tls_certificate_sds_secret_configs: vec![tls::agent_secret(cx, certificate, sds::DEFAULT)],
        validation_context_type: Some(tls::combined(clients(cx), tls::agent_secret(cx, root, sds::ROOT))),
        ..Default::default()
    };
    compliance::enforce(cx, &mut common);
    DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(true),
        ..Default::default()
    }
}

fn parameters(cx: &Cx<'_>) -> TlsParameters {
    let mesh = cx.mesh().mesh_m_tls.as_ref();
    let newest_only = mesh.is_some_and(|m| m.min_protocol_version() == MeshProtocol::Tlsv13);
    let minimum = if newest_only { TlsProtocol::TlSv13 } else { TlsProtocol::TlSv12 };
    let ciphers = mesh.map(|m| m.cipher_suites.clone()).filter(|c| !c.is_empty());
    TlsParameters {
        cipher_suites: ciphers.unwrap_or_else(|| CIPHERS.map(str::to_owned).to_vec()),
        tls_minimum_protocol_version: minimum as i32,
        tls_maximum_protocol_version: TlsProtocol::TlSv13 as i32,
        ..Default::default()
    }
}

/// Clients of the mesh's trust domains.
#[allow(deprecated)] // Istio sends `match_subject_alt_names`, not its typed successor
fn clients(cx: &Cx<'_>) -> CertificateValidationContext {
    let matcher = |domain: &str| StringMatcher {
        match_pattern: Some(MatchPattern::Prefix(format!("spiffe://{domain}/"))),
        ..Default::default()
    };
    CertificateValidationContext {
        match_subject_alt_names: trust_domains(cx).into_iter().map(matcher).collect(),
        ..Default::default()
    }
}

/// The trust domains that clients may be of: the mesh's, its aliases, and those whose roots MeshConfig gives; none for
/// any. Source: Istio `TrustDomainsForValidation`.
fn trust_domains<'a>(cx: &Cx<'a>) -> Vec<&'a str> {
    if cx.features().skip_trust_domain_validation {
        return Vec::new();
    }
    let mesh = cx.mesh();
    let of_roots = mesh.ca_certificates.iter().flat_map(|c| &c.trust_domains);
    let all = [&mesh.trust_domain].into_iter().chain(&mesh.trust_domain_aliases).chain(of_roots);
    let mut found: Vec<&str> = Vec::new();
    for domain in all.filter(|d| !d.is_empty()) {
        if !found.contains(&domain.as_str()) {
            found.push(domain);
        }
    }
    found
}

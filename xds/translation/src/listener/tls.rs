//! TLS contexts of gateway servers (and of Sidecar ingress listeners, which take the same settings).
//!
//! Source: Istio `BuildListenerTLSContext` (`pilot/pkg/networking/core/listener.go`) and
//! `pilot/pkg/security/model/authentication.go`.
#![allow(deprecated)] // Istio sends `match_subject_alt_names`, not its typed successor

use crate::{Cx, compliance, sds, wire};
use meltemi_api::envoy::config::core::v3::{
    self as core, DataSource, TransportSocket, data_source, transport_socket,
};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsParameters,
    certificate_validation_context::TrustChainVerification,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
    tls_parameters::TlsProtocol,
};
use meltemi_api::envoy::r#type::matcher::v3::StringMatcher;
use meltemi_api::istio::mesh::v1alpha1::mesh_config::tls_config::TlsProtocol as MeshProtocol;
use meltemi_api::istio::networking::v1alpha3::{ServerTlsSettings, server_tls_settings::TlSmode};
use meltemi_api::validate::tls::is_cipher_suite;
use std::collections::BTreeSet;

/// Those cipher suites that Envoy will take. Repeated ones count once.
fn known_ciphers(suites: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let known = suites.iter().filter(|s| is_cipher_suite(s));
    known.filter(|s| seen.insert(s.as_str())).cloned().collect()
}

/// The TLS context of a server that ends TLS. `over_tcp`: what is inside is not HTTP.
pub fn context(cx: &Cx<'_>, settings: &ServerTlsSettings, over_tcp: bool) -> DownstreamTlsContext {
    let mode = settings.mode();
    let require = matches!(mode, TlSmode::Mutual | TlSmode::IstioMutual);
    let validate = require || mode == TlSmode::OptionalMutual;
    let mut common = CommonTlsContext { alpn_protocols: alpn(cx, mode, over_tcp), ..Default::default() };
    if mode == TlSmode::IstioMutual {
        workload_certificate(cx, &mut common, settings);
    } else if !settings.credential_names.is_empty() || !settings.credential_name.is_empty() {
        credentials(cx, &mut common, settings);
    } else {
        files(cx, &mut common, settings, validate);
    }
    if matches!(mode, TlSmode::Simple | TlSmode::Mutual | TlSmode::OptionalMutual) {
        common.tls_params = parameters(cx, settings);
    }
    compliance::enforce(cx, &mut common);
    DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(require),
        ..Default::default()
    }
}

/// The transport socket that carries a context.
pub fn transport_socket(context: &DownstreamTlsContext) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(wire::any(context))),
    }
}

fn alpn(cx: &Cx<'_>, mode: TlSmode, over_tcp: bool) -> Vec<String> {
    let exchange = cx.proxy.istio_extensions.metadata_exchange && !cx.features().disable_mx_alpn;
    let names: &[&str] = match mode {
        TlSmode::IstioMutual if over_tcp && exchange => &["istio-peer-exchange", "h2", "http/1.1"],
        _ => &["h2", "http/1.1"],
    };
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// The workload's own certificate and the mesh's roots.
fn workload_certificate(cx: &Cx<'_>, common: &mut CommonTlsContext, settings: &ServerTlsSettings) {
    let node = &cx.proxy.metadata;
    let names = [&node.tls_server_cert_chain, &node.tls_server_key, &node.tls_server_root_cert];
    let certificate = file_certificate(names[0], names[1]);
    common.tls_certificate_sds_secret_configs = vec![agent_secret(cx, certificate, sds::DEFAULT)];
    let root = (!names[2].is_empty()).then(|| sds::root_file(names[2]));
    common.validation_context_type =
        Some(combined(file_context(settings), agent_secret(cx, root, sds::ROOT)));
}

/// Certificates from files in the proxy's container, served by its agent.
fn files(cx: &Cx<'_>, common: &mut CommonTlsContext, settings: &ServerTlsSettings, validate: bool) {
    let pairs: Vec<_> = if settings.tls_certificates.is_empty() {
        vec![(&settings.server_certificate, &settings.private_key)]
    } else {
        settings.tls_certificates.iter().map(|c| (&c.server_certificate, &c.private_key)).collect()
    };
    common.tls_certificate_sds_secret_configs =
        pairs.into_iter().map(|(c, k)| agent_secret(cx, file_certificate(c, k), sds::DEFAULT)).collect();
    if validate {
        let root = (!settings.ca_certificates.is_empty()).then(|| sds::root_file(&settings.ca_certificates));
        common.validation_context_type =
            Some(combined(file_context(settings), agent_secret(cx, root, sds::ROOT)));
    }
}

/// Certificates by `credentialName`, served by the control plane.
fn credentials(cx: &Cx<'_>, common: &mut CommonTlsContext, settings: &ServerTlsSettings) {
    let single = std::slice::from_ref(&settings.credential_name);
    let names =
        if settings.credential_names.is_empty() { single } else { settings.credential_names.as_slice() };
    common.tls_certificate_sds_secret_configs =
        names.iter().filter_map(|n| sds::server_credential(cx, n)).collect();
    let sans = exact_sans(&settings.subject_alt_names);
    if matches!(settings.mode(), TlSmode::Mutual | TlSmode::OptionalMutual) {
        let ca = if settings.ca_cert_credential_name.is_empty() {
            format!("{}{}", names[0], sds::CA_SUFFIX)
        } else {
            settings.ca_cert_credential_name.clone()
        };
        let context = CertificateValidationContext {
            match_subject_alt_names: sans,
            verify_certificate_spki: settings.verify_certificate_spki.clone(),
            verify_certificate_hash: settings.verify_certificate_hash.clone(),
            trust_chain_verification: trust(settings),
            ..Default::default()
        };
        common.validation_context_type =
            sds::server_credential(cx, &ca).map(|secret| combined(context, secret));
    } else if !sans.is_empty() {
        let context = CertificateValidationContext { match_subject_alt_names: sans, ..Default::default() };
        common.validation_context_type = Some(ValidationContextType::ValidationContext(context));
    }
}

fn file_context(settings: &ServerTlsSettings) -> CertificateValidationContext {
    let crl = (!settings.ca_crl.is_empty()).then(|| DataSource {
        specifier: Some(data_source::Specifier::Filename(settings.ca_crl.clone())),
        ..core::DataSource::default()
    });
    CertificateValidationContext {
        match_subject_alt_names: exact_sans(&settings.subject_alt_names),
        crl,
        trust_chain_verification: trust(settings),
        ..Default::default()
    }
}

fn trust(settings: &ServerTlsSettings) -> i32 {
    let insecure = settings.insecure_skip_verify.as_ref().is_some_and(|v| v.value);
    (if insecure {
        TrustChainVerification::AcceptUntrusted
    } else {
        TrustChainVerification::VerifyTrustChain
    }) as i32
}

pub(super) fn combined(
    context: CertificateValidationContext,
    secret: SdsSecretConfig,
) -> ValidationContextType {
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(context),
        validation_context_sds_secret_config: Some(secret),
        ..Default::default()
    })
}

fn exact_sans(names: &[String]) -> Vec<StringMatcher> {
    names.iter().map(|n| wire::exact(n)).collect()
}

pub(super) fn file_certificate(certificate: &str, key: &str) -> Option<String> {
    (!certificate.is_empty() && !key.is_empty()).then(|| sds::certificate_files(certificate, key))
}

/// A secret of the agent: a file, else `fallback`. Files come from a server of their own where the node has one.
pub(super) fn agent_secret(cx: &Cx<'_>, file: Option<String>, fallback: &str) -> SdsSecretConfig {
    match file {
        Some(name) if cx.proxy.metadata.file_credential == "true" => sds::files(&name),
        Some(name) => sds::agent(&name),
        None => sds::agent(fallback),
    }
}

/// Versions, cipher suites and curves: the mesh's defaults, then the server's own.
fn parameters(cx: &Cx<'_>, settings: &ServerTlsSettings) -> Option<TlsParameters> {
    let mut out = TlsParameters::default();
    if let Some(defaults) = &cx.mesh().tls_defaults {
        out.ecdh_curves.clone_from(&defaults.ecdh_curves);
        out.cipher_suites.clone_from(&defaults.cipher_suites);
        if defaults.min_protocol_version() == MeshProtocol::Tlsv13 {
            out.tls_minimum_protocol_version = TlsProtocol::TlSv13 as i32;
        } else if defaults.min_protocol_version() == MeshProtocol::Tlsv12 {
            out.tls_minimum_protocol_version = TlsProtocol::TlSv12 as i32;
        }
    }
    // The protocol enums of Istio and Envoy have the same numbers.
    if settings.min_protocol_version != 0 {
        out.tls_minimum_protocol_version = settings.min_protocol_version;
    }
    if settings.max_protocol_version != 0 {
        out.tls_maximum_protocol_version = settings.max_protocol_version;
    }
    let own = known_ciphers(&settings.cipher_suites);
    if !own.is_empty() {
        out.cipher_suites = own;
    }
    (out != TlsParameters::default()).then_some(out)
}

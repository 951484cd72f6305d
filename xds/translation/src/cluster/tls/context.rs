//! The TLS context of an outbound cluster: certificates, roots, names to expect, ALPN.
//!
//! Source: Istio `buildUpstreamClusterTLSContext`, `constructUpstreamTLS`.

use crate::cluster::draft::Draft;
use crate::{Cx, compliance, metadata_exchange, sds, wire};
use meltemi_api::envoy::config::core::v3::{
    DataSource, TransportSocket, data_source::Specifier, transport_socket::ConfigType,
};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, TlsParameters, UpstreamTlsContext,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
    tls_parameters::TlsProtocol,
};
use meltemi_api::istio::networking::v1alpha3::{ClientTlsSettings, client_tls_settings::TlSmode};
use meltemi_world::service::Registry;
use meltemi_world::{Service, Str};

/// Credentials in ConfigMaps are roots: no secret, so anybody may name them.
const CONFIG_MAP: &str = "configmap://";
/// The roots of the proxy's operating system.
const SYSTEM_ROOTS: &str = "system";

/// Whom the settings are for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Source<'a> {
    /// The service, where the cluster is for one.
    pub(crate) service: Option<&'a Service>,
    /// The identities that servers may have.
    pub(crate) accounts: &'a [Str],
    /// Whether a rule that selects workloads made the settings.
    pub(crate) selects: bool,
}

/// The transport socket for TLS settings; `None` for no TLS, and for settings that lack something. What the settings
/// ask of HTTP (the SNI and names from the request) goes into the draft's options.
pub(crate) fn socket(
    cx: &Cx<'_>,
    draft: &mut Draft,
    settings: &ClientTlsSettings,
    source: &Source<'_>,
) -> Option<TransportSocket> {
    let mut context = match settings.mode() {
        TlSmode::Disable => return None,
        TlSmode::IstioMutual => of_mesh(cx, draft, settings),
        TlSmode::Simple | TlSmode::Mutual if !may_use(cx, settings, source) => return None,
        TlSmode::Simple | TlSmode::Mutual => of_user(cx, draft, settings, source)?,
    };
    compliance::enforce(cx, context.common_tls_context.get_or_insert_default());
    Some(TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(wire::any(&context))),
    })
}

/// A sidecar gets credentials only by a rule that selects it: other sidecars could not read them and would wait.
fn may_use(cx: &Cx<'_>, settings: &ClientTlsSettings, source: &Source<'_>) -> bool {
    let secret = !settings.credential_name.is_empty() && !settings.credential_name.starts_with(CONFIG_MAP);
    !secret || !cx.proxy.is_sidecar() || source.selects
}

fn of_mesh(cx: &Cx<'_>, draft: &mut Draft, settings: &ClientTlsSettings) -> UpstreamTlsContext {
    let own_name = if draft.dynamic.is_none() { draft.cluster.name.as_str() } else { "" };
    let sni = if settings.sni.is_empty() { own_name.to_owned() } else { settings.sni.clone() };
    let mut alpn = Vec::new();
    if metadata_exchange::by_alpn(cx) {
        alpn.push(metadata_exchange::ALPN.to_owned());
    }
    // Servers tell traffic of the mesh by this protocol, and route by it.
    alpn.push("istio".to_owned());
    if draft.http2().is_some() {
        alpn.push("h2".to_owned());
    }
    let common = CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![sds::agent(sds::DEFAULT)],
        validation_context_type: Some(combined(expect(&settings.subject_alt_names), sds::agent(sds::ROOT))),
        alpn_protocols: alpn,
        ..common()
    };
    if draft.dynamic.is_some() {
        take_names_from_request(draft, settings);
    }
    UpstreamTlsContext { common_tls_context: Some(common), sni, ..Default::default() }
}

fn of_user(
    cx: &Cx<'_>,
    draft: &mut Draft,
    settings: &ClientTlsSettings,
    source: &Source<'_>,
) -> Option<UpstreamTlsContext> {
    take_names_from_request(draft, settings);
    let external = source.service.is_some_and(|s| s.registry == Registry::External);
    let sans = if external && settings.subject_alt_names.is_empty() {
        source.accounts.iter().map(ToString::to_string).collect()
    } else {
        settings.subject_alt_names.clone()
    };
    let mut common = common();
    if settings.credential_name.is_empty() {
        from_files(cx, &mut common, settings, &sans)?;
    } else {
        from_credential(cx, &mut common, settings, &sans);
    }
    if let (Some(defaults), Some(params)) = (&cx.mesh().tls_defaults, &mut common.tls_params) {
        params.ecdh_curves.clone_from(&defaults.ecdh_curves);
        params.cipher_suites.clone_from(&defaults.cipher_suites);
    }
    if draft.http2().is_some() {
        common.alpn_protocols = vec!["h2".to_owned()];
    }
    Some(UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: settings.sni.clone(),
        ..Default::default()
    })
}

/// Source: Istio `ApplyCustomSDSToClientCommonTLSContext`.
fn from_credential(
    cx: &Cx<'_>,
    common: &mut CommonTlsContext,
    settings: &ClientTlsSettings,
    sans: &[String],
) {
    let socket = cx.proxy.metadata.credential == "true";
    if settings.mode() == TlSmode::Mutual {
        common.tls_certificate_sds_secret_configs =
            sds::credential(&settings.credential_name, socket).into_iter().collect();
    }
    if !skips_verification(settings) {
        let root = sds::credential(&format!("{}{}", settings.credential_name, sds::CA_SUFFIX), socket);
        common.validation_context_type = root.map(|root| combined(expect(sans), root));
    }
}

/// Files in the proxy's container, which pilot-agent serves so that they may be rotated. `None` if one is missing.
fn from_files(
    cx: &Cx<'_>,
    common: &mut CommonTlsContext,
    settings: &ClientTlsSettings,
    sans: &[String],
) -> Option<()> {
    let served = |name: &str| {
        if cx.proxy.metadata.file_credential == "true" { sds::files(name) } else { sds::agent(name) }
    };
    if settings.mode() == TlSmode::Mutual {
        if settings.client_certificate.is_empty() || settings.private_key.is_empty() {
            return None;
        }
        let name = sds::certificate_files(&settings.client_certificate, &settings.private_key);
        common.tls_certificate_sds_secret_configs = vec![served(&name)];
    }
    common.validation_context_type = Some(if skips_verification(settings) {
        ValidationContextType::ValidationContext(CertificateValidationContext::default())
    } else {
        let path = &settings.ca_certificates;
        let root = sds::root_file(if path.is_empty() { SYSTEM_ROOTS } else { path });
        let crl = (!settings.ca_crl.is_empty()).then(|| DataSource {
            specifier: Some(Specifier::Filename(settings.ca_crl.clone())),
            ..Default::default()
        });
        combined(CertificateValidationContext { crl, ..expect(sans) }, served(&root))
    });
    Some(())
}

/// Has Envoy take the SNI and the names to expect from each request, where the settings do not give them.
/// Source: Istio `setAutoSniAndAutoSanValidation`.
fn take_names_from_request(draft: &mut Draft, settings: &ClientTlsSettings) {
    let insecure = skips_verification(settings);
    let sni = settings.sni.is_empty();
    let dynamic = draft.dynamic.is_some();
    let sans = !insecure && (dynamic || (sni && settings.subject_alt_names.is_empty()));
    if let Some(config) = &mut draft.dynamic {
        config.allow_insecure_cluster_options |= insecure || !sni || !sans;
    }
    if sni || sans {
        let options = draft.http().upstream_http_protocol_options.get_or_insert_default();
        options.auto_sni |= sni;
        options.auto_san_validation |= sans;
    }
}

fn skips_verification(settings: &ClientTlsSettings) -> bool {
    settings.insecure_skip_verify.as_ref().is_some_and(|v| v.value)
}

/// TLS 1.2 and 1.3.
fn common() -> CommonTlsContext {
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv12 as i32,
            tls_maximum_protocol_version: TlsProtocol::TlSv13 as i32,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// "A certificate with one of these names", any where there are none.
#[allow(deprecated)] // Istio still sends `match_subject_alt_names`, which matches names of every type.
fn expect(sans: &[String]) -> CertificateValidationContext {
    CertificateValidationContext {
        match_subject_alt_names: sans.iter().map(|s| wire::exact(s)).collect(),
        ..Default::default()
    }
}

fn combined(own: CertificateValidationContext, root: SdsSecretConfig) -> ValidationContextType {
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(own),
        validation_context_sds_secret_config: Some(root),
        ..Default::default()
    })
}

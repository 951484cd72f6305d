//! TLS of clients and of servers.

use super::{At, Findings};
use crate::istio::networking::v1alpha3::client_tls_settings::TlSmode as ClientMode;
use crate::istio::networking::v1alpha3::server_tls_settings::{TlSmode as Mode, TlsProtocol};
use crate::istio::networking::v1alpha3::{ClientTlsSettings, ServerTlsSettings};

const CONFIG_MAP: &str = "configmap://";
/// Cipher suites that Envoy knows. Source: BoringSSL, `bssl ciphers -openssl-name ALL` without PSK, which is Istio's
/// `security.ValidCipherSuites`.
const CIPHERS: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// Checks the TLS with which an object of `namespace` lets clients connect.
pub fn client(at: &At<'_>, namespace: &str, tls: Option<&ClientTlsSettings>, out: &mut Findings) {
    let Some(tls) = tls else { return };
    let mode = tls.mode();
    if let Some(name) = tls.credential_name.strip_prefix(CONFIG_MAP) {
        let mut parts = name.split('/');
        let own = parts.next().is_some_and(|ns| ns == namespace && !ns.is_empty());
        if !own || parts.next().is_none_or(str::is_empty) {
            let message =
                format!("should have the form configmap://{namespace}/<name>, of its own namespace");
            out.error(&at.field("credentialName"), message);
        }
    }
    if tls.insecure_skip_verify.as_ref().is_some_and(|skip| skip.value) {
        let credential = mode == ClientMode::Simple && !tls.credential_name.is_empty();
        let verifies = !tls.ca_certificates.is_empty() || !tls.subject_alt_names.is_empty() || credential;
        if verifies && matches!(mode, ClientMode::Simple | ClientMode::Mutual) {
            out.error(
                &at.field("insecureSkipVerify"),
                "contradicts what the server is verified by (caCertificates, subjectAltNames, credentialName); remove one",
            );
        }
    }
    if matches!(mode, ClientMode::Simple | ClientMode::Mutual) && !tls.credential_name.is_empty() {
        let files = [&tls.client_certificate, &tls.ca_certificates, &tls.private_key, &tls.ca_crl];
        if files.iter().any(|file| !file.is_empty()) {
            out.error(&at.field("credentialName"), "stands beside files of certificates; remove one of them");
        }
        return;
    }
    if mode == ClientMode::Mutual {
        for (field, file) in
            [("clientCertificate", &tls.client_certificate), ("privateKey", &tls.private_key)]
        {
            if file.is_empty() {
                out.error(&at.field(field), "is missing, which MUTUAL needs; name a file, or credentialName");
            }
        }
    }
}

/// Checks the TLS that a server speaks.
pub fn server(at: &At<'_>, tls: &ServerTlsSettings, out: &mut Findings) {
    ciphers(at, tls, out);
    let mode = tls.mode();
    let sources = [
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
    ];
    if mode == Mode::IstioMutual {
        for (field, _) in sources.iter().filter(|(_, set)| *set) {
            out.error(&at.field(field), "ISTIO_MUTUAL uses the mesh's own certificates; remove it");
        }
        return;
    }
    if matches!(mode, Mode::Passthrough | Mode::AutoPassthrough)
        && (!tls.ca_crl.is_empty() || sources.iter().any(|(_, set)| *set))
    {
        out.warn(at, format!("{} does not end TLS, so its certificates have no effect", mode.as_str_name()));
    }
    let [certificate, key, _, list, credential, credentials] = sources.map(|(_, set)| set);
    if [certificate && key, credential, credentials, list].iter().filter(|set| **set).count() > 1 {
        out.error(
            at,
            "has several certificates; give it one of credentialName, credentialNames, tlsCertificates, or serverCertificate with privateKey",
        );
    }
    if !matches!(mode, Mode::Simple | Mode::Mutual | Mode::OptionalMutual) {
        return revocation(at, tls, out);
    }
    // These come with their CA, and revocation lists are said to belong there.
    if credential || credentials {
        return;
    }
    files(at, tls, out);
    revocation(at, tls, out);
}

fn files(at: &At<'_>, tls: &ServerTlsSettings, out: &mut Findings) {
    let name = tls.mode().as_str_name();
    let need = |at: &At<'_>, file: &str, out: &mut Findings| {
        if file.is_empty() {
            out.error(at, format!("is missing, which {name} needs; name a file, or credentialName"));
        }
    };
    if tls.mode() != Mode::Simple {
        need(&at.field("caCertificates"), &tls.ca_certificates, out);
    }
    if tls.tls_certificates.is_empty() {
        need(&at.field("serverCertificate"), &tls.server_certificate, out);
        return need(&at.field("privateKey"), &tls.private_key, out);
    }
    let at = at.field("tlsCertificates");
    if tls.tls_certificates.len() > 2 {
        out.warn(&at, "has more than the two certificates (RSA and ECDSA) that Envoy can serve");
    }
    for (i, certificate) in tls.tls_certificates.iter().enumerate() {
        need(&at.index(i).field("serverCertificate"), &certificate.server_certificate, out);
        need(&at.index(i).field("privateKey"), &certificate.private_key, out);
    }
}

fn revocation(at: &At<'_>, tls: &ServerTlsSettings, out: &mut Findings) {
    if tls.ca_crl.is_empty() {
        return;
    }
    let at = at.field("caCrl");
    if !tls.credential_name.is_empty() {
        out.error(&at, "stands beside credentialName; put the list into the credential");
    }
    if tls.mode() == Mode::Simple {
        out.error(&at, "revokes certificates of clients, which SIMPLE asks for none; remove it");
    }
}

fn ciphers(at: &At<'_>, tls: &ServerTlsSettings, out: &mut Findings) {
    let suites = &tls.cipher_suites;
    if matches!(tls.min_protocol_version(), TlsProtocol::Tlsv10 | TlsProtocol::Tlsv11) && suites.is_empty() {
        out.warn(
            &at.field("minProtocolVersion"),
            "below TLSV1_2 needs cipherSuites, since the usual ones fit no such version",
        );
    }
    for (i, suite) in suites.iter().enumerate() {
        let at = at.field("cipherSuites");
        if !is_cipher_suite(suite) {
            out.warn(&at.index(i), format!("{suite} is not known, and passed over"));
        } else if suites[..i].contains(suite) {
            out.warn(&at.index(i), format!("{suite} is named twice, and passed over"));
        }
    }
}

/// Whether Envoy takes what `cipherSuites` names: it rejects a listener for a suite that it does not know. What starts
/// with an operator (`+`, `-`, `!`) is an expression, which Envoy judges itself.
pub fn is_cipher_suite(suite: &str) -> bool {
    suite == "ALL" || !suite.starts_with(|c: char| c.is_ascii_alphanumeric()) || CIPHERS.contains(&suite)
}

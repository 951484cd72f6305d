//! Limits what TLS contexts allow to what a standard asks for (`COMPLIANCE_POLICY`). The last word on each context.
//!
//! Source: Istio `EnforceCompliance` (`pkg/model/fips.go`).

use crate::Cx;
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext,
    tls_parameters::{CompliancePolicy, TlsProtocol},
};
use meltemi_world::features::Compliance;

const FIPS_CIPHERS: [&str; 4] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
];

/// A hybrid of X25519 and ML-KEM, which no quantum computer is known to break.
const PQC_CURVE: &str = "X25519MLKEM768";

/// Applies the policy in force to a context.
pub fn enforce(cx: &Cx<'_>, context: &mut CommonTlsContext) {
    let policy = cx.features().compliance;
    if policy == Compliance::None {
        return;
    }
    let params = context.tls_params.get_or_insert_default();
    match policy {
        Compliance::None => {}
        Compliance::Fips140_2 => {
            params.tls_minimum_protocol_version = TlsProtocol::TlSv12 as i32;
            params.tls_maximum_protocol_version = TlsProtocol::TlSv12 as i32;
            // Where nothing is set, Envoy's FIPS build has only compliant ciphers and curves.
            params.cipher_suites.retain(|c| FIPS_CIPHERS.contains(&c.as_str()));
            params.ecdh_curves.clear();
        }
        Compliance::Fips140_3 => {
            params.compliance_policies = vec![CompliancePolicy::Fips202205 as i32];
        }
        Compliance::Pqc => {
            params.tls_minimum_protocol_version = TlsProtocol::TlSv13 as i32;
            params.cipher_suites = FIPS_CIPHERS.map(str::to_owned).to_vec();
            params.ecdh_curves = vec![PQC_CURVE.to_owned()];
        }
    }
}

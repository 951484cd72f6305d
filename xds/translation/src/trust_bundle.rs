//! All roots that a mesh trusts, for pilot-agents that ask for them (PCDS; `ISTIO_MULTIROOT_MESH`).
//!
//! Source: Istio `pilot/pkg/xds/pcds.go`, `pilot/pkg/trustbundle/trustbundle.go`.

use crate::Cx;
use meltemi_api::istio::mesh::v1alpha1::ProxyConfig;
use meltemi_api::istio::mesh::v1alpha1::mesh_config::certificate_data::CertificateData;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeSet;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The roots, as the only thing that a ProxyConfig says: those of the mesh's own authority and those of MeshConfig
/// `caCertificates`. What is no certificate of an authority is left out. `None` if proxies are not told.
pub fn trust_bundle(cx: &Cx<'_>) -> Option<ProxyConfig> {
    if !cx.features().multi_root {
        return None;
    }
    let of_mesh = cx.mesh().ca_certificates.iter().filter_map(|c| match &c.certificate_data {
        Some(CertificateData::Pem(pem)) => Some(pem.as_str()),
        _ => None,
    });
    let own = cx.snapshot.roots.iter().map(|pem| &**pem);
    let all: BTreeSet<&str> = own.chain(of_mesh).filter(|pem| is_authority(pem)).collect();
    let ca_certificates_pem = all.into_iter().map(str::to_owned).collect();
    Some(ProxyConfig { ca_certificates_pem, ..ProxyConfig::default() })
}

fn is_authority(pem: &str) -> bool {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok();
    der.is_some_and(|der| X509Certificate::from_der(&der).is_ok_and(|(_, c)| c.is_ca()))
}

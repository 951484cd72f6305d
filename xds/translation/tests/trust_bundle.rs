//! The roots that agents are told of.

mod common;

use common::{Mesh, sidecar};
use meltemi_translation::trust_bundle::trust_bundle;
use meltemi_world::Change;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::json;
use std::sync::Arc;

fn certificate(is_authority: bool) -> String {
    let mut params = CertificateParams::default();
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

#[test]
fn all_roots_are_told_once_where_there_may_be_several() {
    let (own, other, leaf) = (certificate(true), certificate(true), certificate(false));
    let told = |multi_root: bool| {
        let certificates = json!([{"pem": other}, {"pem": own}, {"pem": leaf}, {"pem": "none"},
            {"spiffeBundleUrl": "https://a"}]);
        let mesh = Mesh::default()
            .features(|f| f.multi_root = multi_root)
            .mesh(&json!({"caCertificates": certificates}))
            .change(Change::Roots(Arc::new(vec![own.as_str().into()])));
        mesh.ask(&sidecar(), |cx| trust_bundle(cx).map(|p| p.ca_certificates_pem))
    };
    assert_eq!(told(false), None);
    let mut both = vec![own.clone(), other.clone()];
    both.sort_unstable();
    assert_eq!(told(true), Some(both));
}

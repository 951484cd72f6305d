//! What an operator may plug in, and what is turned down.

use std::time::SystemTime;

use meltemi_ca::{Authority, BadMaterial, Files, Lifetimes, Material, Source};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

struct Ca {
    pem: String,
    params: CertificateParams,
    key: KeyPair,
}

fn params(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    }
    params
}

fn root(name: &str) -> Ca {
    let (params, key) = (params(name, true), KeyPair::generate().unwrap());
    Ca { pem: params.self_signed(&key).unwrap().pem(), params, key }
}

fn below(parent: &Ca, name: &str, ca: bool) -> Ca {
    let (params, key) = (params(name, ca), KeyPair::generate().unwrap());
    let issuer = Issuer::from_params(&parent.params, &parent.key);
    Ca { pem: params.signed_by(&key, &issuer).unwrap().pem(), params, key }
}

fn files(parts: &[(&str, &str)]) -> Files {
    parts.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn plugged(signer: &Ca, chain: &str, roots: &str) -> Files {
    let key = signer.key.serialize_pem();
    files(&[
        ("ca-cert.pem", &signer.pem),
        ("ca-key.pem", &key),
        ("cert-chain.pem", chain),
        ("root-cert.pem", roots),
    ])
}

fn read(files: &Files) -> Result<Option<Material>, BadMaterial> {
    Material::plugged_in(files, SystemTime::now())
}

#[test]
fn an_intermediate_of_an_intermediate_is_taken_with_its_whole_chain() {
    let root = root("root");
    let middle = below(&root, "middle", true);
    let signer = below(&middle, "signer", true);
    let material =
        read(&plugged(&signer, &format!("{}{}", signer.pem, middle.pem), &root.pem)).unwrap().unwrap();
    assert_eq!((material.source, material.chain.len(), material.roots.len()), (Source::PluggedIn, 2, 1));
    let authority = Authority::new(Lifetimes::default());
    authority.replace(material.into());
    let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let answer = authority.answer(&csr.pem().unwrap(), &["spiffe://td/ns/a/sa/b".to_owned()], 60).unwrap();
    assert_eq!(answer.len(), 4, "leaf, signer, middle, roots");
    assert!(answer.iter().all(|part| part.ends_with('\n')));
}

#[test]
fn what_does_not_go_together_is_turned_down() {
    let (own, other) = (root("root"), root("root"));
    let (signer, leaf) = (below(&own, "signer", true), below(&own, "leaf", false));
    let good = plugged(&signer, &signer.pem, &own.pem);
    assert!(read(&good).unwrap().is_some());
    let without = |name: &str| {
        let mut files = good.clone();
        files.remove(name);
        read(&files).unwrap_err()
    };
    for name in ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"] {
        assert_eq!(without(name), BadMaterial::Missing(name));
    }
    let mut wrong_key = good.clone();
    wrong_key.insert("ca-key.pem".into(), other.key.serialize_pem().into_bytes());
    assert_eq!(read(&wrong_key).unwrap_err(), BadMaterial::WrongKey);
    let foreign = read(&plugged(&signer, &signer.pem, &other.pem)).unwrap_err();
    assert!(matches!(foreign, BadMaterial::Unrooted(_)), "{foreign}");
    assert_eq!(read(&plugged(&leaf, &leaf.pem, &own.pem)).unwrap_err(), BadMaterial::NoAuthority);
    let mut crl = good.clone();
    crl.insert("ca-crl.pem".into(), b"nothing".to_vec());
    assert!(matches!(read(&crl).unwrap_err(), BadMaterial::Crl(_)));
    assert!(read(&Files::new()).unwrap().is_none());
}

#[test]
fn cert_managers_form_is_read() {
    let root = root("root");
    let signer = below(&root, "signer", true);
    let key = signer.key.serialize_pem();
    let parts = files(&[("tls.crt", &signer.pem), ("tls.key", &key), ("ca.crt", &root.pem)]);
    let material = read(&parts).unwrap().unwrap();
    assert_eq!((material.source, material.chain.len()), (Source::Tls, 2));
}

#[test]
fn roots_change_by_way_of_a_bundle_of_both() {
    let (a, b) = (root("a"), root("b"));
    let of = |ca: &Ca, roots: &str| read(&plugged(ca, &ca.pem, roots)).unwrap().unwrap();
    let both = format!("{}{}", a.pem, b.pem);
    let steps = [of(&a, &a.pem), of(&a, &both), of(&b, &both), of(&b, &b.pem)];
    assert!(steps.windows(2).all(|w| w[0].leads_to(&w[1])));
    assert!(!steps[0].leads_to(&steps[3]));
}

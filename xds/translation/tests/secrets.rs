//! Which secrets a gateway is sent, and which not and why.

mod common;

use common::{Mesh, node};
use meltemi_api::envoy::config::core::v3::{DataSource, Node, data_source::Specifier};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::{Secret as Message, secret::Type};
use meltemi_api::k8s::{ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo};
use meltemi_translation::sds::secret::{Problem, secret, unreviewed};
use meltemi_world::identity::SecretAccess;
use meltemi_world::object::Secret;
use meltemi_world::{Change, Config, Kind, Meta, NsName, Object};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use std::sync::Arc;

/// A certificate and its key, in PEM.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["shop.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn meta(namespace: &str, name: &str) -> Meta {
    Meta { namespace: namespace.into(), name: name.into(), ..Meta::default() }
}

fn object(namespace: &str, name: &str, data: &[(&str, &str)]) -> Change {
    let data = data.iter().map(|(k, v)| ((*k).into(), v.as_bytes().to_vec().into())).collect();
    let spec = Secret { kind: "Opaque".into(), data };
    Change::Upsert(Object::Secret(Arc::new(Config { meta: meta(namespace, name), spec })))
}

fn gateway() -> Node {
    node("router", "r1/z1", &json!({"SERVICE_ACCOUNT": "gw"}))
}

fn mesh() -> Mesh {
    Mesh::default().verified("ns", "gw")
}

fn ask(mesh: Mesh, name: &str) -> Result<Message, Problem> {
    mesh.ask(&gateway(), |cx| secret(cx, name).map(|made| made.secret))
}

fn text(source: Option<&DataSource>) -> String {
    match source.and_then(|s| s.specifier.as_ref()) {
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// Certificate and key, or roots and revocations.
fn parts(message: &Message) -> (String, String) {
    match message.r#type.as_ref() {
        Some(Type::TlsCertificate(c)) => (text(c.certificate_chain.as_ref()), text(c.private_key.as_ref())),
        Some(Type::ValidationContext(c)) => (text(c.trusted_ca.as_ref()), text(c.crl.as_ref())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_are_found_under_either_set_of_names() {
    let (cert, key) = pair();
    let sent = Ok((cert.clone(), key.clone()));
    for (names, wanted) in [
        ([("cert", &cert), ("key", &key)], sent.clone()),
        ([("tls.crt", &cert), ("tls.key", &key)], sent.clone()),
        ([("tls.crt", &cert), ("key", &key)], Err("Secret ns/shop has no value tls.crt and tls.key")),
        ([("tls.crt", &cert), ("tls.key", &String::new())], Err("Secret ns/shop has no value tls.crt")),
    ] {
        let data: Vec<_> = names.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let got = ask(mesh().change(object("ns", "shop", &data)), "kubernetes://shop");
        match wanted {
            Ok(wanted) => assert_eq!(parts(&got.unwrap()), wanted),
            Err(reason) => {
                let problem = got.unwrap_err().to_string();
                assert!(problem.starts_with(reason), "{problem}");
            }
        }
    }
}

#[test]
fn roots_come_from_a_secret_of_their_own_or_from_beside_the_certificate() {
    let ((one, _), (two, _)) = (pair(), pair());
    let beside = || object("ns", "shop", &[("ca.crt", &one)]);
    let got = ask(mesh().change(beside()), "kubernetes://shop-cacert").unwrap();
    assert_eq!(parts(&got), (one.clone(), String::new()));
    assert_eq!(got.name, "kubernetes://shop-cacert");
    let own = object("ns", "shop-cacert", &[("cacert", &two)]);
    let got = ask(mesh().change(beside()).change(own), "kubernetes://shop-cacert").unwrap();
    assert_eq!(parts(&got).0, two);
    let map = [("ca.crt".into(), one.as_str().into())].into();
    let map = Object::ConfigMap(Arc::new(Config { meta: meta("other", "roots"), spec: map }));
    let got = ask(mesh().change(Change::Upsert(map)), "configmap://other/roots-cacert").unwrap();
    assert_eq!(parts(&got).0, one);
}

#[test]
fn what_envoy_would_reject_is_not_sent() {
    let ((cert, key), (_, other)) = (pair(), pair());
    let broken = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let table = [
        (vec![("tls.crt", "hello"), ("tls.key", &*key)], "tls.crt: it holds no certificate"),
        (
            vec![("tls.crt", broken), ("tls.key", &*key)],
            "tls.crt: it holds a certificate that cannot be read",
        ),
        (vec![("tls.crt", &*cert), ("tls.key", "hello")], "tls.key: it holds no private key in PEM"),
        (vec![("tls.crt", &*cert), ("tls.key", &*other)], "tls.key: it is not the key of the certificate"),
        (
            vec![("tls.crt", &*cert), ("tls.key", &*key), ("tls.ocsp-staple", "hello")],
            "tls.ocsp-staple: it is no OCSP response in DER",
        ),
    ];
    for (data, reason) in table {
        let problem = ask(mesh().change(object("ns", "shop", &data)), "kubernetes://shop").unwrap_err();
        assert!(problem.to_string().ends_with(reason), "{problem}");
    }
    let data = [("ca.crt", &*cert), ("ca.crl", "hello")];
    let problem = ask(mesh().change(object("ns", "shop", &data)), "kubernetes://shop-cacert").unwrap_err();
    assert!(problem.to_string().ends_with("ca.crl: it holds no revocation list"), "{problem}");
}

#[test]
fn secrets_are_for_proven_identities_of_their_own_namespace() {
    let (cert, key) = pair();
    let shop = |namespace| object(namespace, "shop", &[("tls.crt", &cert), ("tls.key", &key)]);
    let nobody = Mesh::default().change(shop("ns"));
    assert_eq!(ask(nobody, "kubernetes://shop"), Err(Problem::NoIdentity));
    let problem = ask(mesh().change(shop("other")), "kubernetes://other/shop").unwrap_err();
    assert!(matches!(problem, Problem::OtherNamespace { .. }), "{problem}");
    // The namespace is that of the identity, whatever the node says.
    let problem =
        ask(Mesh::default().verified("other", "gw").change(shop("ns")), "kubernetes://shop").unwrap_err();
    assert_eq!(problem, Problem::Missing { kind: Kind::Secret, name: NsName::new("other", "shop") });
    assert_eq!(ask(mesh(), "invalid://"), Err(Problem::Never));
}

#[test]
fn where_there_is_an_apiserver_it_decides_about_keys_but_not_about_roots() {
    let (cert, key) = pair();
    let reviewed = || {
        let secret = object("ns", "shop", &[("tls.crt", &cert), ("tls.key", &key), ("ca.crt", &cert)]);
        mesh().settings(|s| s.secret_access_reviewed = true).change(secret)
    };
    let decided = |denied: Option<&str>| {
        let access = SecretAccess { account: NsName::new("ns", "gw"), denied: denied.map(Into::into) };
        reviewed().change(Change::Upsert(Object::SecretAccess(Arc::new(access))))
    };
    let waits = |mesh: Mesh, name: &str| mesh.ask(&gateway(), |cx| unreviewed(cx, &[name.into()]).cloned());
    let account = NsName::new("ns", "gw");
    assert_eq!(waits(reviewed(), "kubernetes://shop"), Some(account.clone()));
    assert_eq!(ask(reviewed(), "kubernetes://shop"), Err(Problem::Unreviewed(account)));
    assert_eq!(waits(reviewed(), "kubernetes://shop-cacert"), None);
    assert!(ask(reviewed(), "kubernetes://shop-cacert").is_ok());
    assert!(ask(decided(None), "kubernetes://shop").is_ok());
    assert_eq!(waits(decided(Some("no")), "kubernetes://shop"), None);
    let problem = ask(decided(Some("no")), "kubernetes://shop").unwrap_err();
    assert!(matches!(problem, Problem::Forbidden { .. }), "{problem}");
}

#[test]
fn gateways_refer_to_their_own_namespace_and_to_what_is_granted() {
    let (cert, key) = pair();
    let with = |namespace: &str, mode: &str, grant: Option<(&str, Option<&str>)>| {
        let name = format!("kubernetes-gateway://{namespace}/shop");
        let mesh = mesh()
            .settings(|s| s.secret_access_reviewed = true)
            .change(object(namespace, "shop", &[("tls.crt", &cert), ("tls.key", &key), ("ca.crt", &cert)]))
            .object(
                "Gateway",
                "gw",
                json!({"selector": {}, "servers": [{"port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                    "hosts": ["*"], "tls": {"mode": mode, "credentialName": name}}]}),
            );
        match grant {
            None => mesh,
            Some((from, only)) => {
                let core = |kind: &str| ReferenceGrantTo {
                    kind: kind.into(),
                    name: only.map(str::to_owned),
                    ..Default::default()
                };
                let from = ReferenceGrantFrom {
                    group: "gateway.networking.k8s.io".into(),
                    kind: "Gateway".into(),
                    namespace: from.into(),
                };
                let spec = ReferenceGrantSpec { from: vec![from], to: vec![core("Secret")] };
                let grant = Object::ReferenceGrant(Arc::new(Config { meta: meta(namespace, "grant"), spec }));
                mesh.change(Change::Upsert(grant))
            }
        }
    };
    let table = [
        ("ns", "SIMPLE", None, "", true),
        ("ns", "SIMPLE", None, "-cacert", false),
        ("ns", "MUTUAL", None, "-cacert", true),
        ("other", "SIMPLE", None, "", false),
        ("other", "SIMPLE", Some(("ns", None)), "", true),
        ("other", "SIMPLE", Some(("ns", Some("shop"))), "", true),
        ("other", "SIMPLE", Some(("ns", Some("x"))), "", false),
        ("other", "SIMPLE", Some(("x", None)), "", false),
    ];
    for (namespace, mode, grant, suffix, sent) in table {
        let name = format!("kubernetes-gateway://{namespace}/shop{suffix}");
        let got = ask(with(namespace, mode, grant), &name);
        assert_eq!(got.is_ok(), sent, "{name} {mode} {grant:?}: {got:?}");
    }
    // Only what a Gateway refers to.
    let (cert, key) = pair();
    let more = object("ns", "root", &[("tls.crt", &cert), ("tls.key", &key)]);
    let got = ask(with("ns", "SIMPLE", None).change(more), "kubernetes-gateway://ns/root");
    assert_eq!(got, Err(Problem::NotReferred));
}

#[test]
fn keys_go_to_an_accelerator_only_where_there_is_one() {
    let (cert, key) = pair();
    let mesh = || {
        let config = json!({"defaultConfig": {"privateKeyProvider": {"cryptomb": {"pollDelay": "0.01s"}}}});
        mesh().mesh(&config).change(object("ns", "shop", &[("tls.crt", &cert), ("tls.key", &key)]))
    };
    let provider = |node: Node| {
        let made = mesh().ask(&node, |cx| secret(cx, "kubernetes://shop").unwrap().secret);
        let Some(Type::TlsCertificate(c)) = made.r#type else { panic!() };
        assert_eq!(c.private_key.is_some(), c.private_key_provider.is_none());
        c.private_key_provider.map(|p| p.provider_name)
    };
    assert_eq!(provider(gateway()).as_deref(), Some("cryptomb"));
    assert_eq!(provider(common::stock(gateway())), None);
}

#[test]
fn a_secret_is_never_printed() {
    let secret = Secret { kind: "Opaque".into(), data: [("tls.key".into(), "hunter2".into())].into() };
    let shown = format!("{secret:?}");
    assert!(shown.contains("tls.key") && !shown.contains("hunter2"), "{shown}");
}

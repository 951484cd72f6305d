//! How many certificate requests one core answers in a second, by the kind of the CA's key.
//!
//! `cargo bench -p meltemi-ca`
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use meltemi_ca::{Authority, KeyKind, Lifetimes, Material, self_signed};

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let key = rcgen::KeyPair::generate().expect("a key");
    let csr =
        rcgen::CertificateParams::default().serialize_request(&key).and_then(|r| r.pem()).expect("a CSR");
    for (name, kind) in [("P-256", KeyKind::P256), ("P-384", KeyKind::P384), ("RSA-2048", KeyKind::Rsa(2048))]
    {
        let now = SystemTime::now();
        let root =
            self_signed::create(kind, "cluster.local", Duration::from_secs(1 << 25), now).expect("a root");
        let authority = Authority::new(Lifetimes::default());
        authority.replace(Arc::new(Material::self_signed(&root, b"", now).expect("verified")));
        let names = ["spiffe://cluster.local/ns/default/sa/default".to_owned()];
        let (start, mut count) = (Instant::now(), 0u32);
        while start.elapsed() < Duration::from_secs(3) {
            for _ in 0..50 {
                authority.answer(&csr, &names, 0).expect("signed");
            }
            count += 50;
        }
        println!(
            "{name} root: {:.0} certificates a second and core",
            f64::from(count) / start.elapsed().as_secs_f64()
        );
    }
}

//! The certificate authority: whom the mesh trusts, and until when. No keys.

use meltemi_ca::Certificate;
use serde_json::{Value, json};

use super::{Answer, Query};
use crate::serve::http::Look;

/// What signs, what it is vouched for by, and why newer input is not in force.
pub fn ca(look: &Look, _: &Query) -> Answer {
    let Some(state) = &look.authority else {
        return Answer::Json(json!({ "problem": "no certificate authority runs here" }));
    };
    let problem = state.problem();
    let Some(material) = state.authority.material() else {
        return Answer::Json(json!({ "problem": problem.unwrap_or_else(|| "not ready yet".to_owned()) }));
    };
    Answer::Json(json!({
        "source": format!("{:?}", material.source),
        "signer": describe(&material.signer),
        "chain": material.chain.iter().map(describe).collect::<Vec<_>>(),
        "roots": material.roots.iter().map(describe).collect::<Vec<_>>(),
        "revocationList": material.crl.is_some(),
        "problem": problem,
    }))
}

fn describe(certificate: &Certificate) -> Value {
    let time = |seconds| jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default();
    json!({
        "subject": certificate.subject,
        "serialNumber": certificate.serial,
        "sha256": certificate.fingerprint,
        "notBefore": time(certificate.from),
        "notAfter": time(certificate.until),
    })
}

//! RequestAuthentication.

use super::attribute::{any, each};
use super::selection::Selection;
use super::{At, Findings, Validate, jwks, scalar, url};
use crate::istio::security::v1beta1::{JwtRule, RequestAuthentication};
use crate::k8s::ObjectMeta;

impl Validate for RequestAuthentication {
    fn validate(&self, _: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        let selection = Selection {
            selector: self.selector.as_ref(),
            target_ref: self.target_ref.as_ref(),
            target_refs: &self.target_refs,
        };
        selection.check(spec, out);
        let rules = spec.field("jwtRules");
        for (i, rule) in self.jwt_rules.iter().enumerate() {
            check(&rules.index(i), rule, out);
        }
    }
}

fn check(at: &At<'_>, rule: &JwtRule, out: &mut Findings) {
    each(&at.field("audiences"), &rule.audiences, any, out);
    if rule.issuer.is_empty() && rule.jwks_uri.is_empty() {
        out.error(&at.field("issuer"), "missing, as is jwksUri; say whose tokens are meant");
    }
    if !rule.jwks_uri.is_empty() {
        out.check(&at.field("jwksUri"), uri(&rule.jwks_uri));
    }
    if !rule.jwks.is_empty() {
        keys(&at.field("jwks"), &rule.jwks, out);
    }
    let headers = at.field("fromHeaders");
    for (i, header) in rule.from_headers.iter().enumerate() {
        if header.name.is_empty() {
            out.error(&headers.index(i).field("name"), "missing: name the header that holds a token");
        }
    }
    each(&at.field("fromParams"), &rule.from_params, any, out);
    each(&at.field("fromCookies"), &rule.from_cookies, any, out);
    let told = at.field("outputClaimToHeaders");
    for (i, claim) in rule.output_claim_to_headers.iter().enumerate() {
        if claim.claim.is_empty() || claim.header.is_empty() {
            out.error(&told.index(i), "lacks the claim or the header; name both");
        } else {
            out.check(&told.index(i).field("header"), header(&claim.header));
        }
    }
    scalar::duration_at(&at.field("timeout"), rule.timeout.as_ref(), out);
}

fn keys(at: &At<'_>, text: &str, out: &mut Findings) {
    match jwks::parse(text) {
        Err(problem) => out.error(at, problem),
        Ok(found) => found.secret.iter().for_each(|key| {
            out.warn(
                at,
                format!(
                    "the key [{key}] holds a secret, and only its public half is used; remove the secret"
                ),
            );
        }),
    }
}

fn uri(text: &str) -> Option<String> {
    match url::parse(text) {
        Err(problem) => Some(format!("{text:?} {problem}")),
        Ok(url) if !["http", "https"].iter().any(|s| url.scheme.eq_ignore_ascii_case(s)) => {
            Some(format!("{text:?} is no URL of http or https"))
        }
        Ok(url) => (!url.port.is_empty() && url.port.parse::<i64>().is_err())
            .then(|| format!("{text:?} has a port that is no number")),
    }
}

/// Less than HTTP allows: letters, digits, `-` and `_`.
fn header(name: &str) -> Option<String> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (!plain).then(|| format!("{name:?} is no header's name; use letters, digits, '-' and '_'"))
}

#[cfg(test)]
mod tests {
    use super::super::table::{Row, check};
    use super::RequestAuthentication;
    use serde_json::{Value, json};

    #[test]
    fn rules_of_tokens() {
        let rule = |more: Value| {
            let mut rule = json!({"issuer": "a"});
            rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"jwtRules": [rule]})
        };
        let keys = |text: &str| rule(json!({"jwks": text}));
        check::<RequestAuthentication>(&[
            Row("nothing", json!({}), &[], &[]),
            Row("an issuer", rule(json!({})), &[], &[]),
            Row("nobody", json!({"jwtRules": [{}]}), &["spec.jwtRules[0].issuer"], &[]),
            Row(
                "keys of nobody",
                json!({"jwtRules": [{"jwks": r#"{"keys": []}"#}]}),
                &["spec.jwtRules[0].issuer"],
                &[],
            ),
            Row("a URL", json!({"jwtRules": [{"jwksUri": "https://a.com:8443/keys"}]}), &[], &[]),
            Row(
                "another scheme",
                rule(json!({"jwksUri": "ftp://a.com"})),
                &["spec.jwtRules[0].jwksUri"],
                &[],
            ),
            Row("no scheme", rule(json!({"jwksUri": "a.com/keys"})), &["spec.jwtRules[0].jwksUri"], &[]),
            Row(
                "a bad port",
                rule(json!({"jwksUri": "https://a.com:x/keys"})),
                &["spec.jwtRules[0].jwksUri"],
                &[],
            ),
            Row("audiences", rule(json!({"audiences": ["a", ""]})), &["spec.jwtRules[0].audiences[1]"], &[]),
            Row(
                "keys",
                keys(r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}]}"#),
                &[],
                &[],
            ),
            Row("no keys", keys("keys"), &["spec.jwtRules[0].jwks"], &[]),
            Row(
                "a secret",
                keys(r#"{"keys": [{"kty": "oct", "k": "AQAB"}]}"#),
                &[],
                &["spec.jwtRules[0].jwks"],
            ),
            Row(
                "a header",
                rule(json!({"fromHeaders": [{"name": "a"}, {"prefix": "b"}]})),
                &["spec.jwtRules[0].fromHeaders[1].name"],
                &[],
            ),
            Row(
                "a parameter",
                rule(json!({"fromParams": ["a", ""]})),
                &["spec.jwtRules[0].fromParams[1]"],
                &[],
            ),
            Row("a cookie", rule(json!({"fromCookies": [""]})), &["spec.jwtRules[0].fromCookies[0]"], &[]),
            Row(
                "a claim",
                rule(json!({"outputClaimToHeaders": [{"header": "x-a_1", "claim": "a"}]})),
                &[],
                &[],
            ),
            Row(
                "no claim",
                rule(json!({"outputClaimToHeaders": [{"header": "a"}]})),
                &["spec.jwtRules[0].outputClaimToHeaders[0]"],
                &[],
            ),
            Row(
                "no header",
                rule(json!({"outputClaimToHeaders": [{"claim": "a"}]})),
                &["spec.jwtRules[0].outputClaimToHeaders[0]"],
                &[],
            ),
            Row(
                "a bad header",
                rule(json!({"outputClaimToHeaders": [{"header": "a b", "claim": "a"}]})),
                &["spec.jwtRules[0].outputClaimToHeaders[0].header"],
                &[],
            ),
            Row("a timeout", rule(json!({"timeout": "5s"})), &[], &[]),
            Row("no time", rule(json!({"timeout": "0s"})), &["spec.jwtRules[0].timeout"], &[]),
        ]);
    }
}

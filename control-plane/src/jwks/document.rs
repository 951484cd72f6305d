//! What is served: key sets, and the documents that say where they are.

use serde_json::Value;

/// Reads a key set (RFC 7517, section 5).
///
/// # Errors
/// If it is none: Envoy would reject the listener that it is put into.
pub(super) fn keys(body: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(body).map_err(|_| "what is served is no text")?;
    let document: Value = serde_json::from_str(text).map_err(|_| "what is served is no JSON")?;
    match document.get("keys") {
        Some(Value::Array(_)) => Ok(text),
        _ => Err("what is served is no key set: it has no list `keys`".to_owned()),
    }
}

/// Reads where the keys are from an OpenID provider's configuration (OpenID Connect Discovery 1.0, section 3).
///
/// # Errors
/// If it does not say so.
pub(super) fn keys_url(body: &[u8]) -> Result<String, String> {
    let document: Value =
        serde_json::from_slice(body).map_err(|_| "the provider's configuration is no JSON")?;
    match document.get("jwks_uri") {
        Some(Value::String(url)) => Ok(url.clone()),
        _ => Err("the provider's configuration has no text `jwks_uri`".to_owned()),
    }
}

/// Whether two key sets hold the same keys, in whatever order. Providers shuffle theirs, and that is no reason to change
/// listeners. Source: Istio `compareJWKSResponse`.
pub(super) fn same(one: &str, other: &str) -> bool {
    let sorted = |text: &str| {
        let document: Value = serde_json::from_str(text).ok()?;
        let mut keys: Vec<String> = document.get("keys")?.as_array()?.iter().map(Value::to_string).collect();
        keys.sort_unstable();
        Some(keys)
    };
    one == other || sorted(one).is_some_and(|keys| sorted(other) == Some(keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_sets_are_told_from_other_documents() {
        assert!(keys(br#"{"keys": []}"#).is_ok());
        for body in ["", "[]", "{}", r#"{"keys": {}}"#, "-----BEGIN CERTIFICATE-----"] {
            assert!(keys(body.as_bytes()).is_err(), "{body}");
        }
        assert!(keys(&[0xff]).is_err());
        assert_eq!(keys_url(br#"{"jwks_uri": "https://a/b"}"#).unwrap(), "https://a/b");
        assert!(keys_url(br#"{"jwks_uri": 1}"#).is_err());
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        assert!(same(
            r#"{"keys": [{"kid": "a", "n": 1}, {"kid": "b"}]}"#,
            r#"{"keys":[{"kid":"b"},{"n":1,"kid":"a"}]}"#
        ));
        assert!(!same(r#"{"keys": [{"kid": "a"}]}"#, r#"{"keys": [{"kid": "b"}]}"#));
        assert!(!same(r#"{"keys": [{"kid": "a"}]}"#, r#"{"keys": [{"kid": "a"}, {"kid": "a"}]}"#));
    }
}

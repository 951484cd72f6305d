//! Key sets (RFC 7517) that stand in an object.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// A key set that can be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Places of keys that hold a secret, from 0.
    pub secret: Vec<usize>,
}

/// Reads a key set, or a single key.
pub fn parse(text: &str) -> Result<Keys, String> {
    let json: Value = serde_json::from_str(text).map_err(|e| format!("is no JSON: {e}"))?;
    let Value::Object(set) = json else {
        return Err("is no key set, which is an object with keys".to_owned());
    };
    let mut keys = Keys::default();
    let list = match set.get("keys") {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(_) => return Err("has keys that are no list".to_owned()),
        None => vec![],
    };
    if !set.contains_key("keys")
        && secret(&set).map_err(|problem| format!("has no keys and is no key: {problem}"))?
    {
        keys.secret.push(0);
    }
    for (i, key) in list.into_iter().enumerate() {
        let key = key.as_object().ok_or_else(|| format!("has a key [{i}] that is no object"))?;
        if secret(key).map_err(|problem| format!("has a key [{i}] that cannot be read: {problem}"))? {
            keys.secret.push(i);
        }
    }
    Ok(keys)
}

/// Whether a key holds more than its public half; fails if not even that one is whole.
fn secret(key: &Map<String, Value>) -> Result<bool, String> {
    let (public, private): (&[&str], &str) = match key.get("kty").and_then(Value::as_str) {
        Some("RSA") => (&["n", "e"], "d"),
        Some("EC") => (&["x", "y"], "d"),
        Some("OKP") => (&["x"], "d"),
        Some("oct") => (&["k"], "k"),
        other => {
            return Err(format!("its type (kty) is {}; write RSA, EC or OKP", other.unwrap_or("missing")));
        }
    };
    for field in public {
        let value = key.get(*field).and_then(Value::as_str).unwrap_or_default();
        if value.is_empty() || URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).is_err() {
            return Err(format!("its field {field} is no number in base64url"));
        }
    }
    Ok(key.contains_key(private))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole() {
        for (text, secret) in [
            (r#"{"keys": []}"#, &[][..]),
            (r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "a"}]}"#, &[]),
            (r#"{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}"#, &[]),
            (
                r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AQAB"}, {"kty": "oct", "k": "AQAB"}]}"#,
                &[1],
            ),
            (r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB"}]}"#, &[0]),
        ] {
            assert_eq!(parse(text), Ok(Keys { secret: secret.to_vec() }), "{text}");
        }
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"keys": {}}"#,
            r#"{"keys": [1]}"#,
            r#"{"keys": [{"kty": "XYZ"}]}"#,
            r#"{"keys": [{"kty": "RSA", "n": "AQAB"}]}"#,
            r#"{"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

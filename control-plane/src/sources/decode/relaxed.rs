//! Booleans of YAML 1.1: in a file, a field that wants a boolean takes `yes`, `no`, `on` and `off` for one.

use meltemi_api::object::{self, DecodeError, Decoded};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How many fields of one object may be spelled that way.
const MAX: usize = 64;

/// Reads an object of a file, or a part of one.
pub(super) fn decode<T: DeserializeOwned>(mut json: Value) -> Result<Decoded<T>, DecodeError> {
    for _ in 0..MAX {
        match object::decode(json.clone()) {
            Err(e) if e.message.contains("expected a boolean") && correct(&mut json, &e.field) => {}
            done => return done,
        }
    }
    object::decode(json)
}

/// Puts a boolean where the path leads to a text that YAML 1.1 calls one. Returns whether it did.
fn correct(json: &mut Value, path: &str) -> bool {
    let pointer: String =
        path.split(['.', '[', ']']).filter(|s| !s.is_empty()).flat_map(|s| ["/", s]).collect();
    let Some(value) = json.pointer_mut(&pointer) else { return false };
    let boolean = match value.as_str() {
        Some("yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y") => true,
        Some("no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N") => false,
        _ => return false,
    };
    *value = boolean.into();
    true
}

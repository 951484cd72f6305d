//! `v1` Secret and ConfigMap.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::base::{ApiGroupKind, ObjectMeta, or_default};

/// A Secret. Its `Debug` form shows names and sizes, never a value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// Metadata. The annotation in which `kubectl apply` keeps the whole Secret is left out.
    pub metadata: ObjectMeta,
    /// Its type, such as `kubernetes.io/tls`; empty means `Opaque`.
    pub type_: String,
    /// Values by name, decoded; `stringData` of a Secret in a file is among them.
    pub data: BTreeMap<String, Bytes>,
}

impl Secret {
    /// The kind.
    pub const KIND: ApiGroupKind = ApiGroupKind { group: "", kind: "Secret" };
}

/// Holds the object as it was applied, so for a Secret its values.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Raw {
            #[serde(deserialize_with = "or_default")]
            metadata: ObjectMeta,
            #[serde(rename = "type", deserialize_with = "or_default")]
            type_: String,
            #[serde(deserialize_with = "values")]
            data: BTreeMap<String, Bytes>,
            #[serde(deserialize_with = "texts")]
            string_data: BTreeMap<String, String>,
        }
        let Raw { mut metadata, type_, mut data, string_data } = Raw::deserialize(deserializer)?;
        metadata.annotations.remove(LAST_APPLIED);
        data.extend(string_data.into_iter().map(|(name, value)| (name, value.into())));
        Ok(Self { metadata, type_, data })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: BTreeMap<&str, usize> = self.data.iter().map(|(k, v)| (k.as_str(), v.len())).collect();
        f.debug_struct("Secret")
            .field("metadata", &self.metadata)
            .field("type_", &self.type_)
            .field("data_sizes", &sizes)
            .finish()
    }
}

/// A ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    /// Texts by name.
    #[serde(deserialize_with = "or_default")]
    pub data: BTreeMap<String, String>,
    /// Other values by name, decoded.
    #[serde(deserialize_with = "values")]
    pub binary_data: BTreeMap<String, Bytes>,
}

impl ConfigMap {
    /// The kind.
    pub const KIND: ApiGroupKind = ApiGroupKind { group: "", kind: "ConfigMap" };
}

/// Reads base64 values.
fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Bytes>, D::Error> {
    let decode = |(name, mut text): (String, String)| {
        // Line breaks of a YAML block may stand in it; Kubernetes passes over them too.
        text.retain(|c| c != '\n' && c != '\r');
        match BASE64_STANDARD.decode(text) {
            Ok(value) => Ok((name, value.into())),
            Err(_) => Err(D::Error::custom(format_args!("the value of {name} is no base64"))),
        }
    };
    texts(deserializer)?.into_iter().map(decode).collect()
}

/// Reads texts by name. An error names the name and, unlike serde's own, never quotes a value.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let members = match Json::deserialize(deserializer)? {
        Json::Null => return Ok(BTreeMap::new()),
        Json::Object(members) => members,
        _ => return Err(D::Error::custom("values by name are expected")),
    };
    let text = |(name, value)| match value {
        Json::String(text) => Ok((name, text)),
        Json::Null => Ok((name, String::new())),
        _ => Err(D::Error::custom(format_args!("the value of {name} is no text"))),
    };
    members.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_secret_is_read_and_never_shown() {
        let secret: Secret = from_value(json!({
            "metadata": {"name": "a", "annotations": {LAST_APPLIED: "hunter2", "b": "c"}}, "type": "Opaque",
            "data": {"x": "aHVu\ndGVyMg==", "empty": null}, "stringData": {"y": "hunter3"}}))
        .unwrap();
        assert_eq!(secret.data["x"], "hunter2");
        assert_eq!(secret.data["y"], "hunter3");
        assert_eq!(secret.data["empty"], "");
        let shown = format!("{secret:?}");
        assert!(!shown.contains("hunter") && shown.contains("\"x\": 7"), "{shown}");
    }

    #[test]
    fn a_value_that_is_wrong_is_not_quoted() {
        let error = |secret| crate::object::decode::<Secret>(secret).unwrap_err().to_string();
        assert_eq!(error(json!({"data": {"x": "hunter2!"}})), "data: the value of x is no base64");
        assert_eq!(error(json!({"stringData": {"x": 1234}})), "stringData: the value of x is no text");
        assert_eq!(error(json!({"data": "hunter2"})), "data: values by name are expected");
    }

    #[test]
    fn a_config_map_is_read() {
        let map: ConfigMap =
            from_value(json!({"data": {"mesh": "a: b"}, "binaryData": {"x": "AQI="}})).unwrap();
        assert_eq!(map.data["mesh"], "a: b");
        assert_eq!(map.binary_data["x"].as_ref(), [1, 2]);
        assert_eq!(
            from_value::<ConfigMap>(json!({"data": null, "binaryData": null})).unwrap(),
            ConfigMap::default()
        );
    }
}

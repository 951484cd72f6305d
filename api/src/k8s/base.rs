//! What all objects share.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

/// Reads null as the default, for fields that Kubernetes may write as null.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An object's kind with its API group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiGroupKind {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Kind, such as `Service`.
    pub kind: &'static str,
}

/// `metadata` of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Name, unique per kind and namespace.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The prefix of a name that Kubernetes made up; empty if the name was given.
    #[serde(deserialize_with = "or_default")]
    pub generate_name: String,
    /// Namespace, empty for an object of the cluster.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// When the object was created, in RFC 3339; empty if unknown.
    #[serde(deserialize_with = "or_default")]
    pub creation_timestamp: String,
    /// Set once the object is to be deleted, in RFC 3339.
    pub deletion_timestamp: Option<String>,
    /// Counts changes of the `spec`; 0 if the kind does not count.
    #[serde(deserialize_with = "or_default")]
    pub generation: i64,
    /// The apiserver's version of the object, opaque.
    #[serde(deserialize_with = "or_default")]
    pub resource_version: String,
    /// Unique over all objects and times.
    #[serde(deserialize_with = "or_default")]
    pub uid: String,
    /// The objects that this one goes with.
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// An owner of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// API group and version, such as `apps/v1`.
    #[serde(deserialize_with = "or_default")]
    pub api_version: String,
    /// Kind, such as `ReplicaSet`.
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    /// Name, in the namespace of the owned object.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Whether it is the one that manages the object.
    #[serde(deserialize_with = "or_default")]
    pub controller: bool,
}

/// A reference to an object, such as the Pod of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// Kind, such as `Pod`.
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Namespace.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A name.
    String(String),
}

impl Default for IntOrString {
    /// As in Kubernetes: the number 0, which means not set.
    fn default() -> Self {
        Self::Int(0)
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or name")
            }

            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<IntOrString, E> {
                i32::try_from(v).map(IntOrString::Int).map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<IntOrString, E> {
                i32::try_from(v).map(IntOrString::Int).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(v.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn null_reads_as_missing() {
        let all_null = json!({"name": null, "labels": null, "creationTimestamp": null, "generation": null,
            "ownerReferences": null, "deletionTimestamp": null});
        assert_eq!(from_value::<ObjectMeta>(all_null).unwrap(), ObjectMeta::default());
    }

    #[test]
    fn metadata_is_read() {
        let meta: ObjectMeta = from_value(json!({
            "name": "a", "namespace": "b", "labels": {"k": "v"}, "creationTimestamp": "2025-01-01T00:00:00Z",
            "managedFields": [{"manager": "x"}], "resourceVersion": "7", "uid": "u", "generation": 3,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "controller": true}]}))
        .unwrap();
        assert_eq!((meta.name.as_str(), meta.namespace.as_str(), meta.generation), ("a", "b", 3));
        assert!(meta.owner_references[0].controller);
    }

    #[test]
    fn a_port_is_a_number_or_a_name() {
        assert_eq!(from_value::<IntOrString>(json!(80)).unwrap(), IntOrString::Int(80));
        assert_eq!(from_value::<IntOrString>(json!("http")).unwrap(), IntOrString::String("http".into()));
        assert!(from_value::<IntOrString>(json!(1.5)).is_err());
    }
}

//! `gateway.networking.k8s.io` ReferenceGrant: who may refer to objects of its namespace.

use serde::{Deserialize, Serialize};

use super::base::{ObjectMeta, or_default};

/// A ReferenceGrant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceGrant {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    /// What it grants.
    #[serde(deserialize_with = "or_default")]
    pub spec: ReferenceGrantSpec,
}

/// What a ReferenceGrant grants: each of `from` may refer to each of `to`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceGrantSpec {
    /// Who refers.
    #[serde(deserialize_with = "or_default")]
    pub from: Vec<ReferenceGrantFrom>,
    /// To what.
    #[serde(deserialize_with = "or_default")]
    pub to: Vec<ReferenceGrantTo>,
}

/// Resources of a kind in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceGrantFrom {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
}

impl ReferenceGrantFrom {
    /// Whether it is of this kind of the Gateway API.
    pub fn is(&self, kind: &str) -> bool {
        self.group == "gateway.networking.k8s.io" && self.kind == kind
    }
}

/// Objects of a kind in the grant's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceGrantTo {
    /// The API group; empty for the core group.
    #[serde(deserialize_with = "or_default")]
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The only object, if one is named.
    pub name: Option<String>,
}

impl ReferenceGrantTo {
    /// Whether it is of this kind of the core group.
    pub fn is(&self, kind: &str) -> bool {
        self.group.is_empty() && self.kind == kind
    }

    /// Whether an object of this name is meant.
    pub fn names(&self, name: &str) -> bool {
        self.name.as_deref().is_none_or(|only| only == name)
    }
}

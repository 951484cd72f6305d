//! Istio configuration: an API message with the metadata that decides who it is for and who wins.

use crate::labels::Labels;
use crate::{NsName, Str};
use std::cmp::Ordering;
use std::sync::Arc;

/// The annotation by which generated VirtualServices say what they were made of (Istio `InternalRouteSemantics`).
pub const ROUTE_SEMANTICS: &str = "internal.istio.io/route-semantics";
/// Its value for those made of Ingresses.
pub const SEMANTICS_INGRESS: &str = "ingress";
/// Its value for those made of Gateway API routes.
pub const SEMANTICS_GATEWAY: &str = "gateway";

/// The metadata of a configuration object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// Its name.
    pub name: Str,
    /// Its namespace.
    pub namespace: Str,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// When it was created, in seconds since the epoch; 0 where unknown.
    pub creation: i64,
    /// The apiserver's `resourceVersion`, empty in file mode.
    pub resource_version: Str,
    /// The apiserver's `generation`.
    pub generation: i64,
    /// What the object's status says, as far as the mesh reads it.
    pub status: Option<Arc<Status>>,
}

/// What a mesh reads of the status of ServiceEntries and WorkloadEntries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Host and address of each allocated address (ServiceEntry `status.addresses`).
    pub addresses: Vec<(Str, Str)>,
    /// The condition `Healthy`, where given.
    pub healthy: Option<bool>,
}

impl Meta {
    /// The key of the object.
    pub fn key(&self) -> NsName {
        NsName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// Oldest first; ties break by name, then namespace (Istio `SortConfigByCreationTime`).
    pub fn by_age(&self, other: &Meta) -> Ordering {
        (self.creation, &self.name, &self.namespace).cmp(&(other.creation, &other.name, &other.namespace))
    }
}

/// A configuration object of kind `T`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config<T> {
    /// Its metadata.
    pub meta: Meta,
    /// Its content.
    pub spec: T,
}

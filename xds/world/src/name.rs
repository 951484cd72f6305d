//! Names: shared strings and the key of a namespaced object.

use std::fmt;
use std::sync::Arc;

/// A shared, immutable string. Cloning costs a reference count.
pub type Str = Arc<str>;

/// The name of a namespaced object. Cluster-scoped objects have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NsName {
    /// The namespace, empty for cluster-scoped objects.
    pub namespace: Str,
    /// The object's name.
    pub name: Str,
}

impl NsName {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<Str>, name: impl Into<Str>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}", self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

//! `exportTo`: which namespaces may see a service or a configuration.

use crate::Str;
use std::collections::BTreeSet;

/// Who may see an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Every namespace (`*`).
    Public,
    /// These namespaces; a `.` has become the object's own. Empty: nobody (`~`).
    Namespaces(BTreeSet<Str>),
}

impl Visibility {
    /// Reads the entries of an `exportTo`; `own` is the object's namespace. `None` where the list is empty.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>, own: &str) -> Option<Self> {
        let (mut any, mut spaces) = (false, BTreeSet::new());
        for entry in entries {
            any = true;
            match entry.as_ref().trim() {
                "*" => return Some(Self::Public),
                "." => {
                    spaces.insert(own.into());
                }
                "~" => {}
                namespace => {
                    spaces.insert(namespace.into());
                }
            }
        }
        any.then_some(Self::Namespaces(spaces))
    }

    /// Whether `namespace` may see the object.
    pub fn allows(&self, namespace: &str) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(spaces) => spaces.contains(namespace),
        }
    }
}

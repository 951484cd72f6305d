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
        let (mut any, mut nobody, mut spaces) = (false, false, BTreeSet::new());
        for entry in entries {
            any = true;
            match entry.as_ref().trim() {
                "*" => return Some(Self::Public),
                "." => {
                    spaces.insert(own.into());
                }
                "~" => nobody = true,
                namespace => {
                    spaces.insert(namespace.into());
                }
            }
        }
        if nobody {
            spaces.clear(); // `~` beside other namespaces hides the object from those too, as in Istio
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

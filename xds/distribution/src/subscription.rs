//! What a client asks for of one type.

use std::sync::Arc;

use crate::resource::ResourceSet;

/// The name that stands for all resources of a type.
pub const ALL: &str = "*";

/// What a client asks for of one type: everything, some names, or both. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    wildcard: bool,
    names: Arc<[Arc<str>]>,
}

impl Subscription {
    /// Everything.
    pub fn everything() -> Self {
        Self { wildcard: true, ..Self::default() }
    }

    /// Only these names.
    pub fn only<N: Into<Arc<str>>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<Arc<str>> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Self { wildcard: false, names: names.into() }
    }

    /// Whether everything is asked for.
    pub fn wildcard(&self) -> bool {
        self.wildcard
    }

    /// The names that are asked for one by one, sorted.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Whether that resource is asked for.
    pub fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names_it(name)
    }

    /// Whether that resource is asked for by its name.
    pub fn names_it(&self, name: &str) -> bool {
        self.names.binary_search_by(|n| (**n).cmp(name)).is_ok()
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }

    pub(crate) fn set_wildcard(&mut self, wildcard: bool) {
        self.wildcard = wildcard;
    }

    /// Adds names.
    pub(crate) fn add(&mut self, added: &[Arc<str>]) {
        if !added.is_empty() {
            let wildcard = self.wildcard;
            *self = Self::only(self.names.iter().chain(added).cloned());
            self.wildcard = wildcard;
        }
    }

    /// Takes names out.
    pub(crate) fn remove(&mut self, removed: &[Arc<str>]) {
        if !removed.is_empty() {
            let removed = Self::only(removed.iter().cloned());
            self.names = self.names.iter().filter(|n| !removed.names_it(n)).cloned().collect();
        }
    }

    /// Takes the names' text from the set where it has them: ten thousand names on each of a thousand streams are
    /// worth having once.
    pub(crate) fn share_names(&mut self, set: &ResourceSet) {
        let mut shared = Vec::with_capacity(self.names.len());
        set.find_each(&self.names, |name, resource| {
            shared.push(resource.map_or_else(|| name.clone(), |r| r.name.clone()));
        });
        self.names = shared.into();
    }
}

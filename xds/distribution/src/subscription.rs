//! What a client asks for of one type.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustc_hash::{FxHashMap, FxHasher};

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

    /// Whether both name the very same list, which streams that ask for equal lists do. Cheaper than to compare, but
    /// equal lists may be told apart.
    pub fn same_names(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.names, &other.names)
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

    /// Takes the names' text from a set where it has them.
    pub(crate) fn share_names(&mut self, set: &ResourceSet) {
        let mut shared = Vec::with_capacity(self.names.len());
        set.find_each(&self.names, |name, resource| {
            shared.push(resource.map_or_else(|| name.clone(), |r| r.name.clone()));
        });
        self.names = shared.into();
    }
}

/// The lists of names that streams have in common: a thousand equal sidecars ask for the same ten thousand endpoints.
#[derive(Debug, Default)]
pub struct NameLists {
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    by_hash: FxHashMap<u64, Weak<[Arc<str>]>>,
    /// How many there may be before those that nobody uses any more are dropped.
    limit: usize,
}

impl NameLists {
    /// Puts an equal list that another stream has in place of this one, if there is one.
    pub(crate) fn share(&self, subscription: &mut Subscription) {
        if subscription.names.is_empty() {
            return;
        }
        let mut hasher = FxHasher::default();
        subscription.names.hash(&mut hasher);
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = hasher.finish();
        let known = lists.by_hash.get(&hash).and_then(Weak::upgrade);
        match known.filter(|known| *known == subscription.names) {
            Some(known) => subscription.names = known,
            None => lists.add(hash, &subscription.names),
        }
    }
}

impl Lists {
    fn add(&mut self, hash: u64, list: &Arc<[Arc<str>]>) {
        if self.by_hash.len() >= self.limit {
            self.by_hash.retain(|_, list| list.strong_count() > 0);
            self.limit = (2 * self.by_hash.len()).max(MANY);
        }
        self.by_hash.insert(hash, Arc::downgrade(list));
    }
}

/// Below this number of lists it is not worth looking for unused ones.
const MANY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_kept_once_and_only_while_used() {
        let lists = NameLists::default();
        let ask = |from: u32| {
            let mut subscription = Subscription::only((from..from + 100).map(|i| i.to_string()));
            lists.share(&mut subscription);
            subscription
        };
        let (a, b, c) = (ask(0), ask(0), ask(1));
        assert!(Arc::ptr_eq(&a.names, &b.names));
        assert!(!Arc::ptr_eq(&a.names, &c.names));
        drop((a, b));
        let _many: Vec<_> = (2..2 + 2 * MANY as u32).map(ask).collect();
        let lists = lists.lists.lock().unwrap();
        assert_eq!(lists.by_hash.values().filter(|l| l.strong_count() == 0).count(), 0);
    }
}

//! A resource, and the sets of resources that views hold and streams remember.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHasher;

/// One resource as it is sent: made once, shared by reference everywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// The name by which clients ask for it.
    pub name: Arc<str>,
    /// The hash of its content: equal versions mean equal bodies, also after a restart.
    pub version: u64,
    /// The encoded message, without the `Any` around it.
    pub body: Bytes,
}

impl Resource {
    /// The version as it is put on the wire.
    pub fn version_text(&self) -> String {
        version_text(self.version)
    }

    /// This resource's part in the version of a set.
    fn weight(&self) -> u64 {
        let mut hasher = FxHasher::default();
        self.name.hash(&mut hasher);
        self.version.hash(&mut hasher);
        hasher.finish()
    }
}

impl fmt::Debug for Resource {
    /// Leaves the body out: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:x} ({} bytes)", self.name, self.version, self.body.len())
    }
}

/// A version as it is put on the wire.
pub fn version_text(version: u64) -> String {
    format!("{version:016x}")
}

/// Reads a version that a client announces; anything that was not written by [`version_text`] is no version of ours.
pub fn parse_version(text: &str) -> Option<u64> {
    if text.len() == 16 { u64::from_str_radix(text, 16).ok() } else { None }
}

/// A shared set. Two handles to one set are equal by pointer, which is how streams find that nothing changed.
pub type Resources = Arc<ResourceSet>;

/// An immutable set of resources of one type, sorted by name.
///
/// The set costs one pointer a resource, so views that have most resources in common cost little, and a set that
/// shares its resources with an earlier one is compared with it by pointers.
#[derive(Clone, Default)]
pub struct ResourceSet {
    items: Box<[Arc<Resource>]>,
    bytes: usize,
    version: u64,
}

impl ResourceSet {
    /// Collects resources. Of several with one name the first is kept.
    pub fn new(items: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        items.dedup_by(|b, a| a.name == b.name);
        let bytes = items.iter().map(|r| r.body.len()).sum();
        let version = items.iter().fold(0u64, |v, r| v.wrapping_add(r.weight()));
        Self { items: items.into(), bytes, version }
    }

    /// The set that follows this one: `changed` are put in or replaced, `removed` are taken out.
    #[must_use]
    pub fn with(&self, changed: impl IntoIterator<Item = Arc<Resource>>, removed: &[Arc<str>]) -> Self {
        let changed = Self::new(changed);
        let mut removed: Vec<&str> = removed.iter().map(|n| &**n).collect();
        removed.sort_unstable();
        let mut items = Vec::with_capacity(self.len() + changed.len());
        let (mut bytes, mut version) = (self.bytes, self.version);
        walk(self, &changed, |old, new| {
            match (old, new) {
                (Some(old), None) if removed.binary_search(&&*old.name).is_err() => {
                    items.push(Arc::clone(old));
                    return;
                }
                (_, Some(new)) => {
                    items.push(Arc::clone(new));
                    bytes += new.body.len();
                    version = version.wrapping_add(new.weight());
                }
                _ => {}
            }
            if let Some(old) = old {
                bytes -= old.body.len();
                version = version.wrapping_sub(old.weight());
            }
        });
        Self { items: items.into(), bytes, version }
    }

    /// The resource of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.items.binary_search_by(|r| (*r.name).cmp(name)).ok().map(|i| &self.items[i])
    }

    /// Looks up names, which must be sorted, and hands over each with what the set has under it.
    pub fn find_each<'a>(
        &self,
        names: &'a [Arc<str>],
        mut visit: impl FnMut(&'a Arc<str>, Option<&Arc<Resource>>),
    ) {
        // A search of its own for each name is dearer than one walk over the set as soon as there are many names.
        if names.len() < self.len() / 16 {
            for name in names {
                visit(name, self.get(name));
            }
            return;
        }
        let mut items = self.items.iter().peekable();
        for name in names {
            while items.next_if(|r| r.name < *name).is_some() {}
            visit(name, items.peek().copied().filter(|r| r.name == *name));
        }
    }

    /// The resources in the order of their names.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Resource>> {
        self.items.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The size of all bodies.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The version of the set as a whole: equal for equal content, whatever way the set was made.
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl FromIterator<Arc<Resource>> for ResourceSet {
    fn from_iter<I: IntoIterator<Item = Arc<Resource>>>(items: I) -> Self {
        Self::new(items)
    }
}

impl<'a> IntoIterator for &'a ResourceSet {
    type Item = &'a Arc<Resource>;
    type IntoIter = std::slice::Iter<'a, Arc<Resource>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Walks two sets side by side and hands over each name once, with what either set has under it.
pub fn walk(
    old: &ResourceSet,
    new: &ResourceSet,
    mut visit: impl FnMut(Option<&Arc<Resource>>, Option<&Arc<Resource>>),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            // Most resources are shared by both sets: one comparison of pointers instead of names.
            (Some(o), Some(n)) if Arc::ptr_eq(o, n) => Ordering::Equal,
            (Some(o), Some(n)) => o.name.cmp(&n.name),
        };
        match order {
            Ordering::Less => visit(old.next(), None),
            Ordering::Greater => visit(None, new.next()),
            Ordering::Equal => visit(old.next(), new.next()),
        }
    }
}

//! What was generated in one generation of the world, for all proxies that it fits.
//!
//! Proxies that differ only in who exactly they are (replicas of a workload) share what was generated without looking at
//! that. The first one that asks generates; others that ask meanwhile wait for it rather than do it twice.

use super::ResourceType;
use meltemi_distribution::{Resource, Resources, Subscription};
use meltemi_world::Proxy;
use meltemi_world::registry::ServiceTarget;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::xxh3_128;

/// What translation can see of a proxy without asking who exactly it is. Equal keys, equal resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ViewKey(u128);

impl ViewKey {
    /// The key of a proxy that stands behind `targets`.
    pub(crate) fn of(proxy: &Proxy, targets: &[ServiceTarget]) -> Self {
        let behind: Vec<_> = targets.iter().map(|t| (t.service.key(), &t.port, t.target_port)).collect();
        Self(xxh3_128(format!("{:?}{behind:?}", proxy.anonymous()).as_bytes()))
    }
}

/// A result, or that it is not to be shared.
type Cell<T> = Arc<OnceLock<Option<T>>>;

/// Results by what they are of.
type Results<K, T> = Mutex<FxHashMap<K, Cell<T>>>;

/// A list of names, by which list it is rather than by what is on it: streams have equal lists in common.
#[derive(Clone)]
struct List(Subscription);

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_names(&other.0)
    }
}

impl Eq for List {}

impl Hash for List {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.names().as_ptr().hash(state);
    }
}

/// The results of one generation.
#[derive(Default)]
pub(crate) struct Shared {
    whole: Results<(ViewKey, ResourceType), Resources>,
    listed: Results<(ViewKey, ResourceType, List), Resources>,
    named: Results<(ViewKey, ResourceType, Arc<str>), Option<Arc<Resource>>>,
}

impl Shared {
    /// All resources of a type: those that another proxy of the view has, or else what `generate` makes.
    pub(crate) fn whole(
        &self,
        key: ViewKey,
        kind: ResourceType,
        proxy: &Proxy,
        generate: impl Fn() -> Resources,
    ) -> Resources {
        let cell = self.whole.lock().entry((key, kind)).or_default().clone();
        once(&cell, proxy, generate)
    }

    /// The resources of a list of names, likewise.
    pub(crate) fn listed(
        &self,
        key: ViewKey,
        kind: ResourceType,
        wanted: &Subscription,
        proxy: &Proxy,
        generate: impl Fn() -> Resources,
    ) -> Resources {
        let cell = self.listed.lock().entry((key, kind, List(wanted.clone()))).or_default().clone();
        once(&cell, proxy, generate)
    }

    /// One resource, likewise.
    pub(crate) fn named(
        &self,
        key: ViewKey,
        kind: ResourceType,
        name: &Arc<str>,
        proxy: &Proxy,
        generate: impl Fn() -> Option<Arc<Resource>>,
    ) -> Option<Arc<Resource>> {
        let cell = self.named.lock().entry((key, kind, name.clone())).or_default().clone();
        once(&cell, proxy, generate)
    }
}

fn once<T: Clone>(cell: &Cell<T>, proxy: &Proxy, generate: impl Fn() -> T) -> T {
    let mut own = None;
    let shared = cell.get_or_init(|| {
        proxy.take_asked();
        let made = generate();
        if proxy.take_asked() {
            own = Some(made);
            return None;
        }
        Some(made)
    });
    match (shared, own) {
        (Some(made), _) => made.clone(),
        (None, Some(made)) => {
            // For what this result is a part of.
            proxy.note_asked();
            made
        }
        (None, None) => generate(),
    }
}

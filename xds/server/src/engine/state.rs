//! The engine's state: a snapshot with its index, the scopes built so far, and what changed recently.

use super::affect::Staleness;
use super::shared::{Shared, ViewKey};
use meltemi_translation::scope::ScopeKey;
use meltemi_translation::{Index, Scope};
use meltemi_world::{ChangeSet, Kind, Snapshot};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::{Arc, OnceLock};

/// How many change sets are remembered. A stream that lags further behind regenerates everything.
const REMEMBERED: usize = 512;

/// What became stale for a view, found once.
type Cell = Arc<OnceLock<Arc<Staleness>>>;

/// One generation of the world, ready for translation. Immutable but for the scopes that are built when first asked.
pub(crate) struct State {
    /// Counts published snapshots.
    pub(crate) generation: u64,
    /// The world.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Its configuration, arranged.
    pub(crate) index: Arc<Index>,
    scopes: Mutex<FxHashMap<ScopeKey, Arc<Scope>>>,
    /// What was generated in this generation.
    pub(crate) shared: Shared,
    /// What became stale since the generation of before that views were of.
    stale: Mutex<FxHashMap<(ViewKey, u64), Cell>>,
    /// The change sets that led here, oldest first; the last one led to this generation.
    history: imbl::Vector<Arc<ChangeSet>>,
}

impl State {
    /// The first generation.
    pub(crate) fn first(snapshot: Arc<Snapshot>) -> Self {
        let index = Arc::new(Index::build(&snapshot));
        Self {
            generation: 0,
            snapshot,
            index,
            scopes: Mutex::default(),
            shared: Shared::default(),
            stale: Mutex::default(),
            history: imbl::Vector::new(),
        }
    }

    /// The generation after this one.
    pub(crate) fn next(&self, snapshot: Arc<Snapshot>, changes: Arc<ChangeSet>) -> Self {
        let index = Arc::new(self.index.next(&snapshot, &changes));
        let changes = if self.concerns_all(&snapshot, &index, &changes) {
            Arc::new(ChangeSet { mesh: true, ..(*changes).clone() })
        } else {
            changes
        };
        let scopes = if shapes_scopes(&changes) { FxHashMap::default() } else { self.scopes.lock().clone() };
        let mut history = self.history.clone();
        history.push_back(changes);
        while history.len() > REMEMBERED {
            history.pop_front();
        }
        Self {
            generation: self.generation + 1,
            snapshot,
            index,
            scopes: Mutex::new(scopes),
            shared: Shared::default(),
            stale: Mutex::default(),
            history,
        }
    }

    /// Whether a change concerns everybody, like one of the mesh's settings: gateways between networks are in the
    /// assignments of all services, and labels of a namespace may decide who sees its ServiceEntries.
    fn concerns_all(&self, snapshot: &Snapshot, index: &Index, changes: &ChangeSet) -> bool {
        let by_labels = snapshot.mesh.service_entry_visibility.is_some() && changes.has(Kind::Namespace);
        by_labels || index.networks != self.index.networks
    }

    /// The scope of `key`, built at most once in a generation.
    pub(crate) fn scope(&self, key: &ScopeKey) -> Arc<Scope> {
        if let Some(scope) = self.scopes.lock().get(key) {
            return scope.clone();
        }
        // Built outside the lock: two streams may build the same scope, and the first result stays.
        let built = Arc::new(Scope::build(&self.snapshot, &self.index, key));
        self.scopes.lock().entry(key.clone()).or_insert(built).clone()
    }

    /// What changed since `generation`; `None` if that is too long ago to know.
    pub(crate) fn since(&self, generation: u64) -> Option<Arc<ChangeSet>> {
        let missed =
            usize::try_from(self.generation - generation).ok().filter(|n| *n <= self.history.len())?;
        let mut missed = self.history.iter().skip(self.history.len() - missed);
        let mut merged = missed.next().cloned().unwrap_or_default();
        for changes in missed {
            Arc::make_mut(&mut merged).merge(changes);
        }
        Some(merged)
    }

    /// What became stale since `generation` for the proxies of a view: what `find` says, which is asked once for all.
    pub(crate) fn staleness(
        &self,
        key: ViewKey,
        generation: u64,
        find: impl FnOnce() -> Staleness,
    ) -> Arc<Staleness> {
        let cell = self.stale.lock().entry((key, generation)).or_default().clone();
        cell.get_or_init(|| Arc::new(find())).clone()
    }
}

/// Whether a change can alter what proxies see, rather than only endpoints or policies.
fn shapes_scopes(changes: &ChangeSet) -> bool {
    use Kind::{DestinationRule, Sidecar, VirtualService};
    changes.mesh
        || !changes.services.is_empty()
        || [VirtualService, DestinationRule, Sidecar].iter().any(|k| changes.has(*k))
}

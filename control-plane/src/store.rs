//! The one writer of the world: takes batches of changes from the sources, and publishes what follows from them.
//!
//! The first change after quiet goes out at once. What arrives while it is worked on, or too soon after, is taken
//! together next.

mod pace;

use arc_swap::ArcSwap;
use meltemi_world::{Change, ChangeSet, Snapshot, World};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

use pace::Pace;

use crate::metrics::Metrics;
use crate::sources::{Batch, Batches, Diagnostic, Part, Severity, Subject};

/// How many batches may wait.
const QUEUE: usize = 64;
/// How often what arrives is taken while the next snapshot waits for its time.
const STEP: Duration = Duration::from_millis(5);
/// How many changes are taken together at most, so that a flood is published in steps.
const TOGETHER: usize = 20_000;

/// Who learns of each new snapshot.
pub trait Publisher: Send + 'static {
    /// Takes the next snapshot, and what differs from the one before. `since` is when the first of the changes became
    /// known.
    fn publish(&self, snapshot: Arc<Snapshot>, changes: ChangeSet, since: Instant);
}

/// What everybody may read of the store.
#[derive(Debug)]
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    complete: AtomicBool,
    waiting: RwLock<BTreeSet<Part>>,
    findings: RwLock<BTreeMap<Subject, Vec<Diagnostic>>>,
}

impl Shared {
    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether everything has been read once and the first snapshot stands.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// What has not been read yet.
    pub fn waiting(&self) -> Vec<Part> {
        self.waiting.read().iter().copied().collect()
    }

    /// What is wrong with the input, as the sources see it.
    pub fn findings(&self) -> Vec<Diagnostic> {
        self.findings.read().values().flatten().cloned().collect()
    }
}

/// The writer, before it starts.
pub struct Store<P> {
    world: World,
    shared: Arc<Shared>,
    batches: mpsc::Receiver<Batch>,
    publisher: P,
    metrics: Metrics,
    held: Vec<Change>,
    pace: Pace,
}

/// A store that starts from `snapshot` and publishes nothing before all `parts` are complete.
pub fn new<P: Publisher>(
    snapshot: Snapshot,
    parts: impl IntoIterator<Item = Part>,
    publisher: P,
    metrics: Metrics,
) -> (Store<P>, Batches, Arc<Shared>) {
    let world = World::new(snapshot);
    let shared = Arc::new(Shared {
        snapshot: ArcSwap::new(world.snapshot().clone()),
        complete: AtomicBool::new(false),
        waiting: RwLock::new(parts.into_iter().collect()),
        findings: RwLock::default(),
    });
    let (sender, batches) = mpsc::channel(QUEUE);
    let store = Store {
        world,
        shared: shared.clone(),
        batches,
        publisher,
        metrics,
        held: Vec::new(),
        pace: Pace::default(),
    };
    (store, sender, shared)
}

impl<P: Publisher> Store<P> {
    /// Works until all sources are gone. Blocks, so it wants a thread of its own.
    pub fn run(mut self) {
        while let Some(first) = self.batches.blocking_recv() {
            self.take(first);
        }
    }

    fn take(&mut self, first: Batch) {
        let since = first.since;
        self.note(first);
        loop {
            while self.held.len() < TOGETHER
                && let Ok(next) = self.batches.try_recv()
            {
                self.note(next);
            }
            let wait = self.pace.wait(Instant::now());
            if wait.is_zero() || self.held.len() >= TOGETHER {
                break;
            }
            // In steps, so that the sources need not wait, too.
            std::thread::sleep(wait.min(STEP));
        }
        let first_time = !self.shared.is_complete();
        if first_time && !self.shared.waiting.read().is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.held);
        if changes.is_empty() && !first_time {
            return;
        }
        let count = changes.len();
        let start = Instant::now();
        let set = self.apply(changes);
        let snapshot = self.world.snapshot().clone();
        self.shared.snapshot.store(snapshot.clone());
        self.metrics.applied(&set, &snapshot, start.elapsed());
        if first_time {
            tracing::info!(objects = count, services = snapshot.registry.len(), "everything has been read");
        }
        if first_time || !set.is_empty() {
            log_change(&set, since.elapsed());
            self.pace.published(Instant::now());
            let publish = AssertUnwindSafe(|| self.publisher.publish(snapshot, set, since));
            if catch_unwind(publish).is_err() {
                tracing::error!(
                    "a snapshot could not be published, which is a bug; proxies keep what they have"
                );
            }
        }
        self.shared.complete.store(true, Ordering::Release);
    }

    /// Applies changes. One that the world cannot take, which is a bug, is left out and named; all others count.
    fn apply(&mut self, changes: Vec<Change>) -> ChangeSet {
        let before = self.world.snapshot().clone();
        let world = &mut self.world;
        let all = changes.clone();
        if let Ok(set) = catch_unwind(AssertUnwindSafe(move || world.apply(all))) {
            return set;
        }
        self.world = World::new((*before).clone());
        let mut merged = ChangeSet::default();
        for change in changes {
            let before = self.world.snapshot().clone();
            let (world, one) = (&mut self.world, vec![change.clone()]);
            match catch_unwind(AssertUnwindSafe(move || world.apply(one))) {
                Ok(set) => merged.merge(&set),
                Err(_) => {
                    let what = match &change {
                        Change::Upsert(object) => format!("{} {}", object.id().0, object.id().1),
                        Change::Remove(kind, name) => format!("the removal of {kind} {name}"),
                        Change::Mesh(_) => "the mesh configuration".to_owned(),
                        Change::Networks(_) => "the mesh networks".to_owned(),
                        Change::Roots(_) => "the certificates of the mesh's authority".to_owned(),
                    };
                    tracing::error!("{what} cannot be taken in, which is a bug; it is left out");
                    self.world = World::new((*before).clone());
                }
            }
        }
        merged
    }

    fn note(&mut self, batch: Batch) {
        self.metrics.received(&batch.changes);
        self.held.extend(batch.changes);
        if !self.shared.is_complete() {
            self.shared.waiting.write().extend(batch.awaiting);
        }
        if let Some(part) = batch.complete
            && self.shared.waiting.write().remove(&part)
        {
            tracing::debug!(%part, "read");
        }
        for (subject, findings) in batch.findings {
            let mut all = self.shared.findings.write();
            let known = all.remove(&subject).unwrap_or_default();
            for finding in findings.iter().filter(|f| !known.contains(f)) {
                finding.log();
                self.metrics.found(finding.severity);
            }
            if !findings.is_empty() {
                all.insert(subject, findings);
            }
            let errors = all.values().flatten().filter(|f| f.severity == Severity::Error).count();
            self.metrics.errors(errors);
        }
    }
}

fn log_change(set: &ChangeSet, age: Duration) {
    tracing::debug!(
        objects = set.objects.len(),
        services = set.services.len(),
        endpoints = set.endpoints.len(),
        mesh = set.mesh,
        ?age,
        "publishing"
    );
}

#[cfg(test)]
mod tests;

//! The one writer of the world: applies batches of changes.

use crate::{Change, ChangeSet, Snapshot};
use std::sync::Arc;

/// Holds the current snapshot and makes the next one.
#[derive(Debug)]
pub struct World {
    current: Arc<Snapshot>,
}

impl World {
    /// A world that starts from `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        Self { current: Arc::new(snapshot) }
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.current
    }

    /// Applies a batch of changes and says what differs from the snapshot before.
    pub fn apply(&mut self, changes: Vec<Change>) -> ChangeSet {
        let _ = changes;
        ChangeSet::default()
    }
}

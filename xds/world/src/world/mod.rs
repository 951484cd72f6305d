//! The one writer of the world: applies batches of changes.
//!
//! A change first goes into the table of its kind, then what depends on it is recomputed from the tables. So the
//! registry is a function of the tables, whatever the order of changes; a test requires that.

mod compute;
mod dirty;
mod discovery;
mod index;
mod ingress;
mod tables;

use crate::convert::Networks;
use crate::{Change, ChangeSet, Snapshot};
use dirty::Dirty;
use discovery::{Discovery, Objects};
use index::Index;
use std::sync::Arc;

/// Holds the current snapshot and makes the next one.
#[derive(Debug)]
pub struct World {
    current: Arc<Snapshot>,
    index: Index,
    networks: Networks,
    discovery: Discovery,
}

impl World {
    /// A world that starts from the settings of `snapshot` and the objects in it.
    pub fn new(snapshot: Snapshot) -> Self {
        let objects = tables::objects(&snapshot);
        let mut empty = Snapshot::empty((*snapshot.settings).clone());
        (empty.mesh, empty.networks) = (snapshot.mesh.clone(), snapshot.networks.clone());
        empty.roots = snapshot.roots.clone();
        let networks = Networks::of_snapshot(&empty);
        let discovery = Discovery::default();
        let mut world = Self { current: Arc::new(empty), index: Index::default(), networks, discovery };
        world.apply(objects.into_iter().map(Change::Upsert).collect());
        world
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.current
    }

    /// Applies a batch of changes and says what differs from the snapshot before.
    pub fn apply(&mut self, changes: Vec<Change>) -> ChangeSet {
        let mut next = (*self.current).clone();
        let (mut set, mut dirty) = (ChangeSet::default(), Dirty::default());
        // Of several changes to one object only the last one counts.
        let mut objects = Objects::new();
        for change in changes {
            match change {
                Change::Upsert(object) => drop(objects.insert(object.id(), Some(object))),
                Change::Remove(kind, name) => drop(objects.insert((kind, name), None)),
                Change::Mesh(mesh) => set.mesh |= replace(&mut next.mesh, mesh),
                Change::Networks(networks) => set.mesh |= replace(&mut next.networks, networks),
                Change::Roots(roots) => {
                    // Proxies that are told of roots by their certificate's issuer alone do not see a difference.
                    set.mesh |= replace(&mut next.roots, roots) && next.settings.features.multi_root;
                }
            }
        }
        dirty.all |= set.mesh;
        self.discovery.choose(&self.current, &next.mesh, &mut objects);
        for ((kind, name), object) in objects {
            if self.index.put(&mut next, &mut dirty, kind, &name, object) {
                set.objects.insert((kind, name));
            }
        }
        self.ingresses(&mut next, &mut dirty, &mut set);
        self.recompute(&mut next, dirty, &mut set);
        self.current = Arc::new(next);
        set
    }
}

fn replace<T: PartialEq>(old: &mut Arc<T>, new: Arc<T>) -> bool {
    let differs = **old != *new;
    if differs {
        *old = new;
    }
    differs
}

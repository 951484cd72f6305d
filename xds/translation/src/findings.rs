//! What a translation could not do, beside what it made.

use meltemi_world::NsName;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A patch of an EnvoyFilter that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The EnvoyFilter.
    pub filter: NsName,
    /// The place of the patch in `spec.configPatches`.
    pub at: usize,
    /// Why it could not be applied.
    pub reason: String,
}

/// Collects findings while resources are made. Part of a translation's result: equal input gives equal findings.
#[derive(Debug, Default)]
pub struct Findings(RefCell<BTreeSet<Finding>>);

impl Findings {
    /// Adds one. The same one is kept once.
    pub fn add(&self, finding: Finding) {
        self.0.borrow_mut().insert(finding);
    }

    /// What was found since the last time.
    pub fn take(&self) -> BTreeSet<Finding> {
        self.0.take()
    }
}

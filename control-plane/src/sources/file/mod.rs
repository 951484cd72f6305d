//! Everything from the YAML files of a folder, followed as they change.

mod contents;
mod defaults;
mod folder;
mod listing;

pub use folder::{Folder, Reading};

use meltemi_world::Change;
use std::collections::BTreeSet;
use std::path::Path;

use super::Diagnostic;

/// Reads a folder once: its objects, and what is wrong with them.
pub fn load(dir: impl AsRef<Path>) -> (Vec<Change>, Vec<Diagnostic>) {
    let mut folder = Folder::new(dir.as_ref());
    let reading = folder.read(&BTreeSet::new());
    folder.commit(reading)
}

#[cfg(test)]
mod tests;

//! What sources hand to the store.

use meltemi_world::{Change, NsName};
use std::time::Instant;
use tokio::sync::mpsc;

use super::Diagnostic;

/// A part of what is read, which is complete or not by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The files of a folder.
    Files,
    /// The mesh's configuration and networks.
    Mesh,
    /// What an apiserver serves of one kind, by its plural.
    Watch(&'static str),
    /// Which kinds an apiserver serves.
    Kinds,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Files => f.write_str("files"),
            Self::Mesh => f.write_str("mesh configuration"),
            Self::Watch(plural) => f.write_str(plural),
            Self::Kinds => f.write_str("served kinds"),
        }
    }
}

/// What findings are about. Findings about a subject replace those before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// All files together.
    Files,
    /// The mesh's configuration and networks.
    Mesh,
    /// One object of a cluster, by kind.
    Object(&'static str, NsName),
    /// Keys that are fetched for RequestAuthentications.
    Keys,
    /// How well an apiserver's objects of one kind can be read, by their plural.
    Watch(&'static str),
}

/// Changes that belong together, and what is wrong with the input.
#[derive(Debug)]
pub struct Batch {
    /// Changes, in their order.
    pub changes: Vec<Change>,
    /// Findings by subject; an empty list takes back those before.
    pub findings: Vec<(Subject, Vec<Diagnostic>)>,
    /// The part that has been read whole, once it has.
    pub complete: Option<Part>,
    /// Parts that turned out to be needed as well.
    pub awaiting: Vec<Part>,
    /// When the changes became known.
    pub since: Instant,
}

impl Batch {
    /// A batch of what became known now.
    pub fn new(changes: Vec<Change>) -> Self {
        Self { changes, findings: Vec::new(), complete: None, awaiting: Vec::new(), since: Instant::now() }
    }

    /// With findings about `subject`.
    pub fn with(mut self, subject: Subject, findings: Vec<Diagnostic>) -> Self {
        self.findings.push((subject, findings));
        self
    }
}

/// Where sources send batches. It holds few, so that a source waits for the store rather than heap up what it read.
pub type Batches = mpsc::Sender<Batch>;

//! A folder of YAML files as a set of objects.
//!
//! **Invariants:** a file that cannot be read leaves what it held before; an object that is bad leaves what it was
//! before; of two files that claim the same object the first by name wins, as long as it claims it.

use meltemi_world::{Change, Kind, NsName, Object, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::contents::{Contents, Entry, Id};
use super::listing::{self, Stamp};
use crate::sources::diagnostic::{Diagnostic, Place, Severity};

/// The objects of a folder, as last read.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    files: BTreeMap<PathBuf, Contents>,
    current: BTreeMap<Id, Object>,
}

/// Files that were read and are not in force yet.
#[derive(Debug, Default)]
pub struct Reading {
    listed: Option<BTreeMap<PathBuf, Stamp>>,
    texts: BTreeMap<PathBuf, io::Result<String>>,
    problem: Option<Diagnostic>,
}

impl Reading {
    /// Takes back what was read of files that changed meanwhile.
    pub fn discard(&mut self, paths: &BTreeSet<PathBuf>) {
        self.texts.retain(|path, _| !paths.contains(path));
    }
}

impl Folder {
    /// A folder that nothing was read of yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), files: BTreeMap::new(), current: BTreeMap::new() }
    }

    /// The object with this name, if a file holds it.
    pub fn get(&self, kind: Kind, name: &NsName) -> Option<&Object> {
        self.current.get(&(kind, name.clone()))
    }

    /// Reads the files that changed, except those that are being written.
    pub fn read(&self, writing: &BTreeSet<PathBuf>) -> Reading {
        match listing::files(&self.dir) {
            Ok(listed) => {
                let known = |path: &Path| self.files.get(path).and_then(|f| f.stamp.as_ref());
                let changed =
                    listed.iter().filter(|(p, stamp)| known(p) != Some(stamp) && !writing.contains(p));
                let texts = changed.map(|(path, stamp)| (path.clone(), listing::read(path, stamp))).collect();
                Reading { texts, listed: Some(listed.into_iter().collect()), problem: None }
            }
            Err(e) => {
                let place = Place { file: self.dir.clone(), line: 0 };
                let message = format!("cannot list the folder: {e}; what it held before stays in force");
                let problem = Some(Diagnostic::of_file(Severity::Error, place, message));
                Reading { problem, ..Reading::default() }
            }
        }
    }

    /// Puts what was read in force. Returns what that changes, and all that is wrong with the folder.
    pub fn commit(&mut self, reading: Reading) -> (Vec<Change>, Vec<Diagnostic>) {
        let Reading { listed, texts, problem } = reading;
        if let Some(listed) = &listed {
            self.files.retain(|path, _| listed.contains_key(path));
        }
        for (path, text) in texts {
            let file = self.files.entry(path.clone()).or_default();
            let stamp = listed.as_ref().and_then(|l| l.get(&path)).cloned();
            match text {
                Ok(text) => file.take(&path, &text),
                // It changed while it was read. Without a stamp it is read again.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => file.unreadable(&path, 0, &e.to_string()),
            }
            file.stamp = stamp;
        }
        let (changes, mut findings) = self.merge();
        findings.extend(problem);
        (changes, findings)
    }

    /// What the files say together, and how that differs from before.
    fn merge(&mut self) -> (Vec<Change>, Vec<Diagnostic>) {
        let sliced = self.sliced_services();
        let mut claims: BTreeMap<&Id, (&Path, &Entry)> = BTreeMap::new();
        let mut findings = Vec::new();
        for (path, file) in &self.files {
            findings.extend(file.findings.iter().cloned());
            for entry in &file.entries {
                let mut found = |severity, message: String| {
                    let (kind, name) = &entry.id;
                    let place = Some(Place { file: path.clone(), line: entry.line });
                    findings.push(Diagnostic {
                        place,
                        ..Diagnostic::new(severity, kind.name(), name, "", message)
                    });
                };
                if entry.mirrored
                    && service_of(&entry.object).is_some_and(|service| sliced.contains(&service))
                {
                    found(
                        Severity::Note,
                        "made of Endpoints, of a Service that has EndpointSlices: they count".into(),
                    );
                } else if let Some((first, other)) = claims.get(&entry.id) {
                    let first = Place { file: first.to_path_buf(), line: other.line };
                    let message =
                        format!("defined at {first} as well, which is in force; remove one of the two");
                    found(Severity::Error, message);
                } else {
                    claims.insert(&entry.id, (path, entry));
                }
            }
        }
        let (mut changes, mut next) = (Vec::new(), BTreeMap::new());
        for (id, (_, entry)) in claims {
            if self.current.remove(id).is_none_or(|old| old != entry.object) {
                changes.push(Change::Upsert(entry.object.clone()));
            }
            next.insert(id.clone(), entry.object.clone());
        }
        let gone = std::mem::replace(&mut self.current, next);
        changes.extend(gone.into_keys().map(|(kind, name)| Change::Remove(kind, name)));
        (changes, findings)
    }

    /// The Services that real slices exist of.
    fn sliced_services(&self) -> BTreeSet<(&Str, &Str)> {
        let entries = self.files.values().flat_map(|f| &f.entries).filter(|e| !e.mirrored);
        entries.filter_map(|e| service_of(&e.object)).collect()
    }
}

fn service_of(object: &Object) -> Option<(&Str, &Str)> {
    match object {
        Object::EndpointSlice(slice) => Some((&slice.key.namespace, &slice.service)),
        _ => None,
    }
}

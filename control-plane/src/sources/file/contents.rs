//! One file as a set of objects.

use meltemi_world::{Kind, NsName, Object};
use std::collections::BTreeMap;
use std::path::Path;

use super::defaults;
use super::listing::Stamp;
use crate::sources::decode::{self, Outcome};
use crate::sources::diagnostic::{Diagnostic, Place, Severity};
use crate::sources::yaml::{self, Document};

/// The namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// What identifies an object.
pub(super) type Id = (Kind, NsName);

/// One file, as last read.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The state that was read.
    pub stamp: Option<Stamp>,
    /// The objects that it holds, in its order.
    pub entries: Vec<Entry>,
    /// What is wrong with it.
    pub findings: Vec<Diagnostic>,
}

/// One object of a file.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name.
    pub id: Id,
    /// The object.
    pub object: Object,
    /// Where it starts.
    pub line: u64,
    /// Whether it was made of `Endpoints`, which yield to real slices.
    pub mirrored: bool,
}

impl Contents {
    /// Takes a file's text in place of the one before. If it cannot be read, all stays; if an object is bad, that one
    /// does.
    pub fn take(&mut self, path: &Path, text: &str) {
        let documents = match yaml::documents(path, text) {
            Ok(documents) => documents,
            Err(e) => return self.unreadable(path, e.line, &e.message),
        };
        let mut before: BTreeMap<Id, Object> = self.entries.drain(..).map(|e| (e.id, e.object)).collect();
        self.findings.clear();
        for Document { line, mut value } in documents.into_iter().flat_map(unfold) {
            let mut findings = Vec::new();
            let mirrored = value.get("kind").is_some_and(|k| k == "Endpoints");
            defaults::apply(&mut value);
            match decode::value(value, DEFAULT_NAMESPACE) {
                Outcome::Read(read) => {
                    findings = read.warnings;
                    for object in read.objects {
                        let id = object.id();
                        // The same object again shares what was there before.
                        let object = before.remove(&id).filter(|old| *old == object).unwrap_or(object);
                        self.entries.push(Entry { id, object, line, mirrored });
                    }
                }
                Outcome::Skipped { kind, api_version, object, later: true } => {
                    let message = format!("kind of {api_version} is not handled yet: it has no effect");
                    findings.push(Diagnostic::new(Severity::Note, &kind, &object, "", message));
                }
                Outcome::Skipped { kind, api_version, object, later: false } => {
                    tracing::debug!(%kind, %api_version, %object, "nothing of the mesh");
                }
                Outcome::Rejected { id, mut finding } => {
                    if let Some((id, object)) = id.and_then(|id| before.remove_entry(&id)) {
                        finding.message.push_str("; its last good version stays in force");
                        self.entries.push(Entry { id, object, line, mirrored });
                    }
                    findings.push(finding);
                }
            }
            let place = Place { file: path.to_owned(), line };
            self.findings
                .extend(findings.into_iter().map(|f| Diagnostic { place: Some(place.clone()), ..f }));
        }
    }

    /// Notes that the file cannot be read as it is now.
    pub fn unreadable(&mut self, path: &Path, line: u64, problem: &str) {
        let place = Place { file: path.to_owned(), line };
        let message = format!("cannot be read: {problem}; what the file held before stays in force");
        self.findings = vec![Diagnostic::of_file(Severity::Error, place, message)];
    }
}

/// The items of a `List`, or the document itself.
fn unfold(document: Document) -> Vec<Document> {
    let Document { line, mut value } = document;
    let is_list = value.get("kind").and_then(|k| k.as_str()).is_some_and(|k| k.ends_with("List"));
    match value.get_mut("items").filter(|items| is_list && items.is_array()).map(serde_json::Value::take) {
        Some(serde_json::Value::Array(items)) => {
            items.into_iter().map(|value| Document { line, value }).collect()
        }
        _ => vec![Document { line, value }],
    }
}

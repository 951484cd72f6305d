//! Objects of one kind as an apiserver tells of them, to changes of the world. No IO.
//!
//! **Invariant:** nothing that is known goes away before the apiserver says so, or a whole list lacks it.

use meltemi_world::{Change, NsName, Object, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;

use super::selection::{Selected, Selection};
use super::slim::Slim;
use super::wire::Bare;
use crate::sources::decode::{self, Outcome, kinds::Resource};
use crate::sources::{Batch, Batches, Diagnostic, Part, Severity, Subject};

/// The label by which an object is meant for one revision of the control plane.
const REVISION: &str = "istio.io/rev";

/// The store is gone: the process ends.
pub(super) struct Closed;

/// Takes what a list or a watch tells, in its order.
pub(super) trait Intake: Send {
    /// A list starts.
    fn start(&mut self);
    /// An object is as this text says.
    fn take(&mut self, object: &str);
    /// An object is gone.
    fn remove(&mut self, object: &str);
    /// The list was whole.
    fn finish(&mut self);
    /// Hands on what was taken since the last time.
    fn flush(&mut self) -> impl Future<Output = Result<(), Closed>> + Send;
    /// Notes that reading fails, or that it works again.
    fn trouble(&mut self, problem: Option<String>) -> impl Future<Output = Result<(), Closed>> + Send;

    /// Takes another selection of namespaces. Returns those that must be listed; `None` for all.
    fn select(&mut self, _: &Selected) -> Option<Vec<Str>> {
        Some(Vec::new())
    }
}

/// What is taken of the objects of one kind.
pub(super) struct Objects {
    resource: &'static Resource,
    /// The control plane's revision, if it takes only its own objects.
    revision: Option<Str>,
    selected: Selected,
    /// Told of namespaces, for the kind Namespace.
    selection: Option<Arc<Selection>>,
    listed: Option<oneshot::Sender<()>>,
    batches: Batches,
    slim: Slim,
    known: BTreeSet<NsName>,
    flagged: BTreeSet<NsName>,
    seen: Option<BTreeSet<NsName>>,
    changes: Vec<Change>,
    findings: BTreeMap<Subject, Vec<Diagnostic>>,
    complete: bool,
    troubled: bool,
}

impl Objects {
    pub fn new(resource: &'static Resource, batches: Batches) -> Self {
        Self {
            resource,
            revision: None,
            selected: Selected::All,
            selection: None,
            listed: None,
            batches,
            slim: Slim::default(),
            known: BTreeSet::new(),
            flagged: BTreeSet::new(),
            seen: None,
            changes: Vec::new(),
            findings: BTreeMap::new(),
            complete: false,
            troubled: false,
        }
    }

    /// Takes only objects of this revision and those of none.
    pub fn of_revision(mut self, revision: Option<Str>) -> Self {
        self.revision = revision;
        self
    }

    /// Tells of namespaces, and once of when the first list was whole.
    pub fn telling(mut self, selection: Arc<Selection>) -> (Self, oneshot::Receiver<()>) {
        let (sender, listed) = oneshot::channel();
        self.selection = Some(selection);
        self.listed = Some(sender);
        (self, listed)
    }

    /// Takes everything away: the kind is no longer served.
    pub fn remove_all(&mut self) {
        self.seen = Some(BTreeSet::new());
        self.finish();
    }

    fn wanted(&self, object: &Object, name: &NsName) -> bool {
        self.selected.has(&name.namespace)
            && match (&self.revision, revision_of(object)) {
                (Some(own), Some(other)) => **own == *other,
                _ => true,
            }
    }

    fn upsert(&mut self, name: &NsName, object: Option<Object>) {
        let object = object.filter(|o| self.wanted(o, name)).and_then(|o| self.slim.cut(o));
        let Some(object) = object else { return self.forget(name) };
        if let (Some(selection), Object::Namespace(namespace)) = (&self.selection, &object) {
            selection.namespace(&name.name, Some(namespace.labels.clone()));
        }
        // The object's own texts, so that the name is there once.
        let name = object.id().1;
        if let Some(seen) = &mut self.seen {
            seen.insert(name.clone());
        }
        self.known.insert(name);
        self.changes.push(Change::Upsert(object));
    }

    fn forget(&mut self, name: &NsName) {
        if self.known.remove(name) {
            self.changes.push(Change::Remove(self.resource.kind, name.clone()));
            if let Some(selection) = &self.selection {
                selection.namespace(&name.name, None);
            }
        }
    }

    fn flag(&mut self, name: &NsName, findings: Vec<Diagnostic>) {
        let findings: Vec<Diagnostic> =
            findings.into_iter().filter(|f| f.severity != Severity::Note).collect();
        let was =
            if findings.is_empty() { self.flagged.remove(name) } else { !self.flagged.insert(name.clone()) };
        if was || !findings.is_empty() {
            self.findings.insert(Subject::Object(self.resource.kind.name(), name.clone()), findings);
        }
    }
}

fn revision_of(object: &Object) -> Option<&str> {
    let meta = match object {
        Object::VirtualService(o) => &o.meta,
        Object::DestinationRule(o) => &o.meta,
        Object::ServiceEntry(o) => &o.meta,
        Object::WorkloadEntry(o) => &o.meta,
        Object::WorkloadGroup(o) => &o.meta,
        Object::Sidecar(o) => &o.meta,
        Object::Gateway(o) => &o.meta,
        Object::EnvoyFilter(o) => &o.meta,
        Object::ProxyConfig(o) => &o.meta,
        Object::PeerAuthentication(o) => &o.meta,
        Object::RequestAuthentication(o) => &o.meta,
        Object::AuthorizationPolicy(o) => &o.meta,
        Object::Telemetry(o) => &o.meta,
        Object::WasmPlugin(o) => &o.meta,
        // Kubernetes' own objects belong to all revisions.
        _ => return None,
    };
    meta.labels.get(REVISION)
}

impl Intake for Objects {
    fn start(&mut self) {
        self.seen = Some(BTreeSet::new());
    }

    fn take(&mut self, text: &str) {
        match decode::text(self.resource.kind, text) {
            Outcome::Read(mut read) => {
                let object = read.objects.pop();
                let name = object.as_ref().map_or(read.name, |o| o.id().1);
                self.upsert(&name, object);
                let findings = if self.known.contains(&name) { read.warnings } else { Vec::new() };
                self.flag(&name, findings);
            }
            Outcome::Rejected { mut finding, .. } => {
                let name = Bare::read(text).name();
                finding.object = name.clone();
                if !self.selected.has(&name.namespace) {
                    return;
                }
                if self.known.contains(&name) {
                    finding.message.push_str("; its last good version stays in force");
                }
                if let Some(seen) = &mut self.seen {
                    seen.insert(name.clone());
                }
                self.flag(&name, vec![finding]);
            }
            Outcome::Skipped { .. } => {}
        }
    }

    fn remove(&mut self, text: &str) {
        let name = Bare::read(text).name();
        self.forget(&name);
        self.flag(&name, Vec::new());
    }

    fn finish(&mut self) {
        let Some(seen) = self.seen.take() else { return };
        let gone: Vec<NsName> =
            self.known.union(&self.flagged).filter(|n| !seen.contains(n)).cloned().collect();
        for name in gone {
            self.forget(&name);
            self.flag(&name, Vec::new());
        }
        self.complete = true;
        if let Some(listed) = self.listed.take() {
            // Whoever waited may have gone.
            let _ = listed.send(());
        }
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        if self.changes.is_empty() && self.findings.is_empty() && !self.complete {
            return Ok(());
        }
        let mut batch = Batch::new(std::mem::take(&mut self.changes));
        batch.findings = std::mem::take(&mut self.findings).into_iter().collect();
        batch.complete = std::mem::take(&mut self.complete).then_some(Part::Watch(self.resource.plural));
        self.batches.send(batch).await.map_err(|_| Closed)
    }

    async fn trouble(&mut self, problem: Option<String>) -> Result<(), Closed> {
        if problem.is_none() && !self.troubled {
            return Ok(());
        }
        self.troubled = problem.is_some();
        let name = NsName::new("", self.resource.plural);
        let finding =
            |message: String| Diagnostic::new(Severity::Error, self.resource.kind.name(), &name, "", message);
        let findings = problem.map(finding).into_iter().collect();
        let batch = Batch::new(Vec::new()).with(Subject::Watch(self.resource.plural), findings);
        self.batches.send(batch).await.map_err(|_| Closed)
    }

    fn select(&mut self, selected: &Selected) -> Option<Vec<Str>> {
        let before = std::mem::replace(&mut self.selected, selected.clone());
        let gone: Vec<NsName> =
            self.known.union(&self.flagged).filter(|name| !selected.has(&name.namespace)).cloned().collect();
        for name in gone {
            self.forget(&name);
            self.flag(&name, Vec::new());
        }
        selected.added_since(&before)
    }
}

#[cfg(test)]
mod tests;

//! Which of the kinds that come from CRDs an apiserver serves. Each is reflected from when its CRD is there until it goes.

use kube::Client;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::intake::{Closed, Intake, Objects};
use super::reflect::{End, Reflect};
use super::wire::Bare;
use super::{Kube, what};
use crate::sources::decode::kinds::{RESOURCES, Resource};
use crate::sources::{Batch, Diagnostic, Part, Severity, Subject};
use meltemi_world::NsName;

/// What is taken of CRDs: the names of those that matter.
pub(super) struct Crds {
    kube: Kube,
    stop: CancellationToken,
    present: BTreeSet<&'static str>,
    seen: Option<BTreeSet<&'static str>>,
    reflected: BTreeMap<&'static str, CancellationToken>,
    complete: bool,
    troubled: bool,
}

impl Crds {
    pub fn new(kube: Kube, stop: CancellationToken) -> Self {
        Self {
            kube,
            stop,
            present: BTreeSet::new(),
            seen: None,
            reflected: BTreeMap::new(),
            complete: false,
            troubled: false,
        }
    }
}

/// The resource of a CRD's name, which is its plural and its group.
fn resource(object: &str) -> Option<&'static Resource> {
    let name = Bare::read(object).name();
    let (plural, group) = name.name.split_once('.')?;
    RESOURCES.iter().find(|r| r.crd && r.plural == plural && r.group == group)
}

impl Intake for Crds {
    fn start(&mut self) {
        self.seen = Some(BTreeSet::new());
    }

    fn take(&mut self, object: &str) {
        let Some(resource) = resource(object) else { return };
        self.present.insert(resource.plural);
        if let Some(seen) = &mut self.seen {
            seen.insert(resource.plural);
        }
    }

    fn remove(&mut self, object: &str) {
        if let Some(resource) = resource(object) {
            self.present.remove(resource.plural);
        }
    }

    fn finish(&mut self) {
        if let Some(seen) = self.seen.take() {
            self.present = seen;
            self.complete = true;
        }
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        if self.seen.is_some() {
            return Ok(());
        }
        let mut batch = Batch::new(Vec::new());
        for resource in RESOURCES.iter().filter(|r| self.present.contains(r.plural)) {
            if !self.reflected.contains_key(resource.plural) {
                tracing::debug!(kind = %resource.kind, "served");
                batch.awaiting.push(Part::Watch(resource.plural));
                let stop = self.stop.child_token();
                self.reflected.insert(resource.plural, stop.clone());
                tokio::spawn(follow(self.kube.clone(), resource, stop));
            }
        }
        self.reflected.retain(|plural, stop| {
            let stays = self.present.contains(plural);
            if !stays {
                tracing::info!(plural, "the CRD is gone");
                stop.cancel();
            }
            stays
        });
        batch.complete = std::mem::take(&mut self.complete).then_some(Part::Kinds);
        if batch.complete.is_none() && batch.awaiting.is_empty() {
            return Ok(());
        }
        self.kube.batches.send(batch).await.map_err(|_| Closed)
    }

    async fn trouble(&mut self, problem: Option<String>) -> Result<(), Closed> {
        if problem.is_none() && !self.troubled {
            return Ok(());
        }
        self.troubled = problem.is_some();
        let name = NsName::new("", "customresourcedefinitions");
        let finding = |message: String| {
            Diagnostic::new(Severity::Error, "CustomResourceDefinition", &name, "", message)
        };
        let findings = problem.map(finding).into_iter().collect();
        let batch = Batch::new(Vec::new()).with(Subject::Watch("customresourcedefinitions"), findings);
        self.kube.batches.send(batch).await.map_err(|_| Closed)
    }
}

/// Reflects one kind until its CRD is gone, then takes its objects away.
async fn follow(kube: Kube, resource: &'static Resource, stop: CancellationToken) {
    let intake = Objects::new(resource, kube.batches.clone()).of_revision(kube.revision.clone());
    let mut intake = Some(intake);
    let mut backoff = Backoff::default();
    while let Some(objects) = intake.take() {
        let version = tokio::select! {
            () = stop.cancelled() => None,
            version = served_version(&kube.client, resource, &mut backoff) => Some(version),
        };
        let Some(version) = version else {
            intake = Some(objects);
            break;
        };
        tracing::debug!(kind = %resource.kind, version, "reflecting");
        let what = what(resource, version, kube.namespace.as_deref());
        let mut reflect = Reflect::new(kube.client.clone(), what, objects, kube.selected(), stop.clone());
        let end = reflect.run().await;
        intake = Some(reflect.intake);
        if end == End::Stopped {
            break;
        }
        // The CRD has another version now, or is on its way out.
        tokio::time::sleep(backoff.next()).await;
    }
    if let Some(mut objects) = intake.filter(|_| !kube.stop.is_cancelled()) {
        objects.remove_all();
        // Fails only when the process ends.
        let _ = objects.flush().await;
    }
}

/// The version to ask for. A CRD is there some time before its versions are served.
async fn served_version(client: &Client, resource: &Resource, backoff: &mut Backoff) -> &'static str {
    loop {
        for version in resource.versions {
            match serves(client, resource, version).await {
                Ok(true) => {
                    backoff.reset();
                    return version;
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(kind = %resource.kind, version, %error, "cannot tell whether it is served")
                }
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn serves(client: &Client, resource: &Resource, version: &str) -> Result<bool, kube::Error> {
    #[derive(Default, Deserialize)]
    struct List {
        #[serde(default)]
        resources: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let path = format!("/apis/{}/{version}", resource.group);
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    match client.request::<List>(request).await {
        Ok(list) => Ok(list.resources.iter().any(|r| r.name == resource.plural)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

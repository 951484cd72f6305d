//! The ConfigMaps by which workloads learn whom to trust: `istio-ca-root-cert` in each namespace, and `istio-ca-crl`
//! where the authority has a revocation list.
//!
//! They are written when they are missing or hold something else, whoever changed them. Replicas with the same authority
//! write the same, so none has to be elected for it. Source: Istio
//! `pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go`.

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use meltemi_world::{Snapshot, Str};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

use crate::authority::State;
use crate::sources::kube::selects;

/// Namespaces without workloads (Istio `inject.IgnoredNamespaces`, of which kube-system may hold ztunnel).
const IGNORED: [&str; 3] = ["kube-public", "kube-node-lease", "local-path-storage"];
/// How many are written at once.
const AT_ONCE: usize = 8;
/// How soon a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// One ConfigMap of each namespace.
pub struct Maps {
    /// Writes.
    pub client: Client,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// The only namespace to look at, if there is one.
    pub only: Option<String>,
}

/// What a ConfigMap holds.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// The mesh's roots.
    Roots,
    /// Certificates that are no longer good.
    Revoked,
}

impl Content {
    fn key(self) -> &'static str {
        match self {
            Self::Roots => "root-cert.pem",
            Self::Revoked => "ca-crl.pem",
        }
    }

    fn of(self, state: &State) -> Option<String> {
        let material = state.authority.material()?;
        match self {
            Self::Roots => Some(material.roots_pem()),
            Self::Revoked => material.crl.clone(),
        }
    }
}

impl Maps {
    /// Keeps them, until the process ends.
    pub async fn run(self, state: State, mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>) {
        let mut changes = state.changes();
        let options = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut events = watcher(Api::<ConfigMap>::all(self.client.clone()), options).boxed();
        let mut there = There::default();
        let mut failed = false;
        loop {
            let wanted = self.wanted(snapshots.borrow_and_update().as_deref());
            if there.complete
                && let Some(content) = self.content.of(&state)
            {
                failed = !self.write(&wanted, &content, &mut there).await;
            }
            tokio::select! {
                event = events.next() => match event {
                    None => return,
                    Some(Ok(event)) => there.take(event, self.content.key()),
                    Some(Err(error)) => {
                        tracing::warn!(name = self.name, %error, "ConfigMaps cannot be watched");
                        tokio::time::sleep(RETRY).await;
                    }
                },
                changed = changes.changed() => if changed.is_err() { return },
                there = self.differs(&mut snapshots, &wanted) => if !there { return },
                () = tokio::time::sleep(RETRY), if failed => {}
            }
        }
    }

    /// Waits until other namespaces are wanted; false if there will be no more snapshots.
    async fn differs(
        &self,
        snapshots: &mut watch::Receiver<Option<Arc<Snapshot>>>,
        wanted: &BTreeSet<Str>,
    ) -> bool {
        snapshots.wait_for(|s| self.wanted(s.as_deref()) != *wanted).await.is_ok()
    }

    fn wanted(&self, snapshot: Option<&Snapshot>) -> BTreeSet<Str> {
        let Some(snapshot) = snapshot else { return BTreeSet::new() };
        let namespaces = snapshot.namespaces.values();
        let wanted = namespaces.filter(|n| selects(&snapshot.mesh, &n.labels)).map(|n| n.name.clone());
        let only = |n: &Str| self.only.as_ref().is_none_or(|only| **n == **only);
        wanted.filter(|n| !IGNORED.contains(&&**n) && only(n)).collect()
    }

    /// Writes what differs; says whether all went well.
    async fn write(&self, wanted: &BTreeSet<Str>, content: &str, there: &mut There) -> bool {
        let missing: Vec<Str> =
            wanted.iter().filter(|n| there.maps.get(*n).is_none_or(|c| c != content)).cloned().collect();
        let writes = stream::iter(missing).map(|namespace| async {
            let outcome = self.put(&namespace, content).await;
            if let Err(error) = &outcome {
                tracing::warn!(%namespace, name = self.name, %error, "a ConfigMap cannot be written");
            }
            outcome.map(|()| namespace)
        });
        let done: Vec<_> = writes.buffer_unordered(AT_ONCE).collect().await;
        let well = done.iter().all(Result::is_ok);
        for namespace in done.into_iter().flatten() {
            there.maps.insert(namespace, content.to_owned());
        }
        well
    }

    async fn put(&self, namespace: &str, content: &str) -> Result<(), kube::Error> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let labels = json!({ "istio.io/config": "true" });
        let patch = json!({ "metadata": { "labels": labels }, "data": { self.content.key(): content } });
        match api.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            outcome => return outcome.map(|_| ()),
        }
        let mut map = ConfigMap::default();
        map.metadata.name = Some(self.name.clone());
        map.metadata.labels = Some([("istio.io/config".to_owned(), "true".to_owned())].into());
        map.data = Some([(self.content.key().to_owned(), content.to_owned())].into());
        match api.create(&PostParams::default(), &map).await {
            // Another replica was faster; the watch tells what it wrote. A namespace that ends takes nothing new.
            Err(kube::Error::Api(status)) if status.code == 409 || ends(&status.message) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }
}

fn ends(message: &str) -> bool {
    message.contains("because it is being terminated")
}

/// What the ConfigMaps hold, by namespace.
#[derive(Default)]
struct There {
    maps: BTreeMap<Str, String>,
    listing: BTreeMap<Str, String>,
    complete: bool,
}

impl There {
    fn take(&mut self, event: Event<ConfigMap>, key: &str) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(map) => _ = self.listing.insert(namespace(&map), value(map, key)),
            Event::InitDone => {
                self.maps = std::mem::take(&mut self.listing);
                self.complete = true;
            }
            Event::Apply(map) => _ = self.maps.insert(namespace(&map), value(map, key)),
            Event::Delete(map) => _ = self.maps.remove(&namespace(&map)),
        }
    }
}

fn namespace(map: &ConfigMap) -> Str {
    map.metadata.namespace.as_deref().unwrap_or_default().into()
}

fn value(map: ConfigMap, key: &str) -> String {
    map.data.unwrap_or_default().remove(key).unwrap_or_default()
}

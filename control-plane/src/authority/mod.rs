//! Keeps the certificate authority's material: finds it, follows it, renews it.
//!
//! In this order, as istiod: what an operator plugged in, as files of `ROOT_CA_DIR` or as the Secret `cacerts`; the root
//! in the Secret `istio-ca-secret`; a new root, which is put there. What is found broken costs nothing while something
//! good is in force.

mod folder;
pub mod serving;
mod storage;

use meltemi_ca::{Authority, Files, Material, Source, self_signed};
use meltemi_world::{Change, NsName, Snapshot, Str};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

use crate::config::authority::Authority as Settings;
use crate::metrics::Metrics;
use crate::sources::{Batch, Batches};
pub use storage::Storage;

/// The provider of the control plane's certificate that is its own authority.
pub const ISTIOD: &str = "istiod";
/// An operator's own CA.
const CACERTS: &str = "cacerts";
/// The root that the control plane made.
const CA_SECRET: &str = "istio-ca-secret";
/// Marks a Secret `cacerts` that the control plane made.
const GENERATED: &str = "istio-generated";
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often files and Secrets are looked at though nothing tells of a change.
const LOOK: Duration = Duration::from_secs(60);

/// What others see of the authority. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// Signs.
    pub authority: Authority,
    /// What new connections are served with.
    pub serving: serving::Current,
    signs_own: bool,
    problem: Arc<Mutex<Option<String>>>,
    changes: watch::Sender<u64>,
}

impl State {
    /// An authority that has nothing to sign with yet.
    pub fn new(settings: &Settings) -> Self {
        let authority = Authority::new(settings.lifetimes);
        Self {
            authority,
            serving: serving::Current::default(),
            signs_own: settings.provider == ISTIOD,
            problem: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Whether certificates can be had: there is something to sign with, and to serve with where that is signed here.
    pub fn ready(&self) -> bool {
        let serving = !self.signs_own || self.serving.load().is_some();
        serving && self.authority.material().is_some()
    }

    /// Why the newest input is not in force, if it is not.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Tells when other material came into force.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Keeps the material of an authority up to date.
pub struct Keeper {
    /// Whose material it is.
    pub state: State,
    /// How.
    pub settings: Settings,
    /// The control plane's namespace.
    pub namespace: Str,
    /// Where Secrets are.
    pub storage: Storage,
    /// Where the store learns of roots.
    pub batches: Batches,
    /// What is counted.
    pub metrics: Metrics,
}

/// What is to be signed with, as it was found.
struct Found {
    material: Material,
    /// The Secret that a self-signed root stands in.
    secret: Option<&'static str>,
    data: Files,
}

impl Keeper {
    /// Follows what there is, until the process ends.
    pub async fn run(self, mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>) {
        let Ok(first) = snapshots.wait_for(Option::is_some).await.map(|s| s.clone()) else { return };
        let Some(mut snapshot) = first else { return };
        let mut files = folder::follow(&self.settings.folder);
        loop {
            let outcome = self.refresh(&snapshot).await;
            self.tell(&outcome);
            let wait = if outcome.is_ok() { self.pause() } else { RETRY };
            let seen = self.secrets(&snapshot);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = files.changed() => {}
                next = changed(&mut snapshots, |next| self.secrets(next) != seen) => {
                    if next.is_none() {
                        return;
                    }
                }
            }
            if let Some(newest) = snapshots.borrow_and_update().clone() {
                snapshot = newest;
            }
        }
    }

    fn pause(&self) -> Duration {
        if self.settings.check_interval.is_zero() { LOOK } else { self.settings.check_interval.min(LOOK) }
    }

    /// The versions of the Secrets that matter, as the world has them.
    fn secrets(&self, snapshot: &Snapshot) -> [Option<usize>; 2] {
        [CACERTS, CA_SECRET].map(|name| {
            let found = snapshot.secrets.get(&NsName::new(self.namespace.clone(), name));
            found.map(|secret| Arc::as_ptr(secret).addr())
        })
    }

    async fn refresh(&self, snapshot: &Snapshot) -> Result<(), String> {
        let found = self.find(snapshot).await?;
        let found = self.renewed(found).await?;
        self.install(found).await
    }

    async fn find(&self, snapshot: &Snapshot) -> Result<Found, String> {
        let now = SystemTime::now();
        let mut named = "files".to_owned();
        let mut files = folder::read(&self.settings.folder)?;
        if files.is_empty() {
            files = self.storage.get(snapshot, CACERTS).await?.unwrap_or_default();
            named = format!("the Secret {}/{CACERTS}", self.namespace);
        }
        if !(self.settings.in_cacerts && files.contains_key(GENERATED)) {
            let plugged = Material::plugged_in(&files, now).map_err(|e| format!("{named}: {e}"))?;
            if let Some(material) = plugged {
                return Ok(Found { material, secret: None, data: files });
            }
        }
        let (secret, data) = self.root(snapshot).await?;
        let material = Material::self_signed(&data, b"", now);
        let material = material.or_else(|bad| self.or_expired(bad, &data));
        let material = material.map_err(|e| format!("the Secret {}/{secret}: {e}", self.namespace))?;
        Ok(Found { material, secret: Some(secret), data })
    }

    /// A root that has expired is renewed like any other, so that its Secret need not be deleted first.
    fn or_expired(
        &self,
        bad: meltemi_ca::BadMaterial,
        data: &Files,
    ) -> Result<Material, meltemi_ca::BadMaterial> {
        match bad {
            meltemi_ca::BadMaterial::Expired { until, .. } if !self.settings.check_interval.is_zero() => {
                let then = SystemTime::UNIX_EPOCH + Duration::from_secs(until.unsigned_abs());
                Material::self_signed(data, b"", then)
            }
            bad => Err(bad),
        }
    }

    /// The root's Secret; made if there is none. Of several replicas that make one at once, the first wins.
    async fn root(&self, snapshot: &Snapshot) -> Result<(&'static str, Files), String> {
        let places = if self.settings.in_cacerts { vec![CA_SECRET, CACERTS] } else { vec![CA_SECRET] };
        for name in &places {
            if let Some(data) = self.storage.get(snapshot, name).await? {
                return Ok((name, data));
            }
        }
        let name = places[places.len() - 1];
        let (kind, lifetime) = (self.settings.root_key, self.settings.root_lifetime);
        let domain = snapshot.trust_domain().to_owned();
        // RSA keys take up to seconds to find.
        let made = tokio::task::spawn_blocking(move || {
            self_signed::create(kind, &domain, lifetime, SystemTime::now())
        });
        let mut data = made.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        if name == CACERTS {
            data.insert(GENERATED.to_owned(), Vec::new());
        }
        tracing::info!(target: "ca", secret = name, "making a root");
        Ok((name, self.storage.create(name, data).await?))
    }

    /// Renews a root that is in the last part of its life.
    async fn renewed(&self, found: Found) -> Result<Found, String> {
        let Some(secret) = found.secret else { return Ok(found) };
        let now = SystemTime::now();
        let never = self.settings.check_interval.is_zero();
        if never || !self_signed::due(&found.material, self.settings.grace, now) {
            return Ok(found);
        }
        let mut data = self_signed::renew(&found.data, self.settings.root_lifetime, now)
            .map_err(|e| format!("the root cannot be renewed: {e}"))?;
        data.extend(found.data.contains_key(GENERATED).then(|| (GENERATED.to_owned(), Vec::new())));
        let material = Material::self_signed(&data, b"", now).map_err(|e| e.to_string())?;
        tracing::info!(target: "ca", secret, until = material.signer.until, "renewing the root");
        let data = self.storage.replace(secret, &found.data, data).await?;
        Ok(Found { material, secret: Some(secret), data })
    }

    async fn install(&self, found: Found) -> Result<(), String> {
        let next = found.material;
        if let Some(current) = self.state.authority.material() {
            if current.signer == next.signer
                && current.roots == next.roots
                && current.chain == next.chain
                && current.crl == next.crl
            {
                return Ok(());
            }
            // A root of the control plane's own is followed wherever another replica leads, as istiod does.
            if next.source != Source::SelfSigned && !current.leads_to(&next) {
                return Err("the new roots have none of those in force: every connection of the mesh would break. \
                            Add the new root beside the old one first; or restart the control plane to take it as \
                            it is"
                    .to_owned());
            }
        }
        self.metrics.authority(next.roots.first().map(|r| r.until), next.chain.first().map(|c| c.until));
        let roots: Vec<Str> = next.roots.iter().map(|r| r.pem.as_str().into()).collect();
        let signer = &next.signer;
        tracing::info!(target: "ca", source = ?next.source, signer = signer.fingerprint, roots = roots.len(),
            until = signer.until, "the certificate authority is ready");
        self.state.authority.replace(Arc::new(next));
        self.state.changes.send_modify(|n| *n += 1);
        let batch = Batch::new(vec![Change::Roots(Arc::new(roots))]);
        self.batches.send(batch).await.map_err(|_| "the process ends".to_owned())
    }

    fn tell(&self, outcome: &Result<(), String>) {
        let problem = outcome.as_ref().err().cloned();
        let mut told = self.state.problem.lock();
        if let Some(problem) = problem.as_ref().filter(|p| Some(*p) != told.as_ref()) {
            let in_force = self.state.authority.material().is_some();
            tracing::error!(target: "ca", problem, in_force, "the certificate authority's input is not taken");
            self.metrics.authority_rejected();
        }
        *told = problem;
    }
}

/// Waits for a snapshot that `matters`; `None` if there will be none.
async fn changed(
    snapshots: &mut watch::Receiver<Option<Arc<Snapshot>>>,
    matters: impl Fn(&Snapshot) -> bool,
) -> Option<()> {
    snapshots.wait_for(|next| next.as_ref().is_some_and(|s| matters(s))).await.ok().map(|_| ())
}

//! Keys of JWT issuers: fetched where RequestAuthentications say, and handed to the store as any other input.
//!
//! Nothing waits for a fetch but the very first snapshot, and that not for long: a control plane that was restarted must
//! not take the keys from proxies that have them. Source: Istio `pilot/pkg/model/jwks_resolver.go`.

mod dial;
mod document;
mod fetch;
mod schedule;
mod trust;

use anyhow::{Context, Result};
use meltemi_world::jwks::{Source, is_service, wanted};
use meltemi_world::{Change, Snapshot};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::metrics::Metrics;
use crate::sources::{Batch, Batches, Diagnostic, Severity, Subject};
use fetch::Fetcher;
use schedule::Schedule;

pub use dial::Rules;

/// How many places are asked at once.
const AT_ONCE: usize = 16;
/// For how long the first snapshot waits for keys.
const PATIENCE: Duration = Duration::from_secs(10);

/// How keys are fetched.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often (`PILOT_JWT_PUB_KEY_REFRESH_INTERVAL`).
    pub interval: Duration,
    /// Whether any certificate of a server will do (`JWKS_RESOLVER_INSECURE_SKIP_VERIFY`).
    pub insecure: bool,
    /// Which addresses are dialled.
    pub rules: Rules,
}

/// Whether keys were asked for once, so that proxies may be served.
#[derive(Clone, Debug, Default)]
pub struct Settled(Arc<AtomicBool>);

impl Settled {
    /// It is so already: nothing is fetched.
    pub fn done() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Whether that is so.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Starts to fetch what the newest snapshot asks for, until the store is gone. `None` stands for a snapshot that is not
/// there yet.
///
/// # Errors
/// If TLS cannot be had.
pub fn start(
    options: Options,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    batches: Batches,
    metrics: Metrics,
) -> Result<Settled> {
    let tls = Arc::new(trust::client(options.insecure).context("TLS for fetching keys")?);
    let settled = Settled::default();
    let keys = Keys {
        schedule: Schedule::new(options.interval),
        fetcher: Fetcher { rules: Arc::new(options.rules), tls, metrics },
        batches,
        settled: settled.clone(),
        problems: Vec::new(),
    };
    tokio::spawn(keys.run(snapshots));
    Ok(settled)
}

struct Keys {
    schedule: Schedule,
    fetcher: Fetcher,
    batches: Batches,
    settled: Settled,
    problems: Vec<Diagnostic>,
}

/// What came of one fetch.
type Outcome = (Source, Result<String, String>);

/// The store is gone: the process ends.
struct Closed;

impl Keys {
    async fn run(mut self, mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>) {
        let Ok(first) = snapshots.wait_for(Option::is_some).await.map(|s| s.clone()) else { return };
        let Some(mut snapshot) = first else { return };
        let patience = Instant::now() + PATIENCE;
        self.schedule.want(wanted(&snapshot), Instant::now());
        let mut running: JoinSet<Outcome> = JoinSet::new();
        loop {
            let now = Instant::now();
            if !self.settled.get() && (self.schedule.all_tried() || now >= patience) {
                self.settled.0.store(true, Ordering::Release);
            }
            let mut changes = self.schedule.prune(now);
            while running.len() < AT_ONCE
                && let Some((source, time)) = self.schedule.start(now)
            {
                let (fetcher, snapshot) = (self.fetcher.clone(), snapshot.clone());
                running.spawn(async move {
                    let outcome = fetcher.keys(&source, time, |host| is_service(&snapshot, host)).await;
                    (source, outcome)
                });
            }
            let wake = if running.len() < AT_ONCE { self.schedule.next_at() } else { None };
            let wake = if self.settled.get() { wake } else { Some(wake.unwrap_or(patience).min(patience)) };
            let told = self.tell(std::mem::take(&mut changes)).await;
            if told.is_err() {
                return;
            }
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if let Some(next) = snapshots.borrow_and_update().clone() {
                        snapshot = next;
                        self.schedule.want(wanted(&snapshot), Instant::now());
                    }
                }
                Some(done) = running.join_next(), if !running.is_empty() => {
                    if self.done(done).await.is_err() {
                        return;
                    }
                }
                () = async { tokio::time::sleep_until(wake.expect("checked").into()).await }, if wake.is_some() => {}
            }
        }
    }

    async fn done(&mut self, done: Result<Outcome, tokio::task::JoinError>) -> Result<(), Closed> {
        match done {
            Ok((source, outcome)) => {
                let change = self.schedule.done(&source, outcome, Instant::now());
                self.tell(change.into_iter().collect()).await
            }
            Err(error) => {
                tracing::error!(%error, "fetching keys failed, which is a bug");
                Ok(())
            }
        }
    }

    /// Hands changes to the store, and what is wrong now if that differs.
    async fn tell(&mut self, changes: Vec<Change>) -> Result<(), Closed> {
        let finding = |(policy, message): (_, String)| {
            Diagnostic::new(Severity::Warning, "RequestAuthentication", &policy, "spec.jwtRules", message)
        };
        let problems: Vec<_> = self.schedule.problems().into_iter().map(finding).collect();
        if changes.is_empty() && problems == self.problems {
            return Ok(());
        }
        let batch = Batch::new(changes).with(Subject::Keys, problems.clone());
        self.problems = problems;
        self.batches.send(batch).await.map_err(|_| Closed)
    }
}

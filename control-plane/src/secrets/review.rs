//! SubjectAccessReviews: may the service account of a gateway list the Secrets of its namespace?
//!
//! What the apiserver says is part of the world until it is asked again. Source: Istio
//! `pilot/pkg/credentials/kube/secrets.go` (`Authorize`).

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use meltemi_server::Registry;
use meltemi_world::identity::{SecretAccess, service_account};
use meltemi_world::{Change, Kind, NsName, Object, Str};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::sources::{Batch, Batches};

/// For how long a permission stands, and a refusal.
const ALLOWED: Duration = Duration::from_secs(5 * 60);
const DENIED: Duration = Duration::from_secs(60);
/// How soon an apiserver that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many accounts are known at most: those of connected gateways, so far fewer.
const MOST: usize = 10_000;

/// What came of a review: the reason of a refusal, if it is one, or that nothing came of it.
type Verdict = Result<Option<Str>, String>;

pub(super) struct Reviews {
    client: Client,
    connected: Arc<Registry>,
    batches: Batches,
    known: BTreeMap<NsName, Known>,
}

/// What is known of an account.
struct Known {
    /// The verdict in force, once there is one.
    denied: Option<Option<Str>>,
    /// When to ask anew; `None` while that is under way.
    due: Option<Instant>,
}

/// The store is gone: the process ends.
struct Closed;

impl Reviews {
    pub fn new(client: Client, connected: Arc<Registry>, batches: Batches) -> Self {
        Self { client, connected, batches, known: BTreeMap::new() }
    }

    pub async fn run(mut self, mut accounts: mpsc::Receiver<NsName>) {
        let mut running: JoinSet<(NsName, Verdict)> = JoinSet::new();
        loop {
            let next = self.known.values().filter_map(|k| k.due).min();
            tokio::select! {
                account = accounts.recv() => {
                    let Some(account) = account else { return };
                    if self.known.len() < MOST && !self.known.contains_key(&account) {
                        self.known.insert(account.clone(), Known { denied: None, due: None });
                        running.spawn(ask(self.client.clone(), account));
                    }
                }
                Some(done) = running.join_next(), if !running.is_empty() => {
                    let Ok((account, verdict)) = done else { continue };
                    if self.done(account, verdict).await.is_err() {
                        return;
                    }
                }
                () = async { tokio::time::sleep_until(next.expect("checked").into()).await }, if next.is_some() => {
                    let Ok(again) = self.expire().await else { return };
                    for account in again {
                        running.spawn(ask(self.client.clone(), account));
                    }
                }
            }
        }
    }

    /// Takes a verdict. Where the apiserver did not answer, the last one stands; without one, nothing is allowed.
    async fn done(&mut self, account: NsName, verdict: Verdict) -> Result<(), Closed> {
        let Some(known) = self.known.get_mut(&account) else { return Ok(()) };
        let (denied, stands) = match verdict {
            Ok(None) => (None, ALLOWED),
            Ok(Some(reason)) => (Some(reason), DENIED),
            Err(problem) => {
                tracing::warn!(%account, problem, "whether it may list secrets cannot be found out");
                match known.denied.clone() {
                    Some(before) => (before, RETRY),
                    None => (Some(format!("the apiserver gave no answer: {problem}").into()), RETRY),
                }
            }
        };
        known.due = Some(Instant::now() + stands);
        if known.denied.as_ref() == Some(&denied) {
            return Ok(());
        }
        tracing::debug!(%account, denied = denied.as_deref(), "may it list secrets");
        known.denied = Some(denied.clone());
        let access = SecretAccess { account, denied };
        self.send(vec![Change::Upsert(Object::SecretAccess(Arc::new(access)))]).await
    }

    /// Forgets the accounts that no proxy uses any more; returns those to ask about anew.
    async fn expire(&mut self) -> Result<Vec<NsName>, Closed> {
        let now = Instant::now();
        let due = |k: &Known| k.due.is_some_and(|due| due <= now);
        let connections = self.connected.connections();
        let in_use = |account: &NsName| {
            connections.iter().any(|c| {
                c.peer.identities.iter().filter_map(|id| service_account(id)).any(|id| id == *account)
            })
        };
        let mut gone = Vec::new();
        let mut again = Vec::new();
        for (account, known) in self.known.iter_mut().filter(|(_, k)| due(k)) {
            if in_use(account) {
                known.due = None;
                again.push(account.clone());
            } else {
                gone.push(account.clone());
            }
        }
        self.known.retain(|account, _| !gone.contains(account));
        let changes = gone.into_iter().map(|account| Change::Remove(Kind::SecretAccess, account));
        self.send(changes.collect()).await?;
        Ok(again)
    }

    async fn send(&self, changes: Vec<Change>) -> Result<(), Closed> {
        if changes.is_empty() {
            return Ok(());
        }
        self.batches.send(Batch::new(changes)).await.map_err(|_| Closed)
    }
}

async fn ask(client: Client, account: NsName) -> (NsName, Verdict) {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{}:{}", account.namespace, account.name)),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(account.namespace.to_string()),
                verb: Some("list".to_owned()),
                resource: Some("secrets".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let (api, how) = (Api::<SubjectAccessReview>::all(client), PostParams::default());
    let verdict = match tokio::time::timeout(TIMEOUT, api.create(&how, &review)).await {
        Err(_) => Err(format!("nothing within {TIMEOUT:?}")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(review)) => match review.status {
            Some(status) if status.allowed => Ok(None),
            status => Ok(Some(refusal(status.and_then(|s| s.reason)))),
        },
    };
    (account, verdict)
}

fn refusal(reason: Option<String>) -> Str {
    reason.filter(|r| !r.is_empty()).unwrap_or_else(|| "nothing allows it".to_owned()).into()
}

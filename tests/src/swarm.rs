//! Many proxies at once, each on a connection of its own, that keep only names and versions: what a load measurement
//! needs of Envoys, for little memory and time.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use meltemi_api::envoy::{
    config::{core::v3::Node, listener::v3::Listener},
    service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use prost::Message;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::{
    netns::Place,
    proxy::route_names,
    wait,
    xds_client::{Delta, node, types},
};

/// The types that a proxy asks for, in the order in which it asks.
const KINDS: [&str; 4] = [types::CLUSTER, types::ENDPOINTS, types::LISTENER, types::ROUTES];

/// What a proxy has, by type: the version of each resource by its name.
pub type Versions = BTreeMap<&'static str, HashMap<String, String>>;

/// The first bytes of the addresses that mark a change.
const MARK: [u8; 2] = [10, 251];

/// The address that marks the change of that number, of which there may be 62,500.
pub fn mark(number: usize) -> String {
    format!("{}.{}.{}.{}", MARK[0], MARK[1], number / 250, number % 250 + 1)
}

/// What one proxy has seen.
#[derive(Debug, Default)]
struct Seen {
    versions: Versions,
    asked: BTreeMap<&'static str, HashSet<String>>,
    /// When the change of each number arrived.
    marks: HashMap<usize, Instant>,
    failure: Option<String>,
}

/// Connected proxies, disconnected on drop.
pub struct Swarm {
    seen: Vec<Arc<Mutex<Seen>>>,
    tasks: Vec<JoinHandle<()>>,
    bytes: Arc<AtomicU64>,
}

impl Swarm {
    /// Connects proxies that have nothing yet.
    pub async fn connect(to: SocketAddr, proxies: usize) -> Result<Self> {
        Self::resume(to, vec![Versions::new(); proxies]).await
    }

    /// Connects proxies that have what an earlier control plane gave them, and say so.
    pub async fn resume(to: SocketAddr, had: Vec<Versions>) -> Result<Self> {
        let bytes = Arc::new(AtomicU64::new(0));
        let (mut seen, mut tasks) = (Vec::new(), Vec::new());
        for (number, versions) in had.into_iter().enumerate() {
            let inner = Arc::new(Mutex::new(Seen { versions, ..Seen::default() }));
            seen.push(inner.clone());
            let bytes = bytes.clone();
            tasks.push(tokio::spawn(async move {
                if let Err(error) = follow(to, number, &inner, &bytes).await {
                    lock(&inner).failure = Some(format!("{error:#}"));
                }
            }));
        }
        Ok(Self { seen, tasks, bytes })
    }

    /// Waits until all have something of each type.
    pub async fn synced(&self, limit: Duration) -> Result<()> {
        wait::until_true("all proxies are synced", limit, async || {
            self.all(|seen| KINDS.iter().all(|kind| seen.versions.get(kind).is_some_and(|v| !v.is_empty())))
        })
        .await
    }

    /// Waits until the change of that number has reached all, and tells when it reached the last.
    pub async fn reached(&self, number: usize, limit: Duration) -> Result<Instant> {
        wait::until_true("the change has reached all proxies", limit, async || {
            self.all(|seen| seen.marks.contains_key(&number))
        })
        .await?;
        let when = self.seen.iter().filter_map(|s| lock(s).marks.get(&number).copied());
        Ok(when.max().unwrap_or_else(Instant::now))
    }

    /// When each change reached each proxy that it reached.
    pub fn arrivals(&self) -> Vec<(usize, Instant)> {
        self.seen
            .iter()
            .flat_map(|s| lock(s).marks.iter().map(|(n, at)| (*n, *at)).collect::<Vec<_>>())
            .collect()
    }

    /// The bytes of all responses so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Disconnects all, and tells what each has.
    pub fn disconnect(self) -> Vec<Versions> {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.seen.iter().map(|s| lock(s).versions.clone()).collect()
    }

    fn all(&self, condition: impl Fn(&Seen) -> bool) -> Result<bool> {
        for seen in &self.seen {
            let seen = lock(seen);
            if let Some(failure) = &seen.failure {
                return Err(wait::Hopeless(failure.clone()).into());
            }
            if !condition(&seen) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The node of the proxy of that number: replicas of one workload.
pub fn member(number: usize) -> Node {
    let ip = format!("10.200.{}.{}", number / 250, number % 250 + 1);
    node(&json!({
        "id": format!("sidecar~{ip}~load-{number}.load~load.svc.cluster.local"), "cluster": "load.load",
        "metadata": {"NAMESPACE": "load", "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0", "INSTANCE_IPS": ip,
            "LABELS": {"app": "load"}, "SERVICE_ACCOUNT": "default"},
    }))
}

async fn follow(to: SocketAddr, number: usize, seen: &Mutex<Seen>, bytes: &AtomicU64) -> Result<()> {
    let mut stream = Delta::open(&Place::host(), to, member(number)).await?;
    for request in lock(seen).first_requests() {
        stream.send(request)?;
    }
    loop {
        let Some(response) = stream.next(Duration::from_secs(3600)).await? else { continue };
        bytes.fetch_add(response.encoded_len() as u64, Ordering::Relaxed);
        stream.ack(&response.type_url, &response.nonce)?;
        let more = lock(seen).take(response)?;
        if let Some(request) = more {
            stream.send(request)?;
        }
    }
}

impl Seen {
    /// What a proxy asks for when it connects: all that it asked for before, with the versions that it has.
    fn first_requests(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let mut requests = Vec::new();
        for kind in KINDS {
            let had = self.versions.entry(kind).or_default();
            let wildcard = kind == types::CLUSTER || kind == types::LISTENER;
            if had.is_empty() && !wildcard {
                continue;
            }
            let names: Vec<String> = if wildcard { vec!["*".into()] } else { had.keys().cloned().collect() };
            self.asked.insert(kind, names.iter().cloned().collect());
            requests.push(DeltaDiscoveryRequest {
                type_url: kind.into(),
                resource_names_subscribe: names,
                initial_resource_versions: had.clone().into_iter().collect(),
                ..Default::default()
            });
        }
        requests
    }

    /// Takes a response in, and tells what to ask for next.
    fn take(&mut self, response: DeltaDiscoveryResponse) -> Result<Option<DeltaDiscoveryRequest>> {
        let kind = KINDS.iter().find(|kind| **kind == response.type_url);
        ensure!(kind.is_some(), "{} was not asked for", response.type_url);
        let kind = kind.copied().unwrap_or_default();
        let mut wanted = Vec::new();
        for resource in response.resources {
            let body = resource.resource.map(|any| any.value).unwrap_or_default();
            match kind {
                types::CLUSTER if resource.name.starts_with("outbound|") => {
                    wanted.push(resource.name.clone())
                }
                types::LISTENER => wanted.extend(route_names(&[Listener::decode(&*body)?])),
                types::ENDPOINTS => self.note(&body),
                _ => {}
            }
            self.versions.entry(kind).or_default().insert(resource.name, resource.version);
        }
        for name in &response.removed_resources {
            self.versions.entry(kind).or_default().remove(name);
        }
        Ok(match kind {
            types::CLUSTER => self.ask(types::ENDPOINTS, wanted),
            types::LISTENER => self.ask(types::ROUTES, wanted),
            _ => None,
        })
    }

    /// Notes the change whose mark is among the addresses.
    fn note(&mut self, body: &[u8]) {
        let prefix = format!("{}.{}.", MARK[0], MARK[1]);
        let found = body.windows(prefix.len()).position(|window| window == prefix.as_bytes());
        let Some(at) = found else { return };
        let rest =
            body[at + prefix.len()..].split(|b| !b.is_ascii_digit() && *b != b'.').next().unwrap_or_default();
        let text = String::from_utf8_lossy(rest);
        let Some((high, low)) = text.split_once('.') else { return };
        if let (Ok(high), Ok(low)) = (high.parse::<usize>(), low.parse::<usize>()) {
            self.marks.entry(high * 250 + low - 1).or_insert_with(Instant::now);
        }
    }

    fn ask(&mut self, kind: &'static str, mut wanted: Vec<String>) -> Option<DeltaDiscoveryRequest> {
        let asked = self.asked.entry(kind).or_default();
        wanted.retain(|name| !asked.contains(name));
        if wanted.is_empty() {
            return None;
        }
        asked.extend(wanted.iter().cloned());
        Some(DeltaDiscoveryRequest {
            type_url: kind.into(),
            resource_names_subscribe: wanted,
            ..Default::default()
        })
    }
}

//! A proxy without traffic: it asks a control plane over delta xDS for what an Envoy would, acknowledges all of it, and
//! keeps what it has and what happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use meltemi_api::{
    envoy::{
        config::{
            cluster::v3::Cluster, cluster::v3::cluster::ClusterDiscoveryType, core::v3::Node,
            listener::v3::Listener,
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager::RouteSpecifier,
        },
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    },
    wkt::Any,
};
use tokio::task::JoinHandle;

use crate::{
    netns::Place,
    wait::{self, Hopeless},
    xds_client::{Delta, types},
};

/// A resource is known by its type and name.
pub type Key = (String, String);

/// What a proxy was told in one response.
#[derive(Clone, Debug)]
pub struct Told {
    /// When.
    pub at: Instant,
    /// The type of the resources.
    pub kind: String,
    /// Names of resources that are new or differ.
    pub changed: BTreeSet<String>,
    /// Names of resources that were sent again although they are the same.
    pub repeated: BTreeSet<String>,
    /// Names of resources that were taken away.
    pub removed: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Inner {
    held: BTreeMap<Key, Any>,
    history: Vec<Told>,
    /// By type, what was asked for by name.
    asked: BTreeMap<&'static str, BTreeSet<String>>,
    answered: BTreeSet<Key>,
    failure: Option<String>,
}

/// A connected proxy, disconnected on drop.
#[derive(Debug)]
pub struct Proxy {
    inner: Arc<Mutex<Inner>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Connects and subscribes to all clusters and listeners, and from then on to what they refer to.
    pub async fn connect(from: &Place, to: SocketAddr, node: Node) -> Result<Self> {
        let mut stream = Delta::open(from, to, node).await?;
        for kind in [types::CLUSTER, types::LISTENER] {
            stream.subscribe(kind, &["*"])?;
        }
        let inner = Arc::new(Mutex::new(Inner::default()));
        let task = tokio::spawn({
            let inner = inner.clone();
            async move {
                let failure = follow(&mut stream, &inner).await.err();
                lock(&inner).failure = failure.map(|e| format!("{e:#}"));
            }
        });
        Ok(Self { inner, task })
    }

    /// Waits until it has clusters, listeners, and all that these refer to.
    pub async fn synced(&self) -> Result<()> {
        wait::until_true("the proxy has all it asked for", Duration::from_secs(20), async || {
            let inner = self.alive()?;
            let has = |kind: &str| inner.history.iter().any(|t| t.kind == kind);
            let asked = inner
                .asked
                .iter()
                .flat_map(|(kind, names)| names.iter().map(move |n| (kind.to_string(), n.clone())));
            Ok(has(types::CLUSTER)
                && has(types::LISTENER)
                && asked.into_iter().all(|key| inner.answered.contains(&key)))
        })
        .await
    }

    /// All that it has now.
    pub fn held(&self) -> BTreeMap<Key, Any> {
        lock(&self.inner).held.clone()
    }

    /// One resource, if it has it.
    pub fn resource(&self, kind: &str, name: &str) -> Option<Any> {
        lock(&self.inner).held.get(&(kind.to_string(), name.to_string())).cloned()
    }

    /// All that it was told since an instant.
    pub fn told_since(&self, instant: Instant) -> Vec<Told> {
        lock(&self.inner).history.iter().filter(|t| t.at >= instant).cloned().collect()
    }

    /// Waits until what it holds fulfils a condition, and tells when the last response before that came.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&BTreeMap<Key, Any>) -> bool,
    ) -> Result<Instant> {
        wait::until(what, limit, async || {
            let inner = self.alive()?;
            let last = inner.history.last().map_or_else(Instant::now, |t| t.at);
            Ok(condition(&inner.held).then_some(last))
        })
        .await
    }

    /// Fails if the stream has ended.
    pub fn check(&self) -> Result<()> {
        self.alive().map(drop)
    }

    fn alive(&self) -> Result<MutexGuard<'_, Inner>> {
        let inner = lock(&self.inner);
        match &inner.failure {
            Some(failure) => Err(Hopeless(failure.clone()).into()),
            None => Ok(inner),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(stream: &mut Delta, inner: &Mutex<Inner>) -> Result<()> {
    loop {
        let Some(response) = stream.next(Duration::from_secs(3600)).await? else { continue };
        stream.ack(&response.type_url, &response.nonce)?;
        for request in lock(inner).take(response)? {
            stream.send(request)?;
        }
    }
}

impl Inner {
    /// Takes a response in, and tells what to ask for next.
    fn take(&mut self, response: DeltaDiscoveryResponse) -> Result<Vec<DeltaDiscoveryRequest>> {
        let kind = response.type_url;
        let mut told = Told {
            at: Instant::now(),
            kind: kind.clone(),
            changed: BTreeSet::new(),
            repeated: BTreeSet::new(),
            removed: response.removed_resources.into_iter().collect(),
        };
        for resource in response.resources {
            let key = (kind.clone(), resource.name.clone());
            let body = resource.resource.with_context(|| format!("{} has no content", resource.name))?;
            self.answered.insert(key.clone());
            match self.held.insert(key, body.clone()) {
                Some(before) if before == body => told.repeated.insert(resource.name),
                _ => told.changed.insert(resource.name),
            };
        }
        for name in &told.removed {
            let key = (kind.clone(), name.clone());
            self.held.remove(&key);
            self.answered.insert(key);
        }
        self.history.push(told);
        match kind.as_str() {
            types::CLUSTER => {
                Ok(self.ask(types::ENDPOINTS, endpoint_names(&self.of::<Cluster>(types::CLUSTER)?)))
            }
            types::LISTENER => {
                Ok(self.ask(types::ROUTES, route_names(&self.of::<Listener>(types::LISTENER)?)))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn of<M: prost::Message + prost::Name + Default>(&self, kind: &str) -> Result<Vec<M>> {
        let held = self.held.iter().filter(|((k, _), _)| k == kind);
        held.map(|((_, name), any)| any.unpack::<M>().map_err(|e| anyhow!("{name}: {e}"))).collect()
    }

    fn ask(&mut self, kind: &'static str, wanted: BTreeSet<String>) -> Vec<DeltaDiscoveryRequest> {
        let asked = self.asked.entry(kind).or_default();
        let more: Vec<String> = wanted.difference(asked).cloned().collect();
        let less: Vec<String> = asked.difference(&wanted).cloned().collect();
        for name in &less {
            // Envoy forgets what it no longer asks for.
            self.held.remove(&(kind.to_string(), name.clone()));
            self.answered.remove(&(kind.to_string(), name.clone()));
        }
        *asked = wanted;
        if more.is_empty() && less.is_empty() {
            return Vec::new();
        }
        vec![DeltaDiscoveryRequest {
            type_url: kind.into(),
            resource_names_subscribe: more,
            resource_names_unsubscribe: less,
            ..Default::default()
        }]
    }
}

/// The names under which clusters ask for their endpoints.
fn endpoint_names(clusters: &[Cluster]) -> BTreeSet<String> {
    const EDS: i32 = 3;
    let by_eds = |c: &&Cluster| matches!(c.cluster_discovery_type, Some(ClusterDiscoveryType::Type(EDS)));
    let name = |c: &Cluster| match &c.eds_cluster_config {
        Some(eds) if !eds.service_name.is_empty() => eds.service_name.clone(),
        _ => c.name.clone(),
    };
    clusters.iter().filter(by_eds).map(name).collect()
}

/// The names under which listeners ask for their routes.
pub fn route_names(listeners: &[Listener]) -> BTreeSet<String> {
    use meltemi_api::envoy::config::listener::v3::filter::ConfigType;
    let chains = listeners.iter().flat_map(|l| l.filter_chains.iter().chain(&l.default_filter_chain));
    let configs = chains.flat_map(|c| &c.filters).filter_map(|f| match &f.config_type {
        Some(ConfigType::TypedConfig(any)) => any.unpack::<HttpConnectionManager>().ok(),
        _ => None,
    });
    configs
        .filter_map(|manager| match manager.route_specifier {
            Some(RouteSpecifier::Rds(rds)) => Some(rds.route_config_name),
            _ => None,
        })
        .collect()
}

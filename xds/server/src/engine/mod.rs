//! The engine: keeps what each connected proxy has, and regenerates only what a change makes stale.
//!
//! Publishing a snapshot costs nothing for each proxy: streams are woken, and each stream's own task catches up its
//! own proxy. What a stream missed is merged from the history, so a slow one holds no queue. What one proxy had generated
//! serves all others that are equal to it in what translation looked at.

mod affect;
mod attend;
mod generate;
mod kinds;
mod proxy_view;
mod shared;
mod state;

use crate::source::{Peer, ProxyHandle, Rejection, Source, Update};
use arc_swap::ArcSwap;
pub use attend::{Attendant, Unattended};
pub use kinds::{NAME_TABLE, ResourceType};
use meltemi_api::envoy::config::core::v3::Node;
use meltemi_distribution::{Resources, Subscription, View};
use meltemi_world::{ChangeSet, Kind, NsName, Proxy, Snapshot};
use parking_lot::Mutex;
use proxy_view::ProxyView;
use state::State;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// Serves proxies from the newest published snapshot.
pub struct Engine {
    state: ArcSwap<State>,
    updates: watch::Sender<Update>,
    ready: AtomicBool,
    attendant: Arc<dyn Attendant>,
}

impl Engine {
    /// An engine that starts from `snapshot`. It serves nothing until something is published.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let (updates, _) = watch::channel(Update { generation: 0, since: Instant::now() });
        Self {
            state: ArcSwap::from_pointee(State::first(snapshot)),
            updates,
            ready: AtomicBool::new(false),
            attendant: Arc::new(Unattended),
        }
    }

    /// The same engine, attended.
    #[must_use]
    pub fn attended(self, attendant: Arc<dyn Attendant>) -> Self {
        Self { attendant, ..self }
    }

    /// Puts the next snapshot in place and wakes the streams. Called by the one writer of the world.
    ///
    /// `since` is when the change became known, for the time until proxies have it.
    pub fn publish(&self, snapshot: Arc<Snapshot>, changes: ChangeSet, since: Instant) {
        let filters = changes.mesh || changes.has(Kind::EnvoyFilter);
        let next = self.state.load().next(snapshot, Arc::new(changes));
        for (filter, finding) in filters.then(|| next.index.envoy_filters.unreadable()).into_iter().flatten()
        {
            self.attendant.patch_failed(filter, finding);
        }
        let generation = next.generation;
        self.state.store(Arc::new(next));
        self.ready.store(true, Ordering::Release);
        self.updates.send_replace(Update { generation, since });
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.state.load().snapshot.clone()
    }

    /// What a proxy that announced itself as `node` has now, generated from scratch. For debugging, and the oracle of
    /// what is generated incrementally.
    ///
    /// # Errors
    /// If the node cannot be read, or is not the peer's.
    pub fn view_of(&self, node: &Node, peer: &Peer) -> Result<Arc<dyn View>, Rejection> {
        Ok(Arc::new(Pinned::new(self.proxy_view(self.admit(node, peer)?))))
    }

    fn proxy_view(&self, proxy: Proxy) -> ProxyView {
        ProxyView::new(proxy, self.state.load_full(), self.attendant.clone())
    }

    /// The proxy of a node, if the peer may be that.
    fn admit(&self, node: &Node, peer: &Peer) -> Result<Proxy, Rejection> {
        let mut proxy = self.read(node)?;
        let checks = self.state.load().snapshot.settings.features.xds_identity_check;
        if checks && !peer.identities.is_empty() {
            proxy.verified = Some(verify(&proxy, peer)?);
        }
        Ok(proxy)
    }

    fn read(&self, node: &Node) -> Result<Proxy, Rejection> {
        Proxy::from_node(node, &self.state.load().snapshot.settings.domain)
            .map_err(|e| Rejection::Malformed(e.to_string()))
    }
}

/// One stream's proxy.
struct Handle {
    engine: Arc<Engine>,
    view: Arc<Mutex<ProxyView>>,
}

/// A proxy's view at one generation.
struct Pinned {
    generation: u64,
    view: Arc<Mutex<ProxyView>>,
}

impl Pinned {
    fn new(view: ProxyView) -> Self {
        Self { generation: view.generation(), view: Arc::new(Mutex::new(view)) }
    }
}

impl View for Pinned {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn resources(&self, type_url: &str, wanted: &Subscription) -> Option<Resources> {
        let kind = ResourceType::of(type_url)?;
        self.view.lock().resources(kind, wanted)
    }
}

impl ProxyHandle for Handle {
    fn updates(&self) -> watch::Receiver<Update> {
        self.engine.updates.subscribe()
    }

    fn view(&self) -> Arc<dyn View> {
        let state = self.engine.state.load_full();
        let generation = state.generation;
        self.view.lock().catch_up(state);
        Arc::new(Pinned { generation, view: self.view.clone() })
    }

    fn problems(&self) -> Vec<(Arc<str>, String)> {
        self.view.lock().problems()
    }
}

impl Source for Arc<Engine> {
    fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    fn open(&self, node: &Node, peer: &Peer) -> Result<Arc<dyn ProxyHandle>, Rejection> {
        let view = self.proxy_view(self.admit(node, peer)?);
        Ok(Arc::new(Handle { engine: self.clone(), view: Arc::new(Mutex::new(view)) }))
    }
}

/// The service account of the proxy, if the stream proved that it is this one's. Source: Istio `authorize`.
fn verify(proxy: &Proxy, peer: &Peer) -> Result<NsName, Rejection> {
    proxy.identity_among(&peer.identities).ok_or_else(|| {
        let identities = peer.identities.join(" ");
        let (namespace, account) = (&proxy.namespace, &proxy.metadata.service_account);
        tracing::warn!(peer = ?peer.address, identities, %namespace, account, "a stream is not of the proxy it says");
        Rejection::Forbidden(format!(
            "authorization failed: no identities ([{identities}]) matched {namespace}/{account}"
        ))
    })
}

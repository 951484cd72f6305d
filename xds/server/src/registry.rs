//! Who is connected, and what each was sent: what debug endpoints and istioctl ask for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use dashmap::DashMap;
use meltemi_api::envoy::config::core::v3::Node;
use meltemi_distribution::{Protocol, Status};
use parking_lot::Mutex;
use prost_types::value::Kind;

use crate::source::{Peer, ProxyHandle};

/// The connected proxies.
#[derive(Debug, Default)]
pub struct Registry {
    connections: DashMap<Arc<str>, Arc<Connection>>,
    opened: AtomicU64,
}

impl Registry {
    /// A registry without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// All connections, by id.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        let mut all: Vec<_> = self.connections.iter().map(|c| Arc::clone(&c)).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// The connection of that id.
    pub fn get(&self, id: &str) -> Option<Arc<Connection>> {
        self.connections.get(id).map(|c| Arc::clone(&c))
    }

    /// How many proxies are connected, by the Istio version they announce.
    pub fn versions(&self) -> BTreeMap<String, usize> {
        let mut versions = BTreeMap::new();
        for connection in &self.connections {
            *versions.entry(connection.version().to_owned()).or_default() += 1;
        }
        versions
    }

    /// How many proxies are connected.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether no proxy is connected.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The number of the next connection; no two of a process have the same.
    pub(crate) fn number(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn add(&self, connection: &Arc<Connection>) {
        self.connections.insert(connection.id.clone(), Arc::clone(connection));
    }

    pub(crate) fn remove(&self, id: &str) {
        self.connections.remove(id);
    }
}

/// One connected proxy.
pub struct Connection {
    /// `NODE-NUMBER`, as Istio names connections.
    pub id: Arc<str>,
    /// What the proxy announces of itself, without the list of its extensions.
    pub node: Node,
    /// Who is at the other end.
    pub peer: Peer,
    /// Since when.
    pub connected_at: SystemTime,
    /// The variant of the protocol.
    pub protocol: Protocol,
    /// The proxy in the engine: what it should have.
    pub proxy: Arc<dyn ProxyHandle>,
    types: Mutex<BTreeMap<Arc<str>, TypeState>>,
}

/// One type on one connection.
#[derive(Clone, Debug)]
pub struct TypeState {
    /// What is asked for, what was sent, what was accepted.
    pub status: Status,
    /// When the last response was sent.
    pub sent_at: Option<SystemTime>,
    /// How many responses were sent.
    pub responses: u64,
    /// How many of them were rejected.
    pub rejections: u64,
}

impl Connection {
    pub(crate) fn new(
        number: u64,
        mut node: Node,
        peer: Peer,
        protocol: Protocol,
        proxy: Arc<dyn ProxyHandle>,
    ) -> Self {
        // Envoy lists some hundred extensions with their types: as much as everything else about a connection.
        node.extensions = Vec::new();
        Self {
            id: format!("{}-{number}", node.id).into(),
            node,
            peer,
            connected_at: SystemTime::now(),
            protocol,
            proxy,
            types: Mutex::default(),
        }
    }

    /// The state of all types that the client asks for, by type URL.
    pub fn types(&self) -> Vec<TypeState> {
        self.types.lock().values().cloned().collect()
    }

    /// A text of the node's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        match &self.node.metadata.as_ref()?.fields.get(key)?.kind {
            Some(Kind::StringValue(text)) => Some(text),
            _ => None,
        }
    }

    /// The Istio version that the proxy announces, or `unknown`.
    pub fn version(&self) -> &str {
        self.metadata("ISTIO_VERSION").filter(|v| !v.is_empty()).unwrap_or("unknown")
    }

    /// Takes over the state of a type, which is none if the client is no longer subscribed.
    pub(crate) fn publish(&self, type_url: &str, status: Option<Status>, event: Event) {
        let mut types = self.types.lock();
        let Some(status) = status else {
            types.remove(type_url);
            return;
        };
        let state = match types.entry(status.type_url.clone()) {
            Entry::Occupied(known) => {
                let state = known.into_mut();
                state.status = status;
                state
            }
            Entry::Vacant(new) => {
                new.insert(TypeState { status, sent_at: None, responses: 0, rejections: 0 })
            }
        };
        match event {
            Event::Sent => {
                state.sent_at = Some(SystemTime::now());
                state.responses += 1;
            }
            Event::Rejected => state.rejections += 1,
            Event::Other => {}
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What just happened to a type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Sent,
    Rejected,
    Other,
}

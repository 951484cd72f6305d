//! Where the server gets what it serves: the contract with the engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use meltemi_api::envoy::config::core::v3::Node;
pub use meltemi_distribution::{Resource, ResourceSet, Resources, Subscription, View};
use tokio::sync::watch;
use tonic::Status;

/// Who is at the other end of a stream.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The address of the connection.
    pub address: Option<SocketAddr>,
    /// The SPIFFE identities that were proved; empty on a plaintext port.
    pub identities: Vec<String>,
}

/// Why a proxy is not served.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Rejection {
    /// The node says something that cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// The peer may not be that node.
    #[error("{0}")]
    Forbidden(String),
    /// This kind of proxy is not served here.
    #[error("{0}")]
    Unsupported(String),
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Malformed(m) => Self::invalid_argument(m),
            Rejection::Forbidden(m) => Self::permission_denied(m),
            // istiod answers a plain error, which gRPC reports as Unknown (`initConnection`).
            Rejection::Unsupported(m) => Self::unknown(m),
        }
    }
}

/// Knows what each proxy has.
pub trait Source: Send + Sync + 'static {
    /// Whether the first state of the world stands. Before that, streams are refused: a proxy that is served half a
    /// world would lose the other half.
    fn ready(&self) -> bool {
        true
    }

    /// Registers a proxy for the life of one stream.
    ///
    /// # Errors
    /// If the node cannot be read or may not be served.
    fn open(&self, node: &Node, peer: &Peer) -> Result<Arc<dyn ProxyHandle>, Rejection>;
}

/// One proxy's registration, for one stream. Dropped when the stream ends.
pub trait ProxyHandle: Send + Sync + 'static {
    /// Tells when this proxy may have something new. A value that was not looked at is replaced by the next, so a slow
    /// proxy has at most one push pending.
    fn updates(&self) -> watch::Receiver<Update>;

    /// What the proxy has now; at least as new as the last update that was announced.
    fn view(&self) -> Arc<dyn View>;

    /// What the proxy asks for and cannot have, by name, each with the reason.
    fn problems(&self) -> Vec<(Arc<str>, String)> {
        Vec::new()
    }
}

/// That a proxy may have something new.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The view's generation.
    pub generation: u64,
    /// When the change became known, for the time until the proxy has it.
    pub since: Instant,
}

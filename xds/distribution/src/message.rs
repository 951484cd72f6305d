//! What goes in and out of a stream, free of the wire's types.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::resource::{Resource, Resources};
use crate::subscription::Subscription;

/// The two variants of the protocol. A stream speaks one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `DeltaAggregatedResources`.
    Delta,
    /// `StreamAggregatedResources`.
    Sotw,
}

/// One request of a client.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The type it is about.
    pub type_url: String,
    /// The nonce of the response that it answers, or empty.
    pub nonce: String,
    /// Why that response was rejected, if it was.
    pub error: Option<String>,
    /// What is asked for.
    pub ask: Ask,
}

impl fmt::Display for Request {
    /// In short, for logs: counts instead of names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { type_url, nonce, error, ask } = self;
        write!(f, "{type_url} ")?;
        match ask {
            Ask::Delta { subscribe, unsubscribe, known } => {
                write!(f, "+{} -{} known {}", subscribe.len(), unsubscribe.len(), known.len())?;
            }
            Ask::Sotw { names } => write!(f, "={}", names.len())?,
        }
        match error {
            _ if nonce.is_empty() => Ok(()),
            None => write!(f, ", accepts {nonce}"),
            Some(error) => write!(f, ", rejects {nonce}: {error}"),
        }
    }
}

/// What a request asks for, as either variant of the protocol puts it.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Changes to the subscription.
    Delta {
        /// Names to add.
        subscribe: Vec<String>,
        /// Names to take out.
        unsubscribe: Vec<String>,
        /// What the client has from an earlier stream: names and versions.
        known: Vec<(String, String)>,
    },
    /// The whole subscription.
    Sotw {
        /// All names.
        names: Vec<String>,
    },
}

impl Default for Ask {
    fn default() -> Self {
        Self::Sotw { names: Vec::new() }
    }
}

/// What a request said about the response before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    None,
    /// The response was accepted.
    Acked,
    /// The response was rejected: the client goes on with what it had.
    Rejected,
    /// It was about a response that a newer one has overtaken.
    Expired,
}

/// One response, to be put on the wire.
#[derive(Clone, Debug)]
pub struct Response {
    /// The type it is about.
    pub type_url: Arc<str>,
    /// The version of all that the client has of the type once it accepted this.
    pub version: u64,
    /// The name of this response, for the client's answer.
    pub nonce: Arc<str>,
    /// The resources.
    pub resources: Vec<Arc<Resource>>,
    /// Names that do not exist, or no longer; only in the delta protocol.
    pub removed: Vec<Arc<str>>,
}

impl fmt::Display for Response {
    /// In short, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { type_url, nonce, resources, removed, .. } = self;
        write!(f, "{type_url} +{} -{} as {nonce}", resources.len(), removed.len())
    }
}

/// Why a stream is ended.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// More names than a proxy can need.
    #[error("the stream would subscribe to {asked} names, more than the {limit} allowed")]
    TooManyNames {
        /// How many it would be.
        asked: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// More types than there are.
    #[error("the stream subscribes to more than the {limit} types allowed")]
    TooManyTypes {
        /// How many are allowed.
        limit: usize,
    },
}

/// The state of one type on one stream, for debugging.
#[derive(Clone, Debug)]
pub struct Status {
    /// The type.
    pub type_url: Arc<str>,
    /// What the client asks for.
    pub subscription: Subscription,
    /// The nonce of the last response, if any was sent.
    pub nonce_sent: Option<Arc<str>>,
    /// The nonce of the last response that was accepted.
    pub nonce_acked: Option<Arc<str>>,
    /// The version of the last response.
    pub version: u64,
    /// Why the last response was rejected, if it was.
    pub error: Option<Arc<str>>,
    /// The resources that are known to be why responses were rejected, each with the reason.
    pub rejected: BTreeMap<Arc<str>, Arc<str>>,
    /// What was sent. May hold more than the client asks for: see [`Status::resources`].
    pub sent: Resources,
    /// How many clusters or endpoints are gone but not yet taken from the client.
    pub held: usize,
}

impl Status {
    /// The resources that the client has or is about to have.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.sent.iter().filter(|r| self.subscription.covers(&r.name))
    }
}

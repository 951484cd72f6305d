//! The ADS server: streams of proxies, served from a [`Source`].
//!
//! What to send is decided by `meltemi-distribution`, without IO; here is what moves it: the gRPC service, one
//! [session](session) per stream, the [`Registry`] of who is connected, and the transport.
#![forbid(unsafe_code)]

pub mod engine;
mod io;
mod observer;
mod pace;
mod registry;
mod serve;
mod service;
mod session;
mod source;
mod special;
mod wire;

pub use io::{Authenticator, Call, Identities, Io, Remote, accept, plaintext};
pub use observer::{Observer, Unobserved};
pub use registry::{Connection, Registry, TypeState};
pub use serve::{serve, serve_on};
pub use service::{Ads, Options};
pub use session::MAX_AGE;
pub use source::{
    Peer, ProxyHandle, Rejection, Resource, ResourceSet, Resources, Source, Subscription, Update, View,
};
pub use special::{Asked, HEALTH, Ordinary, Reply, Special};

//! The world: one immutable snapshot of everything that translation may ask.
//!
//! Sources hand in [`Change`]s; [`World::apply`] returns the next [`Snapshot`] and the [`ChangeSet`] between
//! the two. Old and new snapshots share all that did not change.
//!
//! **Invariant:** nothing here does IO, reads a clock, or knows that a proxy or a stream exists, save for
//! [`proxy`], which only says what a node announces about itself.

pub mod config;
pub mod convert;
pub mod diagnostics;
pub mod endpoint;
pub mod features;
pub mod host;
pub mod identity;
pub mod jwks;
pub mod labels;
pub mod mesh;
pub mod name;
pub mod object;
pub mod protocol;
pub mod proxy;
pub mod registry;
pub mod selector;
pub mod service;
pub mod snapshot;
mod targets;
pub mod visibility;
pub mod workload;
mod world;

pub use config::{Config, Meta};
pub use diagnostics::Diagnostic;
pub use endpoint::{Endpoint, Health, Locality};
pub use name::{NsName, Str};
pub use object::{Change, Kind, Object};
pub use protocol::Protocol;
pub use proxy::Proxy;
pub use service::{Port, Resolution, Service, ServiceKey};
pub use snapshot::{ChangeSet, Snapshot};
pub use world::World;

//! The control plane's sources, servers and wiring.
//!
//! ```text
//!  sources ──batches──► store (one writer) ──snapshots──► engine ──► streams
//!                          └──► debug, metrics, readiness
//! ```

pub mod authenticate;
pub mod authority;
pub mod config;
pub mod controllers;
pub mod identity;
pub mod jwks;
pub mod log;
pub mod metrics;
pub mod patches;
pub mod request;
pub mod secrets;
pub mod serve;
pub mod sources;
pub mod store;
pub mod version;
pub mod wire;

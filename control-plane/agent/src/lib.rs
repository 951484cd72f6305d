//! The agent beside a stock Envoy, with the contract of Istio's pilot-agent.
//!
//! ```text
//!  environment, files of the Pod ──► Settings ──► bootstrap of Envoy
//!                                       │
//!   CA ◄── CSR ── Renewal ──► Identity ─┴─► SDS (Unix socket) ──┐
//!   istiod ◄── TLS + token ── xDS proxy (Unix socket) ──────────┴─► Envoy ◄── status server, drain, exit
//! ```
//!
//! Private keys stay in memory. The agent ends with Envoy, and Envoy with the agent. [`iptables`] is what the init
//! container does before.
#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod cli;
pub mod envoy;
mod error;
pub mod files;
pub mod iptables;
pub mod metrics;
pub mod run;
pub mod sds;
pub mod secret;
pub mod settings;
pub mod status;
pub mod upstream;
pub mod xds;

pub use error::Error;

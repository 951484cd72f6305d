//! The control plane's sources, servers and wiring.

pub mod config;
pub mod sources;
pub mod wire;

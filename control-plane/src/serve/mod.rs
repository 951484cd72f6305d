//! The servers for people and probes: readiness, version, metrics, debugging.

mod access;
pub mod debug;
pub mod http;
pub mod listen;

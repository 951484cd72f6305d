//! The servers: for people and probes (readiness, version, metrics, debugging), and for workloads (certificates).

mod access;
pub mod certificates;
pub mod debug;
pub mod http;
pub mod listen;
pub mod secure;

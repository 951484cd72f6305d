//! Translation: pure functions from the world and a proxy to Envoy resources.
//!
//! [`Index`] arranges the snapshot's configuration for the questions asked here; [`Scope`] is what the proxies of
//! one namespace (or one Sidecar resource) see; [`Cx`] puts both beside one proxy. The rooms: [`cluster`] (CDS),
//! [`endpoint`] (EDS), [`gateway`] (merged Gateways), [`listener`] (LDS), [`patch`] (EnvoyFilters), [`route`] (RDS),
//! [`security`] (authentication and authorization filters), [`telemetry`] (access logs, tracing, metrics).
//!
//! **Invariant:** no IO, no clock, no randomness, no global state. Equal input gives equal bytes.

pub mod address;
pub mod cluster;
pub mod compliance;
pub mod cx;
pub mod endpoint;
pub mod extension;
pub mod extension_provider;
pub mod findings;
pub mod gateway;
pub mod header_case;
pub mod host_map;
pub mod index;
pub mod listener;
pub mod metadata_exchange;
pub mod name_table;
pub mod names;
pub mod patch;
pub mod policy;
pub mod proxy_headers;
pub mod route;
pub mod scope;
pub mod sds;
pub mod security;
pub mod stat_name;
pub mod telemetry;
pub mod traffic_policy;
pub mod trust_bundle;
pub mod wire;

pub use cx::Cx;
pub use index::Index;
pub use scope::Scope;

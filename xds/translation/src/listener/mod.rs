//! LDS: listeners of sidecars and gateways.

pub mod tls;

//! The incremental engine and the ADS server.

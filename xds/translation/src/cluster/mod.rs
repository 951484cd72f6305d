//! CDS: clusters of sidecars and gateways.

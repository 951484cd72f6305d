//! LDS: listeners of sidecars and gateways.

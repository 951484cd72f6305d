//! RDS: route configurations of sidecars and gateways.

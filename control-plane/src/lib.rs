//! The control plane's sources, servers and wiring.

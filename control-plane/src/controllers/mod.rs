//! What the control plane writes to a cluster.

pub mod addresses;
pub mod root_maps;

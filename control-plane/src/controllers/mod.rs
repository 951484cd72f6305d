//! What the control plane writes to a cluster.

pub mod root_maps;

//! `meltemi istio-iptables`: what Istio's init container does, sending a Pod's traffic through its proxy.
//!
//! [`rules`] decides which rules there shall be, from [`Options`] alone; [`apply`] compares them with what the kernel
//! has, and drives `iptables-restore`, `iptables` and, for TPROXY, `ip`. Run again with the same options, it changes
//! nothing.

mod apply;
mod options;
mod plan;
mod ranges;
mod rules;

pub use apply::run;
pub use options::{Flags, Mode, Options};
pub use rules::{Family, Rules};

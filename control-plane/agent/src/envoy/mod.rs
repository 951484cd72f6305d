//! Envoy's process and its admin pages.

mod admin;
mod process;

pub use admin::Admin;
pub use process::{Ended, Envoy};

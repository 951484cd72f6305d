//! The workload's certificate and the roots it trusts: asked for, renewed in time, kept in memory only.

mod authority;
mod renewal;
mod roots;
mod schedule;

use std::{fmt, sync::Arc, time::SystemTime};

pub use authority::{Authority, Issued};
pub use renewal::Renewal;
pub use roots::Roots;
pub use schedule::{Backoff, Random, renew_at};

/// What Envoy is given. Each part is replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The workload's certificate, as soon as there is one.
    pub workload: Option<Arc<Identity>>,
    /// The roots to verify peers by.
    pub roots: Arc<Roots>,
}

/// A certificate with its key.
pub struct Identity {
    /// PEM: the leaf, then the intermediates.
    pub chain: String,
    /// PEM of the private key.
    pub key: String,
    /// The end of its life.
    pub not_after: SystemTime,
}

impl fmt::Debug for Identity {
    // Never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

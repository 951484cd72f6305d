//! What happens on the streams, for metrics.

use std::time::Duration;

/// Is told what happens on the streams. Called on the streams' tasks: count and return.
#[allow(unused_variables)]
pub trait Observer: Send + Sync + 'static {
    /// A proxy connected; `version` is the Istio version it announces.
    fn connected(&self, version: &str) {}

    /// A proxy is gone.
    fn disconnected(&self, version: &str) {}

    /// A request of that size came in.
    fn received(&self, bytes: usize) {}

    /// A response was made: how long that took, and its size.
    fn pushed(&self, type_url: &str, took: Duration, bytes: usize) {}

    /// A response was taken by the transport: how long that took.
    fn sent(&self, type_url: &str, took: Duration) {}

    /// A client rejected a response.
    fn rejected(&self, type_url: &str, node: &str, code: i32, error: &str) {}

    /// A request about an overtaken response was ignored.
    fn expired_nonce(&self, type_url: &str) {}

    /// A proxy was sent all that a change brought, so long after it became known.
    fn converged(&self, took: Duration) {}

    /// A stream ended because of the client's or the network's fault.
    fn failed(&self, error: &tonic::Status) {}
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

//! Access logs, tracing and metrics.

//! Per-stream state of xDS subscriptions: names, hashes, nonces. Knows nothing of Istio.

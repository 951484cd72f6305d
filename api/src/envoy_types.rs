//! Generated: Envoy's API and Istio's extensions of it, one module per protobuf package.
//!
//! Types refer to each other by relative paths, so all packages stand in this one tree; the crate's root names its tops.
#![allow(missing_docs, rustdoc::all, clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/envoy/mod.rs"));

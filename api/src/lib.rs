//! Wire and resource types: Envoy and Istio protobufs, slim views of Kubernetes objects. No logic of the mesh.
//!
//! Generated at build time from the descriptor sets in `descriptors/`:
//! - [`envoy`], [`xds`], [`udpa`], [`google`] and Istio's extensions of Envoy ([`stats`], [`io`], [`istio_wire`]), cut to
//!   the packages of `roots.txt`;
//! - [`istio`], Istio's own API with proto3 JSON: a resource's `spec` is read by `serde`.
//!
//! Written by hand:
//! - [`wkt`], the well-known types that generated code refers to, and conversions of them;
//! - [`reflect`], [`json`] and [`merge`], messages of any type by descriptor: patches and dumps;
//! - [`go_json`], what Go reads in JSON beyond the standard;
//! - [`object`], reading one resource with the place of what is wrong in it;
//! - [`k8s`], slim views of Kubernetes objects;
//! - [`validate`], which of Istio's objects are refused.
//!
//! `google.protobuf.Any` is [`wkt::Any`] and not the one of prost-types, because that one owns its payload: every
//! response would copy every resource. Ours shares it.
#![forbid(unsafe_code)]

pub mod envoy_types;
pub mod go_json;
pub mod istio_types;
pub mod json;
pub mod k8s;
pub mod merge;
pub mod object;
pub mod reflect;
pub mod validate;
pub mod wkt;

pub use envoy_types::istio as istio_wire;
pub use envoy_types::{envoy, google, io, stats, udpa, xds};
pub use istio_types::istio;

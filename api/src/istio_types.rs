//! Generated: Istio's API, one module per protobuf package, with `serde` by the rules of proto3 JSON.
//!
//! Unknown fields are passed over, an unknown enum value or a second member of a oneof is an error. Packages that only
//! repeat another API version (`v1`, `v1beta1`) are left out: every version is read into the one type here.
#![allow(missing_docs, rustdoc::all, clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/istio/mod.rs"));

//! What is honoured of Istio's API: the tables in `compat/`, the API's descriptors that they must agree with, and the
//! page that they make.
//!
//! The tables are the place to write: one line for each field of each message, annotation, label and environment
//! variable, with what becomes of it. A line that is missing, or that is about nothing, is an error.

pub mod fields;
pub mod names;
pub mod page;
pub mod table;

use std::path::{Path, PathBuf};

/// The folder of the tables.
pub fn tables() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat")
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

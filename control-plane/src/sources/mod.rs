//! Where the world comes from: a cluster, or a folder of files.

mod batch;
pub mod decode;
mod diagnostic;
pub mod file;
pub mod files;
pub(crate) mod follow;
pub mod kube;
pub mod mesh;
mod yaml;

pub use batch::{Batch, Batches, Part, Subject};
pub use diagnostic::{Diagnostic, Place, Severity};

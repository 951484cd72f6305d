//! Where the world comes from: a cluster, or a folder of files.

pub mod decode;
pub mod diagnostic;
pub mod file;
pub mod yaml;

pub use diagnostic::{Diagnostic, Place, Severity};

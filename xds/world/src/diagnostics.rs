//! What is wrong with the input: each finding names its object, and what to do.

use crate::{Kind, NsName};
use std::fmt;

/// One finding about one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The object's kind.
    pub kind: Kind,
    /// The object.
    pub object: NsName,
    /// The field, in the YAML's spelling; empty where it is the whole object.
    pub field: String,
    /// What is wrong and what to do, a full sentence.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.object)?;
        if !self.field.is_empty() {
            write!(f, ", field {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

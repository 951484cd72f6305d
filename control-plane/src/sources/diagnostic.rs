//! What is wrong with the input, for whoever has to put it right.

use meltemi_world::NsName;
use std::fmt;
use std::path::PathBuf;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The object, or the file, is not in force as it stands.
    Error,
    /// It is in force, but part of it has no effect.
    Warning,
    /// Nothing is wrong with it; it has no effect here.
    Note,
}

impl Severity {
    /// Its name, as debugging and metrics print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Where in a file something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// One finding about one object, or one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file that it is about, in file mode.
    pub place: Option<Place>,
    /// The object's kind as it was written; empty where there is none.
    pub kind: String,
    /// The object; empty where it has no name.
    pub object: NsName,
    /// The field, in YAML's spelling; empty where it is the whole.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Diagnostic {
    /// A finding about an object.
    pub fn new(
        severity: Severity,
        kind: &str,
        object: &NsName,
        field: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            place: None,
            kind: kind.to_owned(),
            object: object.clone(),
            field: field.to_owned(),
            message: message.into(),
        }
    }

    /// A finding about a file.
    pub fn of_file(severity: Severity, place: Place, message: impl Into<String>) -> Self {
        let mut out = Self::new(severity, "", &NsName::new("", ""), "", message);
        out.place = Some(place);
        out
    }

    /// Whether something is not in force.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Puts it on the log, by its severity.
    pub fn log(&self) {
        match self.severity {
            Severity::Error => tracing::error!(target: "config", "{self}"),
            Severity::Warning => tracing::warn!(target: "config", "{self}"),
            Severity::Note => tracing::debug!(target: "config", "{self}"),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.kind.is_empty() {
            write!(
                f,
                "{} {}",
                self.kind,
                if self.object.name.is_empty() { "(unnamed)".into() } else { self.object.to_string() }
            )?;
            if !self.field.is_empty() {
                write!(f, ", field {}", self.field)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_sentence() {
        let mut d =
            Diagnostic::new(Severity::Error, "Gateway", &NsName::new("a", "b"), "spec.servers", "is no list");
        assert_eq!(d.to_string(), "Gateway a/b, field spec.servers: is no list");
        d.place = Some(Place { file: "x.yaml".into(), line: 7 });
        assert_eq!(d.to_string(), "x.yaml:7: Gateway a/b, field spec.servers: is no list");
    }
}

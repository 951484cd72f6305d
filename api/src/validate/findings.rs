//! Where in an object something is wrong, and what.
//!
//! A place is a list of steps on the stack, so that walking through a good object allocates nothing.

use std::fmt;

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Path of the field from the object's root, such as `spec.http[0].route[1].weight`.
    pub field: String,
    /// What is wrong there, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// All that is wrong with one object, in the order of its fields.
///
/// An apiserver is told to refuse an object with `errors` or `partial`. One that is there all the same, since nobody
/// asked, is used without the parts that `partial` names, as in istiod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What makes the object as a whole unusable.
    pub errors: Vec<Finding>,
    /// What makes one part unusable, such as a patch of an EnvoyFilter.
    pub partial: Vec<Finding>,
    /// What istiod accepts, and the user should know of.
    pub warnings: Vec<Finding>,
}

impl Findings {
    /// How many errors are kept of one object: the first ones suffice to see what is wrong with it.
    pub const MAX: usize = 64;

    /// Refuses the object for what stands at `at`.
    pub fn error(&mut self, at: &At<'_>, message: impl Into<String>) {
        push(&mut self.errors, at, message);
    }

    /// Warns of what stands at `at`.
    pub fn warn(&mut self, at: &At<'_>, message: impl Into<String>) {
        push(&mut self.warnings, at, message);
    }

    /// Refuses the object for what stands at `at` if `problem` holds one.
    pub fn check(&mut self, at: &At<'_>, problem: Option<String>) {
        if let Some(message) = problem {
            self.error(at, message);
        }
    }

    /// Checks a part that can be left out by itself.
    pub fn part(&mut self, check: impl FnOnce(&mut Self)) {
        let before = self.errors.len();
        check(self);
        self.partial.extend(self.errors.drain(before..));
    }

    /// Whether an apiserver may take the object.
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty() && self.partial.is_empty()
    }
}

fn push(to: &mut Vec<Finding>, at: &At<'_>, message: impl Into<String>) {
    if to.len() < Findings::MAX {
        to.push(Finding { field: at.to_string(), message: message.into() });
    }
}

/// A place in an object.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> At<'a> {
    /// A field of the object itself, such as `spec`.
    pub const fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Field(name) }
    }

    /// A field of what stands here, in YAML's spelling.
    pub const fn field(&'a self, name: &'a str) -> At<'a> {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    /// An item of the list here, from 0.
    pub const fn index(&'a self, index: usize) -> At<'a> {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// A member of the map here.
    pub const fn key(&'a self, key: &'a str) -> At<'a> {
        Self { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_a_path() {
        let spec = At::root("spec");
        let (http, request) = (spec.field("http"), At::root("request"));
        assert_eq!(http.index(2).field("headers").key("a-b").to_string(), "spec.http[2].headers[a-b]");
        assert_eq!(request.to_string(), "request");
    }

    #[test]
    fn a_part_costs_itself() {
        let mut out = Findings::default();
        out.error(&At::root("a"), "no");
        out.part(|out| out.error(&At::root("b"), "no"));
        assert_eq!((out.errors.len(), out.partial.len(), out.is_valid()), (1, 1, false));
        assert_eq!(out.partial[0].field, "b");
    }

    #[test]
    fn findings_of_one_object_are_bounded() {
        let mut out = Findings::default();
        (0..1000).for_each(|i| out.error(&At::root("spec").index(i), "no"));
        assert_eq!(out.errors.len(), Findings::MAX);
        assert_eq!(out.errors[1].to_string(), "spec[1]: no");
    }
}

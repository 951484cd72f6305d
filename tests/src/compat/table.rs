//! Tables of what is honoured, as text: `[SECTION]` lines, and lines of a name, a status and a note.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// What becomes of a field, a name or a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It does what it does in istiod.
    Honoured,
    /// It does something else than in istiod; the note says what, and why.
    Differs,
    /// istiod does something with it, Meltemi does not; the note says why.
    NotHonoured,
    /// It has no effect in istiod either.
    NoEffect,
    /// The proxy's agent or the injection template reads it, not what generates configuration.
    Agent,
}

impl Status {
    /// Every status, in the order of the page.
    pub const ALL: [Self; 5] =
        [Self::Honoured, Self::Differs, Self::NotHonoured, Self::NoEffect, Self::Agent];

    /// The word for it in a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Honoured => "yes",
            Self::Differs => "differs",
            Self::NotHonoured => "no",
            Self::NoEffect => "none",
            Self::Agent => "agent",
        }
    }

    /// The words for it on the page.
    pub fn text(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Differs => "differs",
            Self::NotHonoured => "not honoured",
            Self::NoEffect => "no effect in istiod either",
            Self::Agent => "read by the agent",
        }
    }

    /// Whether a row must say more than that.
    fn needs_note(self) -> bool {
        matches!(self, Self::Differs | Self::NotHonoured)
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The field's JSON name, or the annotation's or variable's name.
    pub name: String,
    /// What becomes of it.
    pub status: Status,
    /// What there is to say; may be empty.
    pub note: String,
}

/// The rows of a file, by section, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Sections with their rows. For kinds, a section is a message.
    pub sections: Vec<(String, Vec<Row>)>,
}

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// If a line cannot be read, or says too little.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// All files of a folder, as one.
    ///
    /// # Errors
    /// If a file cannot be read, or two have a section of the same name.
    pub fn read_all(dir: &Path) -> Result<Self> {
        let mut paths: Vec<_> = fs::read_dir(dir)?.flatten().map(|e| e.path()).collect();
        paths.sort();
        let mut all = Self::default();
        for path in paths {
            for (name, rows) in Self::read(&path)?.sections {
                ensure!(all.section(&name).is_none(), "{}: [{name}] is described twice", path.display());
                all.sections.push((name, rows));
            }
        }
        Ok(all)
    }

    /// Reads a table.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn parse(text: &str) -> Result<Self> {
        let mut sections: Vec<(String, Vec<Row>)> = Vec::new();
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, l)| !l.is_empty());
        for (number, line) in lines.filter(|(_, l)| !l.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                sections.push((name.to_owned(), Vec::new()));
                continue;
            }
            let (_, rows) = sections.last_mut().context("a row stands before the first section")?;
            rows.push(row(line).with_context(|| format!("line {}: {line:?}", number + 1))?);
        }
        Ok(Self { sections })
    }

    /// The rows of a section.
    pub fn section(&self, name: &str) -> Option<&[Row]> {
        self.sections.iter().find(|(n, _)| n == name).map(|(_, rows)| rows.as_slice())
    }

    /// All rows by name; one name may stand in several sections.
    pub fn names(&self) -> BTreeMap<&str, &Row> {
        self.sections.iter().flat_map(|(_, rows)| rows).map(|r| (r.name.as_str(), r)).collect()
    }
}

fn row(line: &str) -> Result<Row> {
    let (name, rest) =
        line.split_once(char::is_whitespace).context("a row is a name, a status and a note")?;
    let (word, note) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
    let Some(status) = Status::ALL.into_iter().find(|s| s.word() == word) else {
        bail!("{word:?} is no status; there are {:?}", Status::ALL.map(Status::word));
    };
    ensure!(!status.needs_note() || !note.is_empty(), "this status needs a note that says what and why");
    Ok(Row { name: name.to_owned(), status, note: note.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_a_name_a_status_and_a_note() {
        let table = Table::parse("# about\n[a.B]\nx yes\ny  no   for a reason\n").unwrap();
        let rows = table.section("a.B").unwrap();
        assert_eq!((rows[0].status, rows[0].note.as_str()), (Status::Honoured, ""));
        assert_eq!((rows[1].status, rows[1].note.as_str()), (Status::NotHonoured, "for a reason"));
    }

    #[test]
    fn a_table_must_say_enough() {
        for bad in ["x yes", "[a]\nx", "[a]\nx maybe", "[a]\nx no", "[a]\nx differs"] {
            assert!(Table::parse(bad).is_err(), "{bad}");
        }
    }
}

//! The page `docs/compatibility.md`, made of the tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::fields::{Field, KindFields};
use super::table::{Row, Status, Table};

const INTRO: &str = "# Compatibility with Istio 1.31

What istiod 1.31 does with a field is the definition of right. This page says for each field of each kind, each annotation and
label, and each environment variable that changes what proxies are sent, whether Meltemi does the same for sidecars and gateways.

The page is generated from the tables in `tests/compat`; a test compares them with the API's descriptors and with the code, and
this page with them. To change it, change a table, then run

    MELTEMI_UPDATE=1 cargo test -p meltemi-tests --test compatibility

";

const FOOT: &str = "A name followed by `[]` is a list, by `{}` a map. A message that stands in several places is described once.\n";

/// The page.
pub fn page(kinds: &[KindFields], fields: &Table, annotations: &Table, variables: &Table) -> String {
    let mut out = INTRO.to_owned();
    legend(&mut out);
    overview(&mut out, kinds, fields, annotations, variables);
    for kind in kinds {
        heading(&mut out, title(&kind.message));
        head(&mut out, "Field");
        for field in &kind.fields {
            if let Some(row) = row(fields, field) {
                let mut note = row.note.clone();
                if let Some((kind, path)) = &field.described {
                    append(&mut note, &described(kind, path));
                }
                if field.deprecated {
                    append(&mut note, "Deprecated in the API.");
                }
                line(&mut out, &field.path, row.status, &note);
            }
        }
    }
    names(&mut out, "Annotations and labels", "Name", annotations);
    names(&mut out, "Environment variables", "Variable", variables);
    out
}

fn legend(out: &mut String) {
    let lines = [
        (Status::Honoured, "it does what it does in istiod"),
        (Status::Differs, "it does something else than in istiod; the note says what, and why"),
        (Status::NotHonoured, "istiod does something with it, Meltemi does not; the note says why"),
        (Status::NoEffect, "it changes nothing that istiod serves"),
        (
            Status::Agent,
            "pilot-agent reads it from the Pod's own configuration, or the injection template does; it changes nothing that is served over xDS",
        ),
    ];
    for (status, text) in lines {
        let _ = writeln!(out, "- *{}*: {text}.", status.text());
    }
    let _ = writeln!(out, "\n{FOOT}");
}

fn overview(out: &mut String, kinds: &[KindFields], fields: &Table, annotations: &Table, variables: &Table) {
    let titles = Status::ALL.map(Status::text).join(" | ");
    let _ = writeln!(out, "| | {titles} |\n|---{}|", "|---:".repeat(Status::ALL.len()));
    let mut count = |title: &str, statuses: &mut dyn Iterator<Item = Status>| {
        let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
        statuses.for_each(|s| *counts.entry(s).or_default() += 1);
        let cells = Status::ALL.map(|s| counts.get(&s).map_or(String::new(), ToString::to_string));
        let anchor = title.to_lowercase().replace(' ', "-");
        let _ = writeln!(out, "| [{title}](#{anchor}) | {} |", cells.join(" | "));
    };
    for kind in kinds {
        let mut statuses = kind.fields.iter().filter_map(|f| row(fields, f)).map(|r| r.status);
        count(title(&kind.message), &mut statuses);
    }
    let of = |table: &Table| table.names().into_values().map(|r| r.status).collect::<Vec<_>>();
    count("Annotations and labels", &mut of(annotations).into_iter());
    count("Environment variables", &mut of(variables).into_iter());
}

fn names(out: &mut String, title: &str, column: &str, table: &Table) {
    heading(out, title);
    for (section, rows) in &table.sections {
        let _ = writeln!(out, "### {section}\n");
        head(out, column);
        rows.iter().for_each(|r| line(out, &r.name, r.status, &r.note));
        out.push('\n');
    }
    // One newline at the end of the file.
    out.truncate(out.trim_end().len());
    out.push('\n');
}

fn heading(out: &mut String, title: &str) {
    let _ = writeln!(out, "\n## {title}\n");
}

fn head(out: &mut String, column: &str) {
    let _ = writeln!(out, "| {column} | Status | Note |\n|---|---|---|");
}

fn line(out: &mut String, name: &str, status: Status, note: &str) {
    let note = note.replace('|', "\\|");
    let space = if note.is_empty() { "" } else { " " };
    let _ = writeln!(out, "| `{name}` | {} |{space}{note} |", status.text());
}

fn row<'a>(table: &'a Table, field: &Field) -> Option<&'a Row> {
    table.section(&field.message)?.iter().find(|r| r.name == field.name)
}

fn append(note: &mut String, text: &str) {
    if !note.is_empty() {
        note.push(' ');
    }
    note.push_str(text);
}

fn described(kind: &str, path: &str) -> String {
    let title = title(kind);
    let anchor = anchor(kind);
    if path.is_empty() {
        format!("Fields as of [{title}](#{anchor}).")
    } else {
        format!("Fields as of `{path}` in [{title}](#{anchor}).")
    }
}

/// The heading of a kind.
fn title(message: &str) -> &str {
    match message.rsplit_once('.') {
        Some((_, name)) => name,
        None => message,
    }
}

fn anchor(message: &str) -> String {
    title(message).to_lowercase()
}

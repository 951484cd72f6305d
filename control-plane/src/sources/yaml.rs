//! Text to JSON values, with the line where each document starts.
//!
//! Scalars are read as `sigs.k8s.io/yaml` reads them, since that is what stands between a user's file and an apiserver:
//! `010` is eight, keys are strings, and a repeated key replaces the one before. YAML 1.1's other booleans (`yes`, `on`)
//! stay texts here; where a field wants a boolean they become one when the object is decoded, so that a label `on`
//! needs no quotes.

use serde_json::Value;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Options, Spanned};
use std::path::Path;

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The line of its first node, from 1.
    pub line: u64,
    /// What it says.
    pub value: Value,
}

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SyntaxError {
    /// The line, from 1; 0 where unknown.
    pub line: u64,
    /// What is wrong there.
    pub message: String,
}

/// The documents of a YAML or JSON file. Empty ones are left out.
///
/// # Errors
/// If any of it cannot be read: half a file must not pass for a whole one.
pub fn documents(path: &Path, text: &str) -> Result<Vec<Document>, SyntaxError> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) { json(text) } else { yaml(text) }
}

/// The documents of a YAML text.
///
/// # Errors
/// If any of it cannot be read.
pub fn yaml(text: &str) -> Result<Vec<Document>, SyntaxError> {
    let read =
        serde_saphyr::from_str_multiple_with_options::<Spanned<Value>, Vec<_>>(text, options(text.len()));
    let documents = read.map_err(|e| SyntaxError {
        line: e.location().map_or(0, |l| l.line()),
        message: e.without_snippet().to_string(),
    })?;
    Ok(documents.into_iter().map(|d| Document { line: d.defined.line(), value: d.value }).collect())
}

fn json(text: &str) -> Result<Vec<Document>, SyntaxError> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut out = Vec::new();
    loop {
        let start = stream.byte_offset();
        let line = 1 + text[..start].matches('\n').count() as u64;
        match stream.next() {
            None => return Ok(out),
            Some(Ok(Value::Null)) => {}
            Some(Ok(value)) => out.push(Document { line, value }),
            Some(Err(e)) => return Err(SyntaxError { line: e.line() as u64, message: e.to_string() }),
        }
    }
}

/// Limits grow with the file, so that a big one is read, yet aliases cannot blow a small one up.
fn options(len: usize) -> Options {
    let size = len.saturating_add(1_000_000);
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: usize::MAX,
            max_events: size,
            max_nodes: size,
            max_total_scalar_bytes: size.saturating_mul(2),
            max_anchors: size,
            max_aliases: size,
            simple_key_max_lookahead: 64 * 1024,
            max_depth: 256,
        },
        emit_comments: false,
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
        strict_booleans: true,
        ignore_binary_tag_for_string: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(text: &str) -> Vec<Value> {
        yaml(text).unwrap().into_iter().map(|d| d.value).collect()
    }

    #[test]
    fn scalars_are_those_of_kubernetes() {
        let text = "a: true\nb: on\nc: 'yes'\nd: 010\ne: 0x1F\nf: 1_000\ng: 1.5\nh: 2026-01-01T00:00:00Z\ni: ~\nj: 1e3\nk: 08\n";
        assert_eq!(
            values(text),
            [json!({"a": true, "b": "on", "c": "yes", "d": 8, "e": 31, "f": 1000, "g": 1.5,
                    "h": "2026-01-01T00:00:00Z", "i": null, "j": 1000.0, "k": 8.0})]
        );
    }

    #[test]
    fn keys_are_strings_and_the_last_one_wins() {
        assert_eq!(values("80: a\ntrue: b\nx: 1\nx: 2\n"), [json!({"80": "a", "true": "b", "x": 2})]);
    }

    #[test]
    fn anchors_and_merges_are_resolved() {
        let text = "base: &b {x: 1, y: [a]}\nuse:\n  <<: *b\n  z: *b\n";
        assert_eq!(values(text)[0]["use"], json!({"x": 1, "y": ["a"], "z": {"x": 1, "y": ["a"]}}));
    }

    #[test]
    fn documents_know_their_lines() {
        let docs = yaml("# hello\n---\n---\na: 1\n---\n\n# c\nb: 2\n...\n").unwrap();
        assert_eq!(docs.iter().map(|d| d.line).collect::<Vec<_>>(), [4, 8]);
    }

    #[test]
    fn what_does_not_parse_names_the_line() {
        let error = yaml("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.line >= 2, "{error}");
        assert!(yaml("a: b: c\n").is_err());
        assert!(yaml("a:\n\t- b\n").is_err());
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(yaml(&text).is_err());
    }

    #[test]
    fn a_big_file_is_read() {
        let one = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n---\n";
        assert_eq!(yaml(&one.repeat(20_000)).unwrap().len(), 20_000);
    }

    #[test]
    fn json_files_are_read_as_json() {
        let docs = documents(Path::new("x.json"), "{\"a\": 1}\n{\"b\":\t2}\n").unwrap();
        assert_eq!(docs[1].value, json!({"b": 2}));
        assert_eq!(documents(Path::new("x.json"), "{\"a\": \n").unwrap_err().line, 2);
    }
}

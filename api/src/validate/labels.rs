//! Labels and selectors.

use super::host::is_bare_label;
use super::{At, Findings};
use std::collections::BTreeMap;

const MAX_NAME: usize = 63;
const MAX_PREFIX: usize = 253;

/// Checks labels by the rules of Kubernetes.
pub fn labels(at: &At<'_>, labels: &BTreeMap<String, String>, out: &mut Findings) {
    for (key, value) in labels {
        if !is_key(key) {
            out.error(
                &at.key(key),
                "is no label's name: letters, digits, '-', '_' and '.', with an optional domain and '/' before",
            );
        }
        if !value.is_empty() && !is_qualified(value) {
            out.error(
                &at.key(key),
                format!("{value:?} is no label's value: letters, digits, '-', '_' and '.' between letters or digits"),
            );
        }
    }
}

fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefixed = |p: &str| p.len() <= MAX_PREFIX && p.split('.').all(is_bare_label);
    prefix.is_none_or(prefixed) && name.len() <= MAX_NAME && is_qualified(name)
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Checks the labels by which an object selects workloads. `at` is where they stand, such as `selector.matchLabels`.
pub fn selector(at: &At<'_>, labels: &BTreeMap<String, String>, out: &mut Findings) {
    for (key, value) in labels {
        if key.is_empty() {
            out.error(at, format!("a label without a name selects nothing (value {value:?}); name it"));
        }
        if key.contains('*') || value.contains('*') {
            out.error(&at.key(key), format!("'*' is no wildcard in a selector ({value:?}); write the value"));
        }
    }
    if labels.is_empty() {
        out.warn(at, "selects no label, so it holds for all workloads of the namespace");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(key: &str, value: &str, rule: fn(&At<'_>, &BTreeMap<String, String>, &mut Findings)) -> usize {
        let mut out = Findings::default();
        rule(&At::root("labels"), &[(key.to_owned(), value.to_owned())].into(), &mut out);
        out.errors.len()
    }

    #[test]
    fn labels_are_those_of_kubernetes() {
        let long = "a".repeat(64);
        for (key, value, wrong) in [
            ("app", "a", 0),
            ("app", "", 0),
            ("example.com/app_1", "v1.2-3", 0),
            ("", "a", 1),
            ("/app", "a", 1),
            ("a/b/c", "a", 1),
            ("-app", "a", 1),
            (long.as_str(), "a", 1),
            ("app", "-a", 1),
            ("a:b", "c:d", 2),
        ] {
            assert_eq!(errors(key, value, labels), wrong, "{key}={value}");
        }
    }

    #[test]
    fn selectors_have_no_wildcards() {
        for (key, value, wrong) in [("app", "a", 0), ("", "a", 1), ("a*", "a", 1), ("app", "*", 1)] {
            assert_eq!(errors(key, value, selector), wrong, "{key}={value}");
        }
        let mut out = Findings::default();
        selector(&At::root("labels"), &BTreeMap::new(), &mut out);
        assert_eq!((out.errors.len(), out.warnings.len()), (0, 1));
    }
}

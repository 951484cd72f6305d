//! Expressions in the syntax of RE2, which Envoy reads and Go checks.
//!
//! They are checked by the parser of the `regex` crate. Where that one reads more, less or otherwise, the expression is
//! rewritten before: its own extensions are taken away, and what RE2 takes literally is escaped.

use regex_syntax::Parser;

/// The longest expression, in bytes. Source: Istio `validateStringRegexp`.
const MAX: usize = 1024;
/// The most often that a part may be repeated. Source: RE2.
const MAX_REPEAT: u32 = 1000;
/// Classes that have a name, in `[:…:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// An expression that a request is matched with.
pub fn matching(expression: &str) -> Option<String> {
    if expression.len() > MAX {
        return Some(format!("the expression is {} bytes long; at most {MAX} are allowed", expression.len()));
    }
    syntax(expression)
}

/// What is wrong with an expression of any length.
pub fn syntax(expression: &str) -> Option<String> {
    let problem = match rewrite(expression) {
        Err(problem) => problem.to_owned(),
        Ok(rewritten) => match Parser::new().parse(&rewritten) {
            Ok(_) => return None,
            Err(error) => problem_of(&error),
        },
    };
    Some(format!(
        "{expression:?} is no expression in RE2's syntax (https://github.com/google/re2/wiki/Syntax): {problem}"
    ))
}

fn problem_of(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    }
}

/// What was read last, for repetitions: RE2 does not repeat a repetition.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Other,
    Repetition,
}

fn rewrite(expression: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(expression.len() + 8);
    let mut rest = expression;
    let mut last = Last::Other;
    while let Some(c) = rest.chars().next() {
        let before = std::mem::replace(&mut last, Last::Other);
        match c {
            '\\' => rest = escape(rest, &mut out)?,
            '[' => rest = class(rest, &mut out)?,
            '(' if rest.starts_with("(?") && !flags(&rest[2..]) => {
                return Err("unknown flag after '(?'");
            }
            '{' if repeat(rest).is_none() => {
                out.push_str("\\{");
                rest = &rest[1..];
            }
            '*' | '+' | '?' | '{' => {
                if before == Last::Repetition {
                    return Err("a repetition is repeated");
                }
                let length =
                    if c == '{' { repeat(rest).ok_or("a part is repeated too often")?? } else { 1 };
                let lazy = usize::from(rest[length..].starts_with('?'));
                out.push_str(&rest[..length + lazy]);
                rest = &rest[length + lazy..];
                last = Last::Repetition;
            }
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Ok(out)
}

/// Whether a group is named, or has only flags that RE2 knows.
fn flags(after: &str) -> bool {
    let end = after.find(|c: char| !matches!(c, 'i' | 'm' | 's' | 'U' | '-')).unwrap_or(after.len());
    after.starts_with("P<") || after.starts_with('<') || after[end..].starts_with([':', ')'])
}

/// The length of `{n}`, `{n,}` or `{n,m}` at the start. `None`: it is none of these, and RE2 takes the brace literally.
fn repeat(text: &str) -> Option<Result<usize, &'static str>> {
    let inner = text[1..].split_once('}')?.0;
    let (from, to) = inner.split_once(',').map_or((inner, None), |(from, to)| (from, Some(to)));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !number(from) || to.is_some_and(|to| !to.is_empty() && !number(to)) {
        return None;
    }
    let too_many = |text: &str| text.parse::<u32>().map_or(true, |n| n > MAX_REPEAT);
    if too_many(from) || to.is_some_and(|to| !to.is_empty() && too_many(to)) {
        return Some(Err("a part is repeated too often"));
    }
    Some(Ok(inner.len() + 2))
}

/// Copies an escape outside of a class.
fn escape<'a>(text: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    let after = &text[1..];
    let Some(c) = after.chars().next() else { return Err("it ends in a backslash") };
    match c {
        'Q' => {
            let (literal, rest) = after[1..].split_once("\\E").unwrap_or((&after[1..], ""));
            out.push_str(&regex_syntax::escape(literal));
            return Ok(rest);
        }
        // One byte, whatever it is.
        'C' => out.push('.'),
        '0' => {
            let digits = octal(after);
            out.push_str("\\x00");
            return Ok(&after[digits..]);
        }
        '<' | '>' => out.push(c),
        'u' | 'U' => return Err("unknown escape"),
        'p' | 'P' | 'x' if after[1..].starts_with('{') => {
            let end = after.find('}').ok_or("an escape has no end")? + 1;
            out.push('\\');
            out.push_str(&after[..end]);
            return Ok(&after[end..]);
        }
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    Ok(&after[c.len_utf8()..])
}

fn octal(digits: &str) -> usize {
    digits.bytes().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count()
}

/// Copies a class of characters. RE2 knows no classes in classes but those of POSIX, and no operations on them.
fn class<'a>(text: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    let mut rest = &text[1..];
    out.push('[');
    for first in ["^", "]"] {
        if let Some(after) = rest.strip_prefix(first) {
            out.push_str(if first == "]" { "\\]" } else { first });
            rest = after;
        }
    }
    let mut previous = '[';
    while let Some(c) = rest.chars().next() {
        rest = match c {
            ']' => {
                out.push(']');
                return Ok(&rest[1..]);
            }
            '\\' => escape(rest, out)?,
            '[' => match rest.strip_prefix("[:").and_then(|after| after.split_once(":]")) {
                Some((name, _)) if !POSIX.contains(&name.trim_start_matches('^')) => {
                    return Err("unknown class of characters");
                }
                Some((name, after)) => {
                    out.push_str("[:");
                    out.push_str(name);
                    out.push_str(":]");
                    after
                }
                None => {
                    out.push_str("\\[");
                    &rest[1..]
                }
            },
            '&' | '-' | '~' if c == previous => {
                out.push('\\');
                out.push(c);
                &rest[1..]
            }
            _ => {
                out.push(c);
                &rest[c.len_utf8()..]
            }
        };
        previous = c;
    }
    Err("a class of characters has no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_is_that_of_re2() {
        for good in [
            "",
            ".*",
            "^/a/(b|c)$",
            "/products/{id}",
            "a{2}",
            "a{2,}",
            "a{2,3}?",
            "{",
            "a{,2}",
            "}",
            "[[a]",
            "[^[]+",
            "[]a]",
            "[^]a]",
            "[[:alpha:]_-]",
            "[a&&b]",
            "[+--]",
            "(?i)abc",
            "(?i:abc)",
            "(?P<name>a)",
            "(?<name>a)",
            r"\Qa.b(\E+",
            r"\/\-\<",
            r"\d+\.\w*\s\b",
            r"\pL\p{Greek}",
            r"\x{1F600}",
            r"\01",
            "é+",
        ] {
            assert_eq!(syntax(good), None, "{good}");
        }
        for bad in [
            "(",
            ")",
            "[",
            "[a",
            "*",
            "+a",
            "a**",
            "a+*",
            "a???",
            "a{2}{3}",
            "a{1001}",
            r"\",
            r"\1",
            r"\u0041",
            r"\y",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?x)a",
            "[z-a]",
            "a{3,2}",
            r"[\b]",
            "[[:nothing:]]",
        ] {
            assert!(syntax(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn long_expressions_are_refused_unread() {
        assert_eq!(matching(&"a".repeat(MAX)), None);
        assert!(matching(&"(".repeat(MAX + 1)).unwrap().contains("1024"));
    }
}

//! Headers: their names, what may be done with them, and the values that are put into them.

use super::{At, Findings};
use crate::istio::networking::v1alpha3::{Headers, headers::HeaderOperations};
use std::collections::BTreeMap;

/// Before the name of a claim that a route matches as if it were a header.
const CLAIM: &str = "@request.auth.claims";

/// A header's name by RFC 7230.
pub fn name(name: &str) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() {
        return Some("a header has no name; give it one".to_owned());
    }
    (!name.bytes().all(token)).then(|| format!("{name:?} is no header's name"))
}

/// Whether it names a claim of a token: `@request.auth.claims.<name>` or `@request.auth.claims[<name>]`.
pub fn is_claim(name: &str) -> bool {
    let Some((prefix, rest)) = name.split_at_checked(CLAIM.len()) else { return false };
    prefix.eq_ignore_ascii_case(CLAIM)
        && (rest.len() > 1 && rest.starts_with('.')
            || rest.len() > 2 && rest.starts_with('[') && rest.ends_with(']'))
}

/// The name of a header that a route matches: also a pseudo header, or a claim.
pub fn matched(header: &str) -> Option<String> {
    let special = [":method", ":scheme", ":authority", ":path", ":status"].contains(&header);
    if special || is_claim(header) { None } else { name(header) }
}

/// Whether it is the header by which a host is addressed.
pub fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// Checks what is done to headers on the way.
pub fn operations<'a>(at: &At<'a>, headers: Option<&'a Headers>, out: &mut Findings) {
    let Some(headers) = headers else { return };
    if let Some(request) = &headers.request {
        direction(&at.field("request"), request, request_operation, out);
    }
    if let Some(response) = &headers.response {
        direction(&at.field("response"), response, operation, out);
    }
}

fn direction(
    at: &At<'_>,
    operations: &HeaderOperations,
    name: fn(&str) -> Option<String>,
    out: &mut Findings,
) {
    put(&at.field("add"), &operations.add, name, out);
    put(&at.field("set"), &operations.set, name, out);
    for (i, header) in operations.remove.iter().enumerate() {
        out.check(&at.field("remove").index(i), operation(header));
    }
}

fn put(
    at: &At<'_>,
    headers: &BTreeMap<String, String>,
    name: fn(&str) -> Option<String>,
    out: &mut Findings,
) {
    for (header, text) in headers {
        out.check(&at.key(header), name(header).or_else(|| value(text)));
    }
}

/// In a request, the authority may be changed.
fn request_operation(name: &str) -> Option<String> {
    if is_authority(name) { None } else { operation(name) }
}

fn operation(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a header has no name; give it one".to_owned());
    }
    if name.eq_ignore_ascii_case("host") {
        return Some("Host cannot be changed here; name another header".to_owned());
    }
    name.starts_with(':').then(|| format!("{name:?} is a pseudo header, which cannot be changed"))
}

/// A value, in which `%…%` is a variable of Envoy and `%%` a percent sign.
///
/// Source: Envoy `HeaderParser`, "Custom request/response headers".
pub fn value(text: &str) -> Option<String> {
    if text.bytes().any(|b| matches!(b, 0..=8 | 0x0a..=0x1f | 0x7f)) {
        return Some(format!("the value {text:?} has a control character; remove it"));
    }
    variables(text.as_bytes()).err().map(|problem| format!("the value {text:?} {problem}"))
}

#[derive(Clone, Copy, PartialEq)]
enum Reading {
    Literal,
    Name,
    Arguments,
    Text,
    Quote,
    Comma,
    Close,
    End,
}

fn variables(text: &[u8]) -> Result<(), &'static str> {
    let mut reading = Reading::Literal;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let next = text.get(at + 1);
        reading = match (reading, byte) {
            (Reading::Literal, b'%') => match next {
                None => return Err("ends in '%'; write '%%' for a percent sign"),
                Some(b'%') => {
                    at += 1;
                    Reading::Literal
                }
                Some(_) => Reading::Name,
            },
            (Reading::Name | Reading::End, b'%') => Reading::Literal,
            (Reading::Name, b'(') => Reading::Arguments,
            (Reading::Arguments, b'[') | (Reading::Comma, b',') => Reading::Quote,
            (Reading::Comma, b']') => Reading::Close,
            (Reading::Arguments, other) if other != b' ' => Reading::Text,
            (Reading::Quote, b'"') => Reading::Text,
            (Reading::Text, b'\\') => {
                if next.is_none() {
                    return Err("ends in a backslash");
                }
                at += 1;
                Reading::Text
            }
            (Reading::Text | Reading::Close, b')') => Reading::End,
            (Reading::Text, b'"') => Reading::Comma,
            (Reading::Comma, other) if other != b' ' => {
                return Err("lacks a ',' or ']' in a variable's list");
            }
            (Reading::Quote, other) if other != b' ' => return Err("lacks a '\"' in a variable's list"),
            (Reading::Close, other) if other != b' ' => return Err("lacks a ')' after a variable's list"),
            (Reading::End, other) if other != b' ' => return Err("lacks a '%' after a variable"),
            (same, _) => same,
        };
        at += 1;
    }
    if reading == Reading::Literal {
        Ok(())
    } else {
        Err("has a variable without an end; write '%%' for a percent sign")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hold_whole_variables() {
        for (text, valid) in [
            ("", true),
            ("foo", true),
            ("%HOSTNAME%", true),
            ("100%%", true),
            ("a %HOSTNAME% b", true),
            ("%START_TIME(%s.%3f)%", true),
            ("%REQ(:path)%", true),
            (r#"%PER_REQUEST_STATE(["a", "b"])%"#, true),
            ("%UPSTREAM_METADATA([\"ns\", \"key\"])%%HOSTNAME%", true),
            ("a\tb", true),
            ("abc%123", false),
            ("%", false),
            ("%START_TIME%%", false),
            ("%REQ(a", false),
            ("%REQ(a)x%", false),
            ("%A([x])%", false),
            ("%A([\"x\" \"y\"])%", false),
            ("%A([\"x\"]x)%", false),
            ("a\nb", false),
        ] {
            assert_eq!(value(text).is_none(), valid, "{text}");
        }
    }

    #[test]
    fn names_by_use() {
        for (header, plain, match_, request, response) in [
            ("x-a", true, true, true, true),
            ("", false, false, false, false),
            (":path", false, true, false, false),
            (":authority", false, true, true, false),
            ("Host", true, true, true, false),
            ("a b", false, false, true, true),
            ("@request.auth.claims.a", false, true, true, true),
            ("@request.auth.claims[a][b]", false, true, true, true),
            ("@request.auth.claims", false, false, true, true),
            ("@request.auth.claims[]", false, false, true, true),
        ] {
            let found = [name, matched, request_operation, operation].map(|rule| rule(header).is_none());
            assert_eq!(found, [plain, match_, request, response], "{header}");
        }
    }
}

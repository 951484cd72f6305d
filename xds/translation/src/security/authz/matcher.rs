//! Envoy's matchers for the values of AuthorizationPolicies, in which `*` stands for anything at either end.
//!
//! Source: Istio `pilot/pkg/security/authz/matcher`.

use crate::wire;
use meltemi_api::envoy::config::core::v3::CidrRange;
use meltemi_api::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use meltemi_api::envoy::r#type::matcher::v3::{
    ListMatcher, MetadataMatcher, OrMatcher, PathMatcher, StringMatcher, ValueMatcher, list_matcher,
    metadata_matcher, path_matcher, string_matcher::MatchPattern, value_matcher,
};

/// The name of the JWT filter, under which it leaves what it found in tokens.
pub(super) const JWT_FILTER: &str = "envoy.filters.http.jwt_authn";
/// The key of a token's claims.
pub(super) const JWT_PAYLOAD: &str = "payload";

pub(super) fn exact(text: &str) -> StringMatcher {
    wire::exact(text)
}

pub(super) fn prefix(text: impl Into<String>) -> StringMatcher {
    pattern(MatchPattern::Prefix(text.into()))
}

pub(super) fn suffix(text: impl Into<String>) -> StringMatcher {
    pattern(MatchPattern::Suffix(text.into()))
}

pub(super) fn regex(text: &str) -> StringMatcher {
    pattern(MatchPattern::SafeRegex(wire::regex(text)))
}

/// Any text but none.
pub(super) fn present() -> StringMatcher {
    regex(".+")
}

/// A value with wildcards.
pub(super) fn text(value: &str) -> StringMatcher {
    prefixed("", value)
}

/// A value with wildcards, behind a fixed text; the value `*` stands for anything at all.
pub(super) fn prefixed(before: &str, value: &str) -> StringMatcher {
    // Envoy takes no empty prefix or suffix.
    if value == "*" {
        return present();
    }
    if let Some(end) = value.strip_prefix('*') {
        if before.is_empty() {
            return suffix(end);
        }
        return regex(&format!("{before}.*{}", quote(end)));
    }
    match value.strip_suffix('*') {
        Some(start) => prefix(format!("{before}{start}")),
        None => exact(&format!("{before}{value}")),
    }
}

/// A header's value with wildcards.
pub(super) fn header(name: &str, value: &str, ignore_case: bool) -> HeaderMatcher {
    let specifier = if value == "*" {
        HeaderMatchSpecifier::PresentMatch(true)
    } else {
        HeaderMatchSpecifier::StringMatch(StringMatcher { ignore_case, ..text(value) })
    };
    HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}

/// A path with wildcards.
pub(super) fn path(value: &str) -> PathMatcher {
    PathMatcher { rule: Some(path_matcher::Rule::Path(text(value))) }
}

/// A string.
pub(super) fn string(matcher: StringMatcher) -> ValueMatcher {
    ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::StringMatch(matcher)) }
}

/// A list that has the value.
pub(super) fn list_with(value: ValueMatcher) -> ValueMatcher {
    let one_of = list_matcher::MatchPattern::OneOf(Box::new(value));
    let list = Box::new(ListMatcher { match_pattern: Some(one_of) });
    ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::ListMatch(list)) }
}

/// One of several values.
pub(super) fn one_of(mut values: Vec<ValueMatcher>) -> ValueMatcher {
    if values.len() == 1 {
        return values.remove(0);
    }
    let or = OrMatcher { value_matchers: values };
    ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::OrMatch(or)) }
}

/// Dynamic metadata of a filter.
pub(super) fn metadata(filter: &str, path: &[&str], value: ValueMatcher) -> MetadataMatcher {
    let segment = |key: &&str| metadata_matcher::PathSegment {
        segment: Some(metadata_matcher::path_segment::Segment::Key((*key).to_owned())),
    };
    MetadataMatcher {
        filter: filter.to_owned(),
        path: path.iter().map(segment).collect(),
        value: Some(value),
        ..Default::default()
    }
}

/// A claim of the token, as a text.
pub(super) fn claim(name: &str, matcher: StringMatcher) -> MetadataMatcher {
    metadata(JWT_FILTER, &[JWT_PAYLOAD, name], string(matcher))
}

/// A claim of the token, nested where the path is longer than one: one of the values, or a list with one of them.
pub(super) fn claim_or_list(path: &[&str], values: &[String]) -> MetadataMatcher {
    let value = one_of(values.iter().map(|v| string(text(v))).collect());
    let path: Vec<&str> = [JWT_PAYLOAD].into_iter().chain(path.iter().copied()).collect();
    metadata(JWT_FILTER, &path, one_of(vec![list_with(value.clone()), value]))
}

/// An address or a range of addresses.
pub(super) fn cidr(text: &str) -> Option<CidrRange> {
    wire::prefix(text).map(wire::cidr_range)
}

/// A text as a regular expression that matches just it (Go `regexp.QuoteMeta`).
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn pattern(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_at_either_end() {
        assert_eq!(text("*"), present());
        assert_eq!(text("a*"), prefix("a"));
        assert_eq!(text("*.b"), suffix(".b"));
        assert_eq!(prefixed("spiffe://", "*/sa/a.b"), regex(r"spiffe://.*/sa/a\.b"));
        assert_eq!(prefixed("spiffe://", "td/*"), prefix("spiffe://td/"));
        assert_eq!(prefixed("spiffe://", "*"), present());
    }

    #[test]
    fn addresses_are_ranges_of_one() {
        let of = |t| cidr(t).map(|c| (c.address_prefix, c.prefix_len));
        assert_eq!(of("10.1.2.3"), Some(("10.1.2.3".to_owned(), Some(32))));
        assert_eq!(of("10.0.0.1/8"), Some(("10.0.0.1".to_owned(), Some(8))));
        assert_eq!(of("::1"), Some(("::1".to_owned(), Some(128))));
        assert_eq!(of("10.0.0.0/33"), None);
        assert_eq!(of("host"), None);
    }
}

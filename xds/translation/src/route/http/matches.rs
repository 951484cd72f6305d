//! Conditions on requests.
//!
//! Source: Istio `TranslateRouteMatch`.

use crate::index::virtual_services::{gateway_semantics, ingress_semantics};
use crate::route::default::any_path;
use crate::wire;
use meltemi_api::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
};
use meltemi_api::envoy::r#type::matcher::v3 as matcher;
use meltemi_api::istio::networking::v1alpha3::{HttpMatchRequest, StringMatch, string_match::MatchType};
use meltemi_world::Meta;

/// A header of this name stands for a claim of the request's JWT.
const CLAIM: &str = "@request.auth.claims";

/// Envoy's match for a condition; every request where there is none.
pub(super) fn route_match(vs: &Meta, condition: Option<&HttpMatchRequest>) -> RouteMatch {
    let mut out = any_path();
    let Some(condition) = condition else { return out };
    for (name, text) in &condition.headers {
        add_header(&mut out, name, text, false);
    }
    for (name, text) in &condition.without_headers {
        add_header(&mut out, name, text, true);
    }
    out.headers.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(path) = condition.uri.as_ref().and_then(|uri| path(vs, uri)) {
        out.path_specifier = Some(path);
    }
    out.case_sensitive = Some(!condition.ignore_uri_case);
    let pseudo = [
        (":method", &condition.method),
        (":authority", &condition.authority),
        (":scheme", &condition.scheme),
    ];
    out.headers.extend(pseudo.into_iter().filter_map(|(name, text)| Some(header(name, text.as_ref()?))));
    // All must hold, so their order is free; istiod's is that of a Go map.
    out.query_parameters =
        condition.query_params.iter().map(|(name, text)| query_parameter(name, text)).collect();
    out
}

fn path(vs: &Meta, uri: &StringMatch) -> Option<PathSpecifier> {
    Some(match uri.match_type.as_ref()? {
        MatchType::Exact(path) => PathSpecifier::Path(path.clone()),
        // Ingress and Gateway API compare whole elements of the path.
        MatchType::Prefix(prefix) if prefix != "/" && (ingress_semantics(vs) || gateway_semantics(vs)) => {
            PathSpecifier::PathSeparatedPrefix(prefix.strip_suffix('/').unwrap_or(prefix).to_owned())
        }
        MatchType::Prefix(prefix) => PathSpecifier::Prefix(prefix.clone()),
        MatchType::Regex(regex) => PathSpecifier::SafeRegex(wire::regex(regex)),
    })
}

/// Adds a condition on a header, or that it must not hold.
fn add_header(out: &mut RouteMatch, name: &str, text: &StringMatch, invert: bool) {
    if let Some(mut claim) = claim(name, text) {
        claim.invert = invert;
        return out.dynamic_metadata.push(claim);
    }
    let mut matcher = header(name, text);
    matcher.invert_match = invert;
    // Envoy does not take this together with a match on presence.
    matcher.treat_missing_header_as_empty = invert && !only_presence(text);
    out.headers.push(matcher);
}

fn header(name: &str, text: &StringMatch) -> HeaderMatcher {
    let specifier = if only_presence(text) {
        Some(HeaderMatchSpecifier::PresentMatch(true))
    } else {
        wire::string_matcher(text).map(HeaderMatchSpecifier::StringMatch)
    };
    HeaderMatcher { name: name.to_owned(), header_match_specifier: specifier, ..Default::default() }
}

fn query_parameter(name: &str, text: &StringMatch) -> QueryParameterMatcher {
    let specifier = if only_presence(text) {
        Some(QueryParameterMatchSpecifier::PresentMatch(true))
    } else {
        wire::string_matcher(text).map(QueryParameterMatchSpecifier::StringMatch)
    };
    QueryParameterMatcher { name: name.to_owned(), query_parameter_match_specifier: specifier }
}

/// Whether a match only asks that something is there: an empty one, or the regex `*`.
fn only_presence(text: &StringMatch) -> bool {
    match &text.match_type {
        None => true,
        Some(MatchType::Regex(regex)) => regex == "*",
        Some(_) => false,
    }
}

/// The condition on a claim of the request's JWT, if the header's name stands for one. A claim may be a list: one of
/// its members must match then.
fn claim(name: &str, text: &StringMatch) -> Option<matcher::MetadataMatcher> {
    use matcher::value_matcher::MatchPattern;
    let value = |pattern| matcher::ValueMatcher { match_pattern: Some(pattern) };
    // A match that says nothing stays one in istiod, though it matches no value.
    let own = value(MatchPattern::StringMatch(wire::string_matcher(text).unwrap_or_default()));
    let one_of = matcher::list_matcher::MatchPattern::OneOf(Box::new(own.clone()));
    let list = matcher::ListMatcher { match_pattern: Some(one_of) };
    let either =
        matcher::OrMatcher { value_matchers: vec![value(MatchPattern::ListMatch(Box::new(list))), own] };
    let path = std::iter::once("payload").chain(claim_path(name)?).map(|key| {
        matcher::metadata_matcher::PathSegment {
            segment: Some(matcher::metadata_matcher::path_segment::Segment::Key(key.to_owned())),
        }
    });
    Some(matcher::MetadataMatcher {
        filter: "envoy.filters.http.jwt_authn".to_owned(),
        path: path.collect(),
        value: Some(value(MatchPattern::OrMatch(either))),
        invert: false,
    })
}

/// The claims in `@request.auth.claims.a.b` or `@request.auth.claims[a][b]`.
fn claim_path(name: &str) -> Option<std::vec::IntoIter<&str>> {
    let prefix = name.get(..CLAIM.len())?;
    if !prefix.eq_ignore_ascii_case(CLAIM) {
        return None;
    }
    let rest = &name[CLAIM.len()..];
    let parts: Vec<&str> = if let Some(dotted) = rest.strip_prefix('.').filter(|r| !r.is_empty()) {
        dotted.split('.').collect()
    } else {
        rest.strip_prefix('[')?.strip_suffix(']').filter(|r| !r.is_empty())?.split("][").collect()
    };
    Some(parts.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_named_with_dots_or_brackets() {
        let parts = |name| claim_path(name).map(Iterator::collect::<Vec<_>>);
        assert_eq!(parts("@request.auth.claims.a.b"), Some(vec!["a", "b"]));
        assert_eq!(parts("@Request.Auth.Claims[a.b][c]"), Some(vec!["a.b", "c"]));
        assert_eq!(parts("@request.auth.claims"), None);
        assert_eq!(parts("x-user"), None);
    }

    #[test]
    fn a_star_as_regex_asks_for_presence_only() {
        let star = StringMatch { match_type: Some(MatchType::Regex("*".into())) };
        let mut out = RouteMatch::default();
        add_header(&mut out, "x", &star, true);
        assert_eq!(out.headers[0].header_match_specifier, Some(HeaderMatchSpecifier::PresentMatch(true)));
        assert!(out.headers[0].invert_match && !out.headers[0].treat_missing_header_as_empty);
    }
}

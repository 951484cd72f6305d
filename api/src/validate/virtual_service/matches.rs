//! What routes match.

use super::{Cx, claims, gateways};
use crate::istio::networking::v1alpha3::{HttpMatchRequest, StringMatch, string_match::MatchType};
use crate::validate::labels::labels;
use crate::validate::{At, Findings, header, host, regex, scalar};

pub(super) fn http(cx: &Cx<'_>, at: &At<'_>, request: &HttpMatchRequest, out: &mut Findings) {
    let (headers, without) = (at.field("headers"), at.field("withoutHeaders"));
    if !cx.at_gateway {
        claims(&headers, request.headers.keys(), out);
        claims(&without, request.without_headers.keys(), out);
    }
    for (name, value) in &request.headers {
        out.check(&headers.key(name), header::matched(name).or_else(|| text(value)));
    }
    for (name, value) in &request.without_headers {
        // Here `*` is no expression, but says that the header is there.
        let present = matches!(&value.match_type, Some(MatchType::Regex(r)) if r == "*");
        out.check(
            &without.key(name),
            header::matched(name).or_else(|| if present { None } else { text(value) }),
        );
    }
    // Of these, Envoy takes an empty prefix for the URI only.
    out.check(&at.field("uri"), request.uri.as_ref().and_then(expression));
    for (field, value) in
        [("scheme", &request.scheme), ("method", &request.method), ("authority", &request.authority)]
    {
        out.check(&at.field(field), value.as_ref().and_then(text));
    }
    for (name, value) in &request.query_params {
        out.check(&at.field("queryParams").key(name), text(value));
    }
    if request.port != 0 {
        out.check(&at.field("port"), scalar::port(request.port));
    }
    labels(&at.field("sourceLabels"), &request.source_labels, out);
    gateways(&at.field("gateways"), &request.gateways, false, out);
    if !request.source_namespace.is_empty() && !host::is_label(&request.source_namespace) {
        out.error(
            &at.field("sourceNamespace"),
            format!("{:?} is no namespace; write its name", request.source_namespace),
        );
    }
}

fn text(value: &StringMatch) -> Option<String> {
    match &value.match_type {
        Some(MatchType::Prefix(prefix)) if prefix.is_empty() => {
            Some("the prefix is empty; leave the match out for any value".to_owned())
        }
        _ => expression(value),
    }
}

/// Checks the expression, if it is one.
pub(super) fn expression(value: &StringMatch) -> Option<String> {
    match &value.match_type {
        Some(MatchType::Regex(text)) if text.is_empty() => {
            Some("the expression is empty; leave the match out for any value".to_owned())
        }
        Some(MatchType::Regex(text)) => regex::matching(text),
        _ => None,
    }
}

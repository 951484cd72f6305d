//! What HTTP routes do with requests besides sending them on.

use super::matches::expression;
use crate::istio::networking::v1alpha3::http_fault_injection::{
    Abort, Delay, abort::ErrorType, delay::HttpDelayType,
};
use crate::istio::networking::v1alpha3::{
    CorsPolicy, HttpDirectResponse, HttpFaultInjection, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute,
    Percent, StringMatch, http_body::Specifier, http_redirect::RedirectPort, string_match::MatchType,
};
use crate::validate::scalar::{duration_at, not_negative};
use crate::validate::{At, Findings, grpc, header, regex, scalar};

const KB: usize = 1024;
/// The largest body of a direct response, in bytes, and from where on istiod warns.
const BODY: (usize, usize) = (1024 * KB, 100 * KB);
/// Source: Envoy `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

pub(super) fn cors(at: &At<'_>, policy: Option<&CorsPolicy>, out: &mut Findings) {
    let Some(policy) = policy else { return };
    for (i, origin) in policy.allow_origins.iter().enumerate() {
        out.check(&at.field("allowOrigins").index(i), self::origin(origin));
    }
    for (i, method) in policy.allow_methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            out.error(&at.field("allowMethods").index(i), format!("{method:?} is no method of HTTP"));
        }
    }
    for (field, headers) in
        [("allowHeaders", &policy.allow_headers), ("exposeHeaders", &policy.expose_headers)]
    {
        for (i, name) in headers.iter().enumerate().filter(|(_, name)| *name != "*") {
            out.check(&at.field(field).index(i), header::name(name));
        }
    }
    duration_at(&at.field("maxAge"), policy.max_age.as_ref(), out);
    if policy.max_age.is_some_and(|age| age.nanos > 0) {
        out.error(&at.field("maxAge"), "browsers count whole seconds; write those");
    }
}

fn origin(origin: &StringMatch) -> Option<String> {
    match &origin.match_type {
        Some(MatchType::Exact(text) | MatchType::Prefix(text) | MatchType::Regex(text))
            if !text.is_empty() =>
        {
            expression(origin)
        }
        _ => Some("is empty; write an origin as exact, prefix or regex".to_owned()),
    }
}

pub(super) fn fault(at: &At<'_>, fault: Option<&HttpFaultInjection>, out: &mut Findings) {
    let Some(fault) = fault else { return };
    if fault.abort.is_none() && fault.delay.is_none() {
        out.error(at, "does nothing; give it abort or delay");
    }
    if let Some(abort) = &fault.abort {
        self::abort(&at.field("abort"), abort, out);
    }
    if let Some(delay) = &fault.delay {
        self::delay(&at.field("delay"), delay, out);
    }
}

fn abort(at: &At<'_>, abort: &Abort, out: &mut Findings) {
    out.check(&at.field("percentage"), percentage(abort.percentage.as_ref()));
    match &abort.error_type {
        Some(ErrorType::HttpStatus(status)) => {
            out.check(&at.field("httpStatus"), self::status(i64::from(*status)));
        }
        Some(ErrorType::GrpcStatus(status)) if grpc::code(status).is_none() => {
            out.error(&at.field("grpcStatus"), format!("{status:?} is no status of gRPC; e.g. NOT_FOUND"));
        }
        Some(ErrorType::GrpcStatus(_)) => {}
        Some(ErrorType::Http2Error(_)) => {
            out.error(&at.field("http2Error"), "is not supported; write httpStatus or grpcStatus");
        }
        None => out.warn(at, "has no status, so it does nothing; give it httpStatus or grpcStatus"),
    }
}

fn delay(at: &At<'_>, delay: &Delay, out: &mut Findings) {
    out.check(&at.field("percentage"), percentage(delay.percentage.as_ref()));
    match &delay.http_delay_type {
        Some(HttpDelayType::FixedDelay(time)) => duration_at(&at.field("fixedDelay"), Some(time), out),
        Some(HttpDelayType::ExponentialDelay(_)) => {
            out.error(&at.field("exponentialDelay"), "is not supported; write fixedDelay");
        }
        None => {}
    }
}

fn percentage(percent: Option<&Percent>) -> Option<String> {
    let value = percent?.value;
    (!(value == 0.0 || (0.0001..=100.0).contains(&value)))
        .then(|| format!("{value} is neither 0 nor in the range 0.0001 to 100"))
}

fn status(status: i64) -> Option<String> {
    // 600 is let through by istiod, too.
    (!(200..=600).contains(&status)).then(|| format!("{status} is not in the range 200 to 599"))
}

pub(super) fn retries(at: &At<'_>, retries: Option<&HttpRetry>, out: &mut Findings) {
    let Some(retries) = retries else { return };
    not_negative(&at.field("attempts"), retries.attempts, out);
    let more = retries.per_try_timeout.is_some()
        || !retries.retry_on.is_empty()
        || retries.retry_remote_localities.is_some();
    if retries.attempts == 0 && more {
        out.error(&at.field("attempts"), "0 turns retries off, but how to retry is said; write 1 or more");
    }
    duration_at(&at.field("perTryTimeout"), retries.per_try_timeout.as_ref(), out);
    duration_at(&at.field("backoff"), retries.backoff.as_ref(), out);
    if !retries.retry_on.is_empty() {
        for policy in retries.retry_on.split(',').filter(|p| !RETRY_ON.contains(p) && !is_status(p)) {
            out.error(
                &at.field("retryOn"),
                format!("{policy:?} is neither a condition nor a status of HTTP"),
            );
        }
    }
}

/// Whether it is a status that HTTP defines. Source: the registry of IANA.
fn is_status(text: &str) -> bool {
    matches!(
        text.parse::<u16>(),
        Ok(
            100..=103
            | 200..=208
            | 226
            | 300..=305
            | 307
            | 308
            | 400..=418
            | 421..=426
            | 428
            | 429
            | 431
            | 451
            | 500..=508
            | 510
            | 511,
        )
    )
}

pub(super) fn redirect(at: &At<'_>, route: &HttpRoute, out: &mut Findings) {
    let Some(redirect) = &route.redirect else { return };
    let HttpRedirect { uri, authority, scheme, redirect_code: code, prefix_rewrite, redirect_port } =
        redirect;
    if !uri.is_empty() && !prefix_rewrite.is_empty() {
        return out.error(&at.field("prefixRewrite"), "stands beside uri; remove one of them");
    }
    let by_prefix = |u: &StringMatch| matches!(u.match_type, Some(MatchType::Prefix(_)));
    if !prefix_rewrite.is_empty()
        && route.r#match.iter().filter_map(|m| m.uri.as_ref()).any(|u| !by_prefix(u))
    {
        return out.error(&at.field("prefixRewrite"), "needs a prefix in every match of the URI");
    }
    let says = [uri, prefix_rewrite, authority, scheme].iter().any(|text| !text.is_empty());
    if !says && redirect_port.is_none() {
        return out.error(at, "redirects to the same place; give it uri, authority, scheme or port");
    }
    if *code != 0 && !(300..=399).contains(code) {
        return out
            .error(&at.field("redirectCode"), format!("{code} is no code of a redirect, which are 3xx"));
    }
    if !matches!(scheme.as_str(), "" | "http" | "https") {
        return out.error(&at.field("scheme"), format!("{scheme:?} is neither http nor https"));
    }
    if let Some(RedirectPort::Port(port)) = redirect_port
        && *port > 0
    {
        out.check(&at.field("port"), scalar::port(*port));
    }
}

pub(super) fn direct_response(at: &At<'_>, response: Option<&HttpDirectResponse>, out: &mut Findings) {
    let Some(response) = response else { return };
    let size = match response.body.as_ref().and_then(|body| body.specifier.as_ref()) {
        Some(Specifier::String(text)) => text.len(),
        Some(Specifier::Bytes(bytes)) => bytes.len(),
        None => 0,
    };
    if size > BODY.0 {
        out.error(&at.field("body"), format!("has {size} bytes; at most {} are allowed", BODY.0));
    } else if size > BODY.1 {
        out.warn(&at.field("body"), format!("has {size} bytes, which each proxy is sent with its routes"));
    }
    out.check(&at.field("status"), status(i64::from(response.status)));
}

pub(super) fn rewrite(at: &At<'_>, rewrite: Option<&HttpRewrite>, out: &mut Findings) {
    let Some(HttpRewrite { uri, authority, uri_regex_rewrite: by_regex }) = rewrite else { return };
    if !uri.is_empty() && by_regex.is_some() {
        return out.error(&at.field("uriRegexRewrite"), "stands beside uri; remove one of them");
    }
    if uri.is_empty() && authority.is_empty() && by_regex.is_none() {
        return out.error(at, "changes nothing; give it uri, uriRegexRewrite or authority");
    }
    let Some(by_regex) = by_regex else { return };
    let at = at.field("uriRegexRewrite");
    if by_regex.r#match.is_empty() || by_regex.rewrite.is_empty() {
        out.error(&at, "needs both match and rewrite");
    } else {
        out.check(&at.field("match"), regex::matching(&by_regex.r#match));
    }
}

//! HTTP routes.

use super::destination::{destination, weights};
use super::{Cx, action, matches};
use crate::istio::networking::v1alpha3::HttpRoute;
use crate::validate::scalar::duration_at;
use crate::validate::{At, Findings, header};

pub(super) fn route(cx: &Cx<'_>, at: &At<'_>, route: &HttpRoute, out: &mut Findings) {
    conflicts(at, route, cx.spec.hosts.is_empty(), out);
    for (i, request) in route.r#match.iter().enumerate() {
        matches::http(cx, &at.field("match").index(i), request, out);
    }
    header::operations(&at.field("headers"), route.headers.as_ref(), out);
    action::cors(&at.field("corsPolicy"), route.cors_policy.as_ref(), out);
    action::fault(&at.field("fault"), route.fault.as_ref(), out);
    mirrors(at, route, out);
    action::redirect(&at.field("redirect"), route, out);
    action::direct_response(&at.field("directResponse"), route.direct_response.as_ref(), out);
    action::retries(&at.field("retries"), route.retries.as_ref(), out);
    action::rewrite(&at.field("rewrite"), route.rewrite.as_ref(), out);
    one_authority(at, route, out);
    let route_at = at.field("route");
    weights(&route_at, route.route.iter().map(|r| (r.destination.as_ref(), r.weight)), cx.converted, out);
    for (i, to) in route.route.iter().enumerate() {
        header::operations(&route_at.index(i).field("headers"), to.headers.as_ref(), out);
    }
    duration_at(&at.field("timeout"), route.timeout.as_ref(), out);
}

/// What cannot stand side by side. A route with `delegate` is completed by another VirtualService; `of_delegate` says
/// that this is that one.
fn conflicts(at: &At<'_>, route: &HttpRoute, of_delegate: bool, out: &mut Findings) {
    let (redirect, direct) = (route.redirect.is_some(), route.direct_response.is_some());
    if route.delegate.is_some() && !of_delegate {
        for (field, set) in [("redirect", redirect), ("route", !route.route.is_empty())] {
            if set {
                out.error(
                    &at.field(field),
                    "stands beside delegate, which says where requests go; remove one",
                );
            }
        }
        return;
    }
    if route.delegate.is_some() {
        out.error(&at.field("delegate"), "a delegate cannot delegate; name destinations instead");
    }
    let besides = [
        ("route", !route.route.is_empty()),
        ("fault", route.fault.is_some()),
        ("rewrite", route.rewrite.is_some()),
    ];
    if let Some(action) = [("redirect", redirect), ("directResponse", direct)].iter().find(|(_, set)| *set) {
        let all = besides.into_iter().chain([("directResponse", redirect && direct)]);
        for (field, _) in all.filter(|(_, set)| *set) {
            out.error(&at.field(field), format!("cannot stand beside {}; remove one of them", action.0));
        }
    } else if route.route.is_empty() {
        out.error(at, "says nowhere to go; give it route, redirect or directResponse");
    }
    if route.mirror.is_some() && !route.mirrors.is_empty() {
        out.error(&at.field("mirror"), "stands beside mirrors; move it there");
    }
}

#[expect(deprecated, reason = "users may still write it")]
fn mirrors(at: &At<'_>, route: &HttpRoute, out: &mut Findings) {
    if let Some(percent) = &route.mirror_percent {
        let at = at.field("mirrorPercent");
        if percent.value > 100 {
            out.error(&at, format!("{} is more than 100", percent.value));
        }
        out.warn(&at, "is deprecated; write mirrorPercentage");
    }
    let percentage = |at: &At<'_>, value: f64, out: &mut Findings| {
        if !(0.0..=100.0).contains(&value) {
            out.error(at, format!("{value} is not in the range 0 to 100"));
        }
    };
    if let Some(p) = &route.mirror_percentage {
        percentage(&at.field("mirrorPercentage").field("value"), p.value, out);
    }
    if let Some(mirror) = &route.mirror {
        destination(&at.field("mirror"), mirror, out);
    }
    for (i, mirror) in route.mirrors.iter().enumerate() {
        let at = at.field("mirrors");
        let at = at.index(i);
        match &mirror.destination {
            None => out.error(&at.field("destination"), "is missing; say where the copies go"),
            Some(to) => destination(&at.field("destination"), to, out),
        }
        if let Some(p) = &mirror.percentage {
            percentage(&at.field("percentage").field("value"), p.value, out);
        }
    }
}

/// The authority is rewritten once, by `rewrite` or by one header.
fn one_authority(at: &At<'_>, route: &HttpRoute, out: &mut Findings) {
    let rewrite = route.rewrite.as_ref().filter(|r| !r.authority.is_empty()).map(|_| "");
    let request = route.headers.as_ref().and_then(|h| h.request.as_ref());
    let set = request.into_iter().flat_map(|r| r.set.iter().chain(&r.add));
    let set = set.filter(|(name, value)| header::is_authority(name) && !value.is_empty());
    let mut all = rewrite.into_iter().chain(set.map(|(name, _)| name.as_str()));
    if let (Some(_), Some(name)) = (all.next(), all.next()) {
        out.error(
            &at.field("headers").field("request"),
            format!("{name} sets the authority, which is set elsewhere in the route; leave one of them"),
        );
    }
}

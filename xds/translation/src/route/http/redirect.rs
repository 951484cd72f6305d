//! Answers that the proxy gives by itself: redirects and direct responses.

use super::Place;
use meltemi_api::envoy::config::core::v3::{DataSource, data_source};
use meltemi_api::envoy::config::route::v3::{DirectResponseAction, RedirectAction, redirect_action as envoy};
use meltemi_api::istio::networking::v1alpha3::{
    HttpDirectResponse, HttpRedirect, http_body, http_redirect as istio,
};

/// A redirect; `None` if Envoy does not know its status code. Source: Istio `ApplyRedirect`.
pub(super) fn redirect(place: &Place<'_>, to: &HttpRedirect) -> Option<RedirectAction> {
    let path = if to.prefix_rewrite.is_empty() {
        envoy::PathRewriteSpecifier::PathRedirect(to.uri.clone())
    } else {
        envoy::PathRewriteSpecifier::PrefixRewrite(to.prefix_rewrite.clone())
    };
    let scheme =
        (!to.scheme.is_empty()).then(|| envoy::SchemeRewriteSpecifier::SchemeRedirect(to.scheme.clone()));
    Some(RedirectAction {
        host_redirect: to.authority.clone(),
        port_redirect: port(place, to),
        response_code: status(to.redirect_code)? as i32,
        path_rewrite_specifier: Some(path),
        scheme_rewrite_specifier: scheme,
        ..Default::default()
    })
}

/// The port to redirect to; 0 for the scheme's own.
fn port(place: &Place<'_>, to: &HttpRedirect) -> u32 {
    let from_request = istio::RedirectPortSelection::FromRequestPort as i32;
    let port = match to.redirect_port {
        // Envoy can't copy the request's port, but routes are made for one port.
        Some(istio::RedirectPort::DerivePort(from)) if from == from_request => place.port,
        Some(istio::RedirectPort::Port(port)) => port,
        _ => 0,
    };
    let scheme = match to.scheme.as_str() {
        "" if place.is_tls => "https",
        "" => "http",
        given => given,
    };
    if matches!((port, scheme), (80, "http") | (443, "https")) { 0 } else { port }
}

fn status(code: u32) -> Option<envoy::RedirectResponseCode> {
    Some(match code {
        0 | 301 => envoy::RedirectResponseCode::MovedPermanently,
        302 => envoy::RedirectResponseCode::Found,
        303 => envoy::RedirectResponseCode::SeeOther,
        307 => envoy::RedirectResponseCode::TemporaryRedirect,
        308 => envoy::RedirectResponseCode::PermanentRedirect,
        _ => return None,
    })
}

/// An answer with a fixed body. Source: Istio `ApplyDirectResponse`.
pub(super) fn direct_response(answer: &HttpDirectResponse) -> DirectResponseAction {
    let body = answer.body.as_ref().and_then(|body| body.specifier.as_ref()).map(|body| match body {
        http_body::Specifier::String(text) => data_source::Specifier::InlineString(text.clone()),
        http_body::Specifier::Bytes(bytes) => data_source::Specifier::InlineBytes(bytes.clone()),
    });
    DirectResponseAction {
        status: answer.status,
        body: body.map(|specifier| DataSource { specifier: Some(specifier), ..Default::default() }),
        ..Default::default()
    }
}

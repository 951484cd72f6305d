//! What the control plane knows, for people and for istioctl: istiod's pages, in its shapes.
//!
//! A page is a function of what is looked at and of the query; HTTP and xDS (`istio.io/debug`) serve the same.

mod authority;
mod configs;
mod dump;
mod proxies;
mod services;
mod special;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use std::collections::BTreeMap;

use super::http::Look;
pub use special::Pages;

/// A page.
struct Page {
    /// Its path below `/debug/`.
    path: &'static str,
    /// What it shows, in a line.
    help: &'static str,
    show: fn(&Look, &Query) -> Answer,
}

/// All pages, ordered by path.
const PAGES: [Page; 20] = [
    page("adsz", "connected proxies, and what each has subscribed to; ?proxyID= for one", proxies::adsz),
    page("ca", "the certificate authority: whom the mesh trusts, and until when", authority::ca),
    page(
        "config_dump",
        "what a proxy should have, as Envoy's own /config_dump: ?proxyID=, &types=, &include_eds",
        dump::config_dump,
    ),
    page("configz", "all configuration objects", configs::configz),
    page("connections", "connected proxies, in short", proxies::connections),
    page("ecdsz", "extension configurations of a proxy: ?proxyID=", |look, query| {
        dump::of_type(look, query, "ecds")
    }),
    page("edsz", "endpoints of a proxy: ?proxyID=", |look, query| dump::of_type(look, query, "eds")),
    page("endpointShardz", "endpoints of each service", services::endpoint_shards),
    page("endpointz", "the same as endpointShardz", services::endpoint_shards),
    page("inject", "templates of sidecar injection", |_, _| {
        Answer::Problem(StatusCode::NOT_FOUND, "no injector runs here")
    }),
    page("instancesz", "the service ports that each connected proxy stands behind", proxies::instancesz),
    page("list", "the names of all pages", |_, _| {
        Answer::Json(PAGES.iter().map(|p| p.path).filter(|p| *p != "list").collect())
    }),
    page("mesh", "the mesh configuration in force", configs::mesh),
    page("ndsz", "the name table of a proxy: ?proxyID=", |look, query| dump::of_type(look, query, "nds")),
    page("networkz", "gateways between networks", services::networkz),
    page("problems", "what is wrong with the input, and what is not handled yet", configs::problems),
    page("push_status", "findings of the last snapshot, by object", configs::push_status),
    page("registryz", "all services", services::registryz),
    page("resourcesz", "the kinds that are read", configs::resourcesz),
    page("syncz", "what each proxy was sent and accepted: ?namespace=", proxies::syncz),
];

const fn page(path: &'static str, help: &'static str, show: fn(&Look, &Query) -> Answer) -> Page {
    Page { path, help, show }
}

/// What istioctl looks for in an answer to tell that it has to ask another control plane.
const NOT_CONNECTED: &str =
    "Proxy not connected to this Pilot instance. It may be connected to another instance.";
const NO_PROXY_ID: &str = "You must provide a proxyID in the query string";

/// What a page says.
pub(crate) enum Answer {
    Json(Value),
    Text(String),
    Problem(StatusCode, &'static str),
}

/// A query's fields.
#[derive(Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    fn read(text: &str) -> Self {
        let fields = text.split('&').filter(|f| !f.is_empty());
        Self(
            fields
                .map(|field| {
                    let (name, value) = field.split_once('=').unwrap_or((field, ""));
                    (unescape(name), unescape(value))
                })
                .collect(),
        )
    }

    /// The value of a field; none if it is empty.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Undoes the escapes of a URL's query. What is none stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let digits = more.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, digits.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = more;
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The answer to `PAGE?QUERY`, if there is such a page.
pub(crate) fn answer(look: &Look, command: &str) -> Option<(Answer, bool)> {
    let (path, query) = command.split_once('?').unwrap_or((command, ""));
    let query = Query::read(query);
    let page = PAGES.iter().find(|p| p.path == path)?;
    Some(((page.show)(look, &query), query.has("pretty")))
}

/// All pages.
pub fn router(look: Look) -> Router {
    Router::new().route("/debug/{page}", get(serve)).with_state(look)
}

/// The list of pages, which is no secret.
pub fn index() -> Router {
    let rows: String = PAGES
        .iter()
        .map(|Page { path, help, .. }| format!("<tr><td><a href=\"/debug/{path}\">{path}</a><td>{help}\n"))
        .collect();
    let html = format!(
        "<!doctype html><title>Meltemi</title>\n<h1>Meltemi {}</h1>\n<p>Add ?pretty to read a page yourself.\n\
         <table>\n{rows}</table>\n",
        crate::version::BUILD
    );
    Router::new().route("/debug", get(|| async { Html(html) }))
}

async fn serve(State(look): State<Look>, Path(page): Path<String>, RawQuery(query): RawQuery) -> Response {
    let command = format!("{page}?{}", query.unwrap_or_default());
    // Pages may take long, and streams must not wait for them.
    let answer = tokio::task::spawn_blocking(move || answer(&look, &command)).await;
    match answer {
        Ok(Some((answer, pretty))) => respond(answer, pretty),
        Ok(None) => (StatusCode::NOT_FOUND, "no such page; /debug lists all\n").into_response(),
        Err(error) => {
            tracing::error!(page, %error, "a page failed");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page failed; the log says why\n").into_response()
        }
    }
}

fn respond(answer: Answer, pretty: bool) -> Response {
    match answer {
        Answer::Json(value) => {
            let text = if pretty { format!("{value:#}\n") } else { value.to_string() };
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Answer::Text(text) => text.into_response(),
        Answer::Problem(status, text) => (status, format!("{text}\n")).into_response(),
    }
}

/// A time as RFC 3339 writes it.
fn time(time: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|t| t.to_string()).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;

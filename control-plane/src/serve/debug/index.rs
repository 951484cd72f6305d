//! The list of pages.

use axum::Router;
use axum::response::Html;
use axum::routing::get;

use super::{Look, json};

/// A page: its path below /debug, and what it shows.
pub(super) type Page = (&'static str, &'static str);

const PAGES: [Page; 1] = [("problems", "what is wrong with the input, and what is not handled yet")];

pub(super) fn router() -> Router<Look> {
    Router::new().route("/debug", get(index)).route("/debug/list", get(list))
}

async fn index() -> Html<String> {
    let rows: String = PAGES
        .iter()
        .map(|(path, text)| {
            format!("<tr><td><a href=\"/debug/{path}\">{path}</a></td><td>{text}</td></tr>\n")
        })
        .collect();
    Html(format!("<!doctype html><title>Meltemi</title><h1>Meltemi</h1>\n<table>\n{rows}</table>\n"))
}

async fn list() -> axum::response::Response {
    json(&PAGES.iter().map(|(path, _)| *path).collect())
}

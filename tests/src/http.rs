//! A small HTTP client: one request on one connection, from any [`Place`].

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use bytes::Bytes;
use hyper::{HeaderMap, Method, StatusCode};

use crate::{call::Call, netns::Place, server::NAME_HEADER};

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text, if the status tells of success.
    pub fn text(self) -> Result<String> {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        ensure!(self.status.is_success(), "{}: {text}", self.status);
        Ok(text)
    }

    /// The body as JSON, if the status tells of success.
    pub fn json(self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.text()?)?)
    }

    /// A header, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// Which of our servers answered; empty if somebody else did.
    pub fn server(&self) -> &str {
        self.header(NAME_HEADER)
    }
}

/// What to ask in clear, with one request of HTTP/1.1; [`Call`] can do more.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The header `host`; empty: the address that is asked.
    pub host: String,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Ask {
    /// A request without a body.
    pub fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.into(), host: String::new(), headers: Vec::new(), body: Bytes::new() }
    }

    /// Sends it to an address and reads the answer.
    pub async fn send(self, from: &Place, to: SocketAddr) -> Result<Answer> {
        let host = if self.host.is_empty() { to.to_string() } else { self.host };
        let mut call =
            Call::get(format!("http://{host}{}", self.path), to).method(self.method).body(self.body);
        for (name, value) in self.headers {
            call = call.header(name, &value);
        }
        call.send(from).await
    }
}

/// `GET path` at an address.
pub async fn get(from: &Place, to: SocketAddr, path: &str) -> Result<Answer> {
    Ask::new(Method::GET, path).send(from, to).await
}

/// `POST path` at an address.
pub async fn post(from: &Place, to: SocketAddr, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
    Ask { body: body.into(), ..Ask::new(Method::POST, path) }.send(from, to).await
}

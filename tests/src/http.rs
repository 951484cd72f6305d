//! A small HTTP client: one request on one connection, from any [`Place`].

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;

use crate::netns::Place;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
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
}

/// What to ask, with one request.
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
        let what = format!("{} http://{to}{}", self.method, self.path);
        let host = if self.host.is_empty() { to.to_string() } else { self.host };
        let exchange = async {
            let stream = from.connect(to).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let mut request = Request::builder().method(self.method).uri(self.path).header(HOST, host);
            for (name, value) in self.headers {
                request = request.header(name, value);
            }
            let request = request.body(Full::new(self.body))?;
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok(Answer { status: head.status, body: body.collect().await?.to_bytes() })
        };
        let limited = tokio::time::timeout(Duration::from_secs(20), exchange).await;
        limited.map_err(anyhow::Error::from).flatten().context(what)
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

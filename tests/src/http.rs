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

/// `GET path` at an address.
pub async fn get(from: &Place, to: SocketAddr, path: &str) -> Result<Answer> {
    send(from, to, Method::GET, path, Bytes::new()).await
}

/// `POST path` at an address.
pub async fn post(from: &Place, to: SocketAddr, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
    send(from, to, Method::POST, path, body.into()).await
}

async fn send(from: &Place, to: SocketAddr, method: Method, path: &str, body: Bytes) -> Result<Answer> {
    let exchange = async {
        let stream = from.connect(to).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(&method)
            .uri(path)
            .header(HOST, to.to_string())
            .body(Full::new(body))?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Answer { status: head.status, body: body.collect().await?.to_bytes() })
    };
    tokio::time::timeout(Duration::from_secs(20), exchange)
        .await
        .map_err(anyhow::Error::from)
        .flatten()
        .with_context(|| format!("{method} http://{to}{path}"))
}

//! Single requests to a URL, each on a connection of its own, from any [`Place`]: HTTP/1.1 or HTTP/2, in clear or by TLS.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Uri, Version,
    body::Incoming,
    client::conn::{http1, http2},
    header::HOST,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{http::Answer, netns::Place, tls};

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    url: String,
    to: SocketAddr,
    source: Ipv4Addr,
    version: Version,
    headers: Vec<(String, String)>,
    body: Bytes,
    roots: Option<String>,
    limit: Duration,
}

impl Call {
    /// `GET` of a URL, sent to an address.
    pub fn get(url: impl Into<String>, to: impl Into<SocketAddr>) -> Self {
        Self {
            method: Method::GET,
            url: url.into(),
            to: to.into(),
            source: Ipv4Addr::UNSPECIFIED,
            version: Version::HTTP_11,
            headers: Vec::new(),
            body: Bytes::new(),
            roots: None,
            limit: Duration::from_secs(20),
        }
    }

    /// With another method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// By HTTP/2, known beforehand.
    pub fn http2(mut self) -> Self {
        self.version = Version::HTTP_2;
        self
    }

    /// By TLS with the URL's host as server name, which must have a certificate of these roots (PEM).
    pub fn tls(mut self, roots: &str) -> Self {
        self.roots = Some(roots.into());
        self
    }

    /// From one of the addresses of the place.
    pub fn source(mut self, address: Ipv4Addr) -> Self {
        self.source = address;
        self
    }

    /// Sends it and reads the answer.
    pub async fn send(&self, from: &Place) -> Result<Answer> {
        tokio::time::timeout(self.limit, self.exchange(from))
            .await
            .map_err(anyhow::Error::from)
            .flatten()
            .with_context(|| format!("{} {} at {}", self.method, self.url, self.to))
    }

    async fn exchange(&self, from: &Place) -> Result<Answer> {
        let uri: Uri = self.url.parse()?;
        let stream = from.connect_from(self.source, self.to).await?;
        stream.set_nodelay(true)?;
        let answer = match &self.roots {
            None => self.speak(stream, &uri).await?,
            Some(roots) => {
                let name = uri.host().context("the URL has no host")?.to_owned().try_into()?;
                let connector = tokio_rustls::TlsConnector::from(tls::client(roots, &[])?);
                self.speak(connector.connect(name, stream).await?, &uri).await?
            }
        };
        let (head, body) = answer.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() })
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        uri: &Uri,
    ) -> Result<hyper::Response<Incoming>> {
        let io = TokioIo::new(stream);
        let mut request = Request::builder().method(&self.method).version(self.version);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = Full::new(self.body.clone());
        if self.version == Version::HTTP_2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            return Ok(sender.send_request(request.uri(uri).body(body)?).await?);
        }
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        let host = uri.authority().context("the URL has no host")?.as_str();
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        Ok(sender.send_request(request.uri(path).header(HOST, host).body(body)?).await?)
    }
}

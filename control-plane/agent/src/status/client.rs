//! Small HTTP requests with a limit on time and size: to Envoy's admin pages and the application.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::insecure;

/// The largest page of metrics that is passed on, in bytes.
pub const LARGEST: usize = 64 << 20;

/// Where a connection goes, and what it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where it goes.
    pub to: SocketAddr,
    from: Option<IpAddr>,
}

impl From<SocketAddr> for Target {
    fn from(to: SocketAddr) -> Self {
        Self { to, from: None }
    }
}

impl Target {
    /// A port of the application. The source address is the one that interception lets through: kubelet's probes too reach
    /// the application without a proxy between.
    pub fn application(to: SocketAddr) -> Self {
        let from = if to.is_ipv4() { Ipv4Addr::new(127, 0, 0, 6).into() } else { Ipv6Addr::from(6).into() };
        Self { to, from: Some(from) }
    }

    /// The source address, if the machine has it.
    pub fn source(self) -> Option<IpAddr> {
        self.from.filter(|ip| std::net::UdpSocket::bind((*ip, 0)).is_ok())
    }

    /// Connects.
    pub async fn connect(self) -> io::Result<TcpStream> {
        let socket = if self.to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(from) = self.source() {
            socket.bind((from, 0).into())?;
        }
        socket.connect(self.to).await
    }
}

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

/// Sends a request on a connection of its own. A body larger than `largest` is an error.
pub async fn send(
    method: Method,
    to: Target,
    path: &str,
    headers: &[(HeaderName, HeaderValue)],
    limit: Duration,
    largest: usize,
) -> Result<Answer, String> {
    let exchange = async {
        let stream = to.connect().await.map_err(|e| e.to_string())?;
        exchange(stream, request(method, to.to, path, headers)?, largest).await
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

/// Like [`send`], over TLS with whatever certificate the server has: kubelet's probes don't verify it either.
pub async fn send_tls(
    to: Target,
    path: &str,
    headers: &[(HeaderName, HeaderValue)],
    limit: Duration,
    largest: usize,
) -> Result<Answer, String> {
    let exchange = async {
        let stream = to.connect().await.map_err(|e| e.to_string())?;
        let stream = insecure::connect(stream, to.to).await?;
        exchange(stream, request(Method::GET, to.to, path, headers)?, largest).await
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

fn request(
    method: Method,
    to: SocketAddr,
    path: &str,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Request<Empty<Bytes>>, String> {
    let mut request =
        Request::builder().method(method).uri(path).body(Empty::new()).map_err(|e| format!("{path}: {e}"))?;
    for (name, value) in headers {
        request.headers_mut().append(name, value.clone());
    }
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::try_from(to.to_string()).map_err(|e| e.to_string())?;
        request.headers_mut().insert(HOST, host);
    }
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
    largest: usize,
) -> Result<Answer, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, largest).collect().await.map_err(|e| e.to_string())?.to_bytes();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

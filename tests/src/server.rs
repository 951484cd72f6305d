//! The workload of the tests: an HTTP server that tells who it is and what it was asked, and a TCP echo server.
//!
//! A request directs its own answer by query parameters:
//! - `fail=N` (with `key=K`): the first N requests with that key are answered 503, or for gRPC UNAVAILABLE;
//! - `status=S`: the status of the answer;
//! - `delay=MS`: milliseconds before the answer, on the first `slow=N` requests of the key if given;
//! - `at=NAME`: none of this is for any but the server of that name.
//!
//! `GET /counts` tells how many requests came for each key, those included whose client had gone by the answer.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncWriteExt, copy},
    net::TcpListener,
};

use crate::tls;

/// The response header that tells which server answered.
pub const NAME_HEADER: &str = "x-app";

const GRPC: &str = "application/grpc";

/// What to serve, and as whom.
#[derive(Args, Clone, Debug)]
pub struct Server {
    /// Who answers.
    #[arg(long)]
    pub name: String,
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    pub address: Ipv4Addr,
    /// Port of the HTTP server (HTTP/1.1 and HTTP/2 in clear).
    #[arg(long)]
    pub http: Vec<u16>,
    /// Port of the echo server. It first sends its name and a line feed.
    #[arg(long)]
    pub tcp: Vec<u16>,
    /// Port of the HTTPS server.
    #[arg(long, requires = "cert", requires = "key")]
    pub https: Vec<u16>,
    /// Its certificate (PEM).
    #[arg(long)]
    pub cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long)]
    pub key: Option<PathBuf>,
}

#[derive(Debug)]
struct Seen {
    name: String,
    counts: Mutex<BTreeMap<String, u64>>,
}

/// What is asked, and whether by TLS.
#[derive(Clone, Debug)]
struct Asked {
    seen: Arc<Seen>,
    tls: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    key: String,
    fail: u64,
    status: Option<u16>,
    delay: u64,
    slow: Option<u64>,
    at: Option<String>,
}

impl Server {
    /// Serves until the process ends.
    pub async fn run(self) -> Result<()> {
        let seen = Arc::new(Seen { name: self.name.clone(), counts: Mutex::default() });
        let app = |tls| {
            let asked = Asked { seen: seen.clone(), tls };
            Router::new().route("/counts", get(counts)).fallback(answer).with_state(asked)
        };
        let mut servers = tokio::task::JoinSet::new();
        for port in self.http {
            let listener = TcpListener::bind((self.address, port)).await?;
            let app = app(false);
            servers.spawn(async move { Ok(axum::serve(listener, app).await?) });
        }
        for port in self.https {
            let cert = fs::read(self.cert.as_ref().context("--https needs --cert")?)?;
            let key = fs::read(self.key.as_ref().context("--https needs --key")?)?;
            let tcp = TcpListener::bind((self.address, port)).await?;
            let listener = tls::Listener::new(tcp, &cert, &key)?;
            let app = app(true);
            servers.spawn(async move { Ok(axum::serve(listener, app).await?) });
        }
        for port in self.tcp {
            let listener = TcpListener::bind((self.address, port)).await?;
            servers.spawn(echo(listener, self.name.clone()));
        }
        while let Some(ended) = servers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn counts(State(asked): State<Asked>) -> Json<BTreeMap<String, u64>> {
    Json(asked.seen.counts.lock().expect("no panic holds it").clone())
}

async fn answer(State(asked): State<Asked>, Query(wish): Query<Wish>, request: Request) -> Response {
    let Asked { seen, tls } = asked;
    let nth = {
        let mut counts = seen.counts.lock().expect("no panic holds it");
        let count = counts.entry(wish.key.clone()).or_default();
        *count += 1;
        *count
    };
    let wish = if wish.at.as_ref().is_some_and(|name| *name != seen.name) { Wish::default() } else { wish };
    if wish.delay > 0 && wish.slow.is_none_or(|n| nth <= n) {
        tokio::time::sleep(Duration::from_millis(wish.delay)).await;
    }
    let name = [(HeaderName::from_static(NAME_HEADER), header(&seen.name))];
    if request.headers().get(CONTENT_TYPE).is_some_and(|t| t == GRPC) {
        // A gRPC answer without a message.
        let (ok, unavailable) = ("0", "14");
        let status = header(if nth <= wish.fail { unavailable } else { ok });
        let version = header(&format!("{:?}", request.version()));
        let grpc = [(CONTENT_TYPE, header(GRPC)), (HeaderName::from_static("grpc-status"), status)];
        return (grpc, name, [(HeaderName::from_static("x-version"), version)]).into_response();
    }
    let status = match wish.status {
        _ if nth <= wish.fail => StatusCode::SERVICE_UNAVAILABLE,
        Some(code) => StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST),
        None => StatusCode::OK,
    };
    let headers: BTreeMap<_, _> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body = json!({
        "name": seen.name, "method": request.method().as_str(), "uri": request.uri().to_string(),
        "version": format!("{:?}", request.version()), "headers": headers, "nth": nth, "tls": tls,
    });
    (status, name, Json(body)).into_response()
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("?"))
}

async fn echo(listener: TcpListener, name: String) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let greeting = format!("{name}\n");
        tokio::spawn(async move {
            let (mut from, mut to) = stream.split();
            to.write_all(greeting.as_bytes()).await?;
            copy(&mut from, &mut to).await
        });
    }
}

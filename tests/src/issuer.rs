//! A server of keys, as an issuer of tokens has one, that can be told to misbehave.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::tls::{Listener, Pair};

/// A running server, ended on drop. What it answers depends on the path:
/// `/keys` the key set it was given; `/.well-known/openid-configuration` where that is; `/moved` a redirect to it;
/// `/elsewhere` a redirect to another server; `/loop` one to itself; `/big` more than a megabyte; `/slow` the start of an
/// answer that never ends; `/text` no key set.
#[derive(Debug)]
pub struct Issuer {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    keys: Mutex<Option<String>>,
    asked: AtomicUsize,
    url: String,
}

impl Issuer {
    /// Starts it on the host's loopback address.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok(Self::on(listener, address, format!("http://{address}")))
    }

    /// Starts it over TLS on the host's loopback address, with a certificate for `localhost`.
    pub async fn start_tls(pair: &Pair) -> Result<Self> {
        let listener = Listener::bind(pair).await?;
        let address = listener.tcp.local_addr()?;
        Ok(Self::on(listener, address, format!("https://localhost:{}", address.port())))
    }

    fn on<L: axum::serve::Listener>(listener: L, address: SocketAddr, url: String) -> Self
    where
        L::Addr: std::fmt::Debug,
    {
        let shared = Arc::new(Shared { url, ..Default::default() });
        let router = Router::new().route("/{*path}", get(answer)).with_state(shared.clone());
        let serving = tokio::spawn(async move {
            if let Err(e) = axum::serve(listener, router).await {
                eprintln!("the issuer ended: {e}");
            }
        });
        Self { address, shared, serving }
    }

    /// Serves these keys from now on; without any, it answers 503.
    pub fn serve(&self, keys: Option<&str>) {
        *self.shared.keys.lock().expect("no panics") = keys.map(str::to_owned);
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// The URL of one of its paths.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.shared.url)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, Path(path): Path<String>) -> Response {
    shared.asked.fetch_add(1, Ordering::Relaxed);
    let redirect = |to: &str| (StatusCode::FOUND, [(header::LOCATION, to.to_owned())]).into_response();
    match path.as_str() {
        "keys" => match shared.keys.lock().expect("no panics").clone() {
            Some(keys) => keys.into_response(),
            None => (StatusCode::SERVICE_UNAVAILABLE, "the secret reason").into_response(),
        },
        ".well-known/openid-configuration" => {
            json!({"jwks_uri": format!("{}/keys", shared.url)}).to_string().into_response()
        }
        "moved" => redirect("/keys"),
        "loop" => redirect("/loop"),
        "elsewhere" => redirect("http://localhost:1/keys"),
        "big" => json!({"keys": [], "pad": "x".repeat(1 << 20)}).to_string().into_response(),
        "slow" => {
            let start = futures::stream::iter([Ok::<_, std::io::Error>("{")]);
            let rest = futures::stream::pending();
            axum::body::Body::from_stream(futures::StreamExt::chain(start, rest)).into_response()
        }
        _ => "hello".into_response(),
    }
}

//! The client of the tests: requests at a rate, counted by status, by who answered and by error.
//!
//! It is bounded by a number of requests and by a time, and ends early when its standard input is closed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Uri, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::TcpStream, time::Instant};

use crate::server::NAME_HEADER;

/// What to ask, how often and how fast.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// The URL. `{n}` in it becomes the number of the request.
    pub url: String,
    /// Address to connect to, instead of looking the URL's host up.
    #[arg(long)]
    pub to: SocketAddr,
    /// Number of requests.
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// Requests a second; 0: as fast as answers come.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 1)]
    pub connections: u64,
    /// Seconds after which no more requests are sent.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Milliseconds that a request may take.
    #[arg(long, default_value_t = 15_000)]
    pub patience: u64,
    /// Milliseconds from which an answer counts as slow.
    #[arg(long)]
    pub slow: Option<u64>,
    /// A request header, `NAME: VALUE`.
    #[arg(long)]
    pub header: Vec<String>,
    /// A new connection for every request.
    #[arg(long)]
    pub no_keep_alive: bool,
    /// End when standard input is closed.
    #[arg(long)]
    pub until_eof: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Requests sent.
    pub sent: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers by the name of the server.
    pub names: BTreeMap<String, u64>,
    /// Requests without an answer, by reason.
    pub errors: BTreeMap<String, u64>,
    /// The body of the last answer of each status.
    pub bodies: BTreeMap<u16, String>,
    /// Milliseconds of the slowest answer.
    pub slowest_ms: u64,
    /// Answers that took as long as [`Load::slow`] says, or longer.
    pub slow: u64,
}

impl Report {
    /// Requests that got no answer, or one of a status other than 200.
    pub fn failed(&self) -> u64 {
        self.sent - self.statuses.get(&200).copied().unwrap_or_default()
    }
}

struct Shared {
    load: Load,
    uri: Uri,
    start: Instant,
    next: AtomicU64,
    stop: AtomicBool,
    report: Mutex<Report>,
}

impl Load {
    /// Sends the requests and counts.
    pub async fn run(self) -> Result<Report> {
        let uri: Uri = self.url.replace("{n}", "0").parse()?;
        uri.authority().context("the URL has no host")?;
        let shared = Arc::new(Shared {
            uri,
            start: Instant::now(),
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            report: Mutex::default(),
            load: self,
        });
        if shared.load.until_eof {
            let shared = shared.clone();
            tokio::spawn(async move {
                let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
                shared.stop.store(true, Ordering::Relaxed);
            });
        }
        let workers: Vec<_> =
            (0..shared.load.connections).map(|_| tokio::spawn(shared.clone().work())).collect();
        for worker in workers {
            worker.await?;
        }
        Ok(shared.report.lock().map_err(|_| anyhow!("a worker panicked"))?.clone())
    }
}

type Sender = http1::SendRequest<Empty<Bytes>>;

impl Shared {
    async fn work(self: Arc<Self>) {
        let mut connection = None;
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if self.load.rate > 0.0 {
                tokio::time::sleep_until(self.start + Duration::from_secs_f64(n as f64 / self.load.rate))
                    .await;
            }
            let late = self.start.elapsed() >= Duration::from_secs(self.load.seconds);
            if n >= self.load.count || late || self.stop.load(Ordering::Relaxed) {
                return;
            }
            let began = Instant::now();
            let patience = Duration::from_millis(self.load.patience);
            let outcome = tokio::time::timeout(patience, self.ask(n, &mut connection)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("no answer in {patience:?}")));
            if outcome.is_err() || self.load.no_keep_alive {
                connection = None;
            }
            self.count(outcome, began.elapsed());
        }
    }

    async fn ask(&self, n: u64, connection: &mut Option<Sender>) -> Result<(u16, Option<String>, Bytes)> {
        // A server may close an idle connection at any time; only one that is still open is used again.
        let mut open = connection.take();
        if let Some(sender) = &mut open
            && sender.ready().await.is_err()
        {
            open = None;
        }
        let mut sender = match open {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(self.load.to).await.context("connect")?;
                stream.set_nodelay(true)?;
                let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(driver);
                sender
            }
        };
        let uri: Uri = self.load.url.replace("{n}", &n.to_string()).parse()?;
        let host = self.uri.authority().context("checked at start")?.as_str();
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let mut request = Request::get(path).header(HOST, host);
        for header in &self.load.header {
            let (name, value) = header.split_once(": ").context("a header is NAME: VALUE")?;
            request = request.header(name, value);
        }
        let (head, body) = sender.send_request(request.body(Empty::new())?).await?.into_parts();
        let name = head.headers.get(NAME_HEADER).and_then(|v| v.to_str().ok()).map(String::from);
        let body = body.collect().await?.to_bytes();
        *connection = Some(sender);
        Ok((head.status.as_u16(), name, body))
    }

    fn count(&self, outcome: Result<(u16, Option<String>, Bytes)>, took: Duration) {
        let Ok(mut report) = self.report.lock() else { return };
        report.sent += 1;
        let took = took.as_millis() as u64;
        report.slowest_ms = report.slowest_ms.max(took);
        report.slow += u64::from(self.load.slow.is_some_and(|limit| took >= limit));
        match outcome {
            Ok((status, name, body)) => {
                *report.statuses.entry(status).or_default() += 1;
                if let Some(name) = name {
                    *report.names.entry(name).or_default() += 1;
                }
                report.bodies.insert(status, String::from_utf8_lossy(&body).into_owned());
            }
            Err(e) => *report.errors.entry(format!("{e:#}")).or_default() += 1,
        }
    }
}

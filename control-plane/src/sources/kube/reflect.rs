//! Lists objects of one kind, then watches them, for as long as the process runs.
//!
//! A lost connection is taken up where it broke; only if the apiserver has forgotten that point is everything listed anew,
//! page by page. What is known stays in force all the while.

use futures::{AsyncBufRead, AsyncBufReadExt, FutureExt};
use http::Request;
use kube::Client;
use meltemi_world::Str;
use std::borrow::Cow;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::intake::{Closed, Intake};
use super::selection::Selected;
use super::wire::{Bare, Event, Failure, Page};

/// Objects in a page of a list.
const PAGE: usize = 500;
/// How long a page may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(60);
/// After how many seconds the apiserver ends a watch.
const WATCH_SECONDS: u32 = 290;
/// How long a watch may be silent. Bookmarks come about once a minute.
const SILENCE: Duration = Duration::from_secs(150);
/// An attempt that lasted as long counts as one that worked.
const LASTING: Duration = Duration::from_secs(5);
/// How many failures in a row are nothing to speak of, about a second's worth: an apiserver that starts has some.
const HICCUPS: u32 = 4;
/// Events that are handed on together at most.
const TOGETHER: usize = 1000;

const CUT_SHORT: &str = "the watch ended before all objects had been sent";

/// What is listed and watched.
#[derive(Clone, Debug)]
pub(super) struct What {
    /// The path of the list, e.g. `/api/v1/pods`.
    pub path: String,
    /// The same within a namespace, with `{}` for it; empty for kinds of the cluster.
    pub path_in: String,
    /// A field selector, encoded for a URL.
    pub fields: Cow<'static, str>,
    /// The forms of objects to ask for: of a list, and of a watch.
    pub accept: [&'static str; 2],
}

/// Why reflecting ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to stop, or the store is gone.
    Stopped,
    /// The apiserver does not serve the kind (any more).
    NotServed,
}

/// Why an attempt ended.
enum Failed {
    Closed,
    Stopped,
    NotServed,
    /// The apiserver does not know the point to go on from.
    Expired,
    /// The apiserver cannot send a list as a watch.
    NoStreaming,
    Other(String),
}

impl From<Closed> for Failed {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status.code, &status.message),
            other => Self::Other(chain(&other)),
        }
    }
}

impl Failed {
    fn of_status(code: u16, message: &str) -> Self {
        match code {
            404 => Self::NotServed,
            410 => Self::Expired,
            400 | 422 if message.contains("sendInitialEvents") => Self::NoStreaming,
            401 | 403 => {
                Self::Other(format!("{message}; grant the control plane's service account list and watch"))
            }
            _ => Self::Other(format!("{message} ({code})")),
        }
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// One kind's list and watch.
pub(super) struct Reflect<I> {
    pub client: Client,
    pub what: What,
    pub intake: I,
    pub selected: watch::Receiver<Selected>,
    pub stop: CancellationToken,
    /// Whether lists may come as watches.
    streaming: bool,
    /// Where the watch goes on; empty if a list is due.
    version: String,
}

impl<I: Intake> Reflect<I> {
    pub fn new(
        client: Client,
        what: What,
        intake: I,
        selected: watch::Receiver<Selected>,
        stop: CancellationToken,
    ) -> Self {
        Self { client, what, intake, selected, stop, streaming: true, version: String::new() }
    }

    /// Runs until told to stop or the kind is not served.
    pub async fn run(&mut self) -> End {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let stop = self.stop.clone();
            let attempt = tokio::select! {
                () = stop.cancelled() => Err(Failed::Stopped),
                done = self.attempt() => done,
            };
            if started.elapsed() > LASTING {
                backoff.reset();
            }
            match attempt {
                // The apiserver ends watches now and then.
                Ok(()) if started.elapsed() > LASTING => continue,
                Ok(()) => {}
                Err(Failed::Closed | Failed::Stopped) => return End::Stopped,
                Err(Failed::NotServed) => return End::NotServed,
                Err(Failed::NoStreaming) => {
                    self.streaming = false;
                    continue;
                }
                Err(Failed::Expired) => {
                    tracing::info!(
                        path = self.what.path,
                        "listing anew: the apiserver has forgotten where the watch was"
                    );
                    self.version.clear();
                }
                Err(Failed::Other(problem)) => {
                    tracing::debug!(path = self.what.path, problem, "will be tried again");
                    if backoff.failures() >= HICCUPS && self.trouble(&problem).await.is_err() {
                        return End::Stopped;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    async fn trouble(&mut self, problem: &str) -> Result<(), Closed> {
        let problem = format!("cannot be read from the apiserver: {problem}; what is known stays in force");
        self.intake.trouble(Some(problem)).await
    }

    async fn attempt(&mut self) -> Result<(), Failed> {
        let selected = self.selected.borrow_and_update().clone();
        if self.intake.select(&selected).is_none_or(|added| !added.is_empty()) {
            self.version.clear();
        }
        if self.version.is_empty() && !self.streaming {
            self.version = self.list().await?;
        }
        self.watch().await
    }

    /// Lists everything, page by page. Returns the state that the list shows.
    async fn list(&mut self) -> Result<String, Failed> {
        self.intake.start();
        let version = self.pages(&self.what.path.clone()).await?;
        self.intake.finish();
        self.intake.flush().await?;
        self.intake.trouble(None).await?;
        Ok(version)
    }

    async fn pages(&mut self, path: &str) -> Result<String, Failed> {
        let mut next = String::new();
        loop {
            let query = format!("limit={PAGE}&continue={next}{}", self.fields());
            let answer = self.client.request_text(self.get(path, &query, self.what.accept[0])?);
            let text = tokio::time::timeout(PAGE_PATIENCE, answer)
                .await
                .map_err(|_| Failed::Other(format!("a list took longer than {PAGE_PATIENCE:?}")))??;
            let page: Page<'_> = serde_json::from_str(&text)
                .map_err(|e| Failed::Other(format!("the list cannot be read: {e}")))?;
            page.items().for_each(|object| self.intake.take(object));
            self.intake.flush().await?;
            if page.metadata.r#continue.is_empty() {
                return Ok(page.metadata.resource_version);
            }
            next = escape(&page.metadata.r#continue);
        }
    }

    /// Watches until the apiserver ends it. Without a point to go on from, the watch starts with everything there is.
    async fn watch(&mut self) -> Result<(), Failed> {
        let mut initial = self.version.is_empty();
        let start = if initial {
            self.intake.start();
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned()
        } else {
            format!("resourceVersion={}", self.version)
        };
        let query = format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&{start}{}",
            self.fields()
        );
        let request = self.client.request_stream(self.get(&self.what.path, &query, self.what.accept[1])?);
        let stream = tokio::time::timeout(PAGE_PATIENCE, request)
            .await
            .map_err(|_| Failed::Other(format!("a watch was not answered within {PAGE_PATIENCE:?}")))??;
        let mut stream = std::pin::pin!(stream);
        if !initial {
            self.intake.trouble(None).await?;
        }
        let mut line = Vec::new();
        loop {
            tokio::select! {
                read = tokio::time::timeout(SILENCE, stream.read_until(b'\n', &mut line)) => {
                    let ended = read.map_err(|_| Failed::Other(format!("a watch was silent for {SILENCE:?}")))?;
                    if ended.map_err(|e| Failed::Other(format!("the watch broke: {e}")))? == 0 {
                        return if initial { Err(Failed::Other(CUT_SHORT.to_owned())) } else { Ok(()) };
                    }
                    let result = self.lines(&mut line, stream.as_mut(), &mut initial).await;
                    self.intake.flush().await?;
                    if !initial {
                        self.intake.trouble(None).await?;
                    }
                    result?;
                }
                changed = self.selected.changed(), if !initial => {
                    // Nobody selects any more only when the process ends.
                    changed.map_err(|_| Failed::Closed)?;
                    self.reselect().await?;
                }
            }
        }
    }

    /// Takes the line that was read, and those that are there already.
    async fn lines<S: AsyncBufRead + Unpin>(
        &mut self,
        line: &mut Vec<u8>,
        mut stream: S,
        initial: &mut bool,
    ) -> Result<(), Failed> {
        for _ in 0..TOGETHER {
            if line.ends_with(b"\n") {
                let event = self.event(line, initial);
                line.clear();
                event?;
            }
            // What is read of a line so far stays in `line`, should the rest not be there yet.
            match stream.read_until(b'\n', line).now_or_never() {
                Some(Ok(read)) if read > 0 => {}
                _ => break,
            }
        }
        Ok(())
    }

    fn event(&mut self, line: &[u8], initial: &mut bool) -> Result<(), Failed> {
        let text =
            std::str::from_utf8(line).map_err(|e| Failed::Other(format!("an event is no text: {e}")))?;
        let event: Event<'_> =
            serde_json::from_str(text).map_err(|e| Failed::Other(format!("an event cannot be read: {e}")))?;
        let object = event.object();
        match event.r#type {
            "ADDED" | "MODIFIED" => self.intake.take(object),
            "DELETED" => self.intake.remove(object),
            "BOOKMARK" => {
                let mark = Bare::read(object);
                if *initial && mark.ends_initial_events() {
                    *initial = false;
                    self.intake.finish();
                }
                if !*initial {
                    self.version = mark.version();
                }
                return Ok(());
            }
            "ERROR" => {
                let failure: Failure = serde_json::from_str(object).unwrap_or_default();
                return Err(Failed::of_status(failure.code, &failure.message));
            }
            other => {
                return Err(Failed::Other(format!(
                    "the apiserver sent an event of the unknown type {other:?}"
                )));
            }
        }
        if !*initial {
            let version = Bare::read(object).version();
            if !version.is_empty() {
                self.version = version;
            }
        }
        Ok(())
    }

    /// Takes another selection of namespaces: what is deselected goes, what is selected is listed.
    async fn reselect(&mut self) -> Result<(), Failed> {
        let selected = self.selected.borrow_and_update().clone();
        match self.intake.select(&selected) {
            None => {
                // Listed whole, in the next attempt.
                self.version.clear();
                self.intake.flush().await?;
                return Err(Failed::Expired);
            }
            Some(added) => self.list_in(&added).await?,
        }
        self.intake.flush().await?;
        Ok(())
    }

    async fn list_in(&mut self, namespaces: &[Str]) -> Result<(), Failed> {
        for namespace in namespaces {
            let path = self.what.path_in.replace("{}", namespace);
            if !path.is_empty() {
                self.pages(&path).await?;
            }
        }
        Ok(())
    }

    fn fields(&self) -> String {
        if self.what.fields.is_empty() {
            String::new()
        } else {
            format!("&fieldSelector={}", self.what.fields)
        }
    }

    fn get(&self, path: &str, query: &str, accept: &str) -> Result<Request<Vec<u8>>, Failed> {
        Request::get(format!("{path}?{query}"))
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(|e| Failed::Other(format!("{path} is no path: {e}")))
    }
}

/// Makes a token safe for a URL's query.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

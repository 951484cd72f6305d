//! Clients: our own load generator ([`crate::load`]) running in a pod.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    load::Report,
    netns::Pod,
    process::{Launch, Process},
    scratch, setup,
};

/// What a client asks; the rest is as `meltemi-test-app get --help` tells.
#[derive(Clone, Debug)]
pub struct Requests {
    args: Vec<String>,
    seconds: u64,
}

impl Requests {
    /// One request for a URL, sent to an address (a cluster IP, say).
    pub fn to(url: &str, address: impl Into<SocketAddr>) -> Self {
        let args = vec!["get".into(), url.into(), "--to".into(), address.into().to_string()];
        Self { args, seconds: 60 }
    }

    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.args.extend([name.into(), value.to_string()]);
        self
    }

    /// Sends so many of them.
    pub fn count(self, count: u64) -> Self {
        self.with("--count", count)
    }

    /// So many a second.
    pub fn rate(self, rate: u32) -> Self {
        self.with("--rate", rate)
    }

    /// On so many connections.
    pub fn connections(self, connections: u32) -> Self {
        self.with("--connections", connections)
    }

    /// For at most so long.
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self.with("--seconds", seconds)
    }

    /// Counting answers that take so many milliseconds as slow.
    pub fn slow(self, milliseconds: u64) -> Self {
        self.with("--slow", milliseconds)
    }

    /// With a request header.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with("--header", format!("{name}: {value}"))
    }

    /// With a connection for each of them.
    pub fn no_keep_alive(mut self) -> Self {
        self.args.push("--no-keep-alive".into());
        self
    }

    /// Sends them from a pod and waits for what comes of it.
    pub async fn send(self, from: &Pod, dir: &Path) -> Result<Report> {
        self.launch(from, dir, false)?.report().await
    }

    /// Starts sending from a pod, until [`Running::stop`].
    pub fn start(self, from: &Pod, dir: &Path) -> Result<Running> {
        self.launch(from, dir, true)
    }

    fn launch(mut self, from: &Pod, dir: &Path, until_eof: bool) -> Result<Running> {
        let mut launch = Launch::new(scratch::unique("client-"), setup::program("meltemi-test-app")?);
        if until_eof {
            self.args.push("--until-eof".into());
            launch = launch.with_stdin();
        }
        let process = launch.args(self.args).at(&from.place).user(1000).start(dir)?;
        Ok(Running { process, seconds: self.seconds })
    }
}

/// A client that is sending.
#[derive(Debug)]
pub struct Running {
    process: Process,
    seconds: u64,
}

impl Running {
    /// Ends it and tells what came of it. Fails if it had ended before.
    pub async fn stop(mut self) -> Result<Report> {
        self.process.check().context("the load ended before what it was for")?;
        self.process.close_stdin();
        self.report().await
    }

    async fn report(mut self) -> Result<Report> {
        let status = self.process.wait(Duration::from_secs(self.seconds + 30)).await?;
        ensure!(status.success(), "the client failed ({status}): {}", self.process.log_tail(5));
        Ok(serde_json::from_str(&self.process.output()?)?)
    }
}

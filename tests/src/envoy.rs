//! Stock Envoys in pods, and what their admin pages tell.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    bootstrap::ADMIN,
    http,
    interception::PROXY_USER,
    netns::{Place, Pod},
    process::{Launch, Process},
    setup, wait,
};

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    /// Its process.
    pub process: Process,
    place: Place,
}

impl Envoy {
    /// Starts Envoy in a pod and waits until its admin pages answer; [`Envoy::live`] waits for more.
    pub async fn start(pod: &Pod, bootstrap: &Value, dir: &Path) -> Result<Self> {
        let name = format!("envoy-{}", pod.name);
        let file = dir.join(format!("{name}.json"));
        fs::write(&file, bootstrap.to_string())?;
        let process = Launch::new(&name, setup::envoy()?)
            .args(["-c".into(), file.into_os_string()])
            // Two workers, so that a change is seen to reach more than one of them.
            .args(["--use-dynamic-base-id", "--concurrency", "2", "-l", "warning", "--drain-time-s", "45"])
            .at(&pod.place)
            .user(PROXY_USER)
            .start(dir)?;
        let mut envoy = Self { process, place: pod.place.clone() };
        wait::until_true(format!("{name} has its admin pages"), Duration::from_secs(20), async || {
            envoy.process.check()?;
            Ok(envoy.get("/server_info").await?.status.is_success())
        })
        .await?;
        Ok(envoy)
    }

    /// An Envoy that an agent runs: `process` is the agent's.
    pub fn of_agent(process: Process, place: &Place) -> Self {
        Self { process, place: place.clone() }
    }

    /// Waits until it has its first configuration and serves.
    pub async fn live(&mut self) -> Result<()> {
        let ready = wait::until_true("Envoy is live", Duration::from_secs(30), async || {
            self.process.check()?;
            Ok(self.get("/ready").await?.status.is_success())
        });
        let outcome = ready.await;
        outcome.with_context(|| format!("the end of Envoy's log:\n{}", self.process.log_tail(20)))
    }

    /// An admin page.
    pub async fn get(&self, path: &str) -> Result<http::Answer> {
        http::get(&self.place, ADMIN, path).await
    }

    /// `/config_dump`, endpoints included.
    pub async fn config_dump(&self) -> Result<Value> {
        self.get("/config_dump?include_eds").await?.json()
    }

    /// Counters and gauges whose names match a regular expression.
    pub async fn stats(&self, filter: &str) -> Result<BTreeMap<String, u64>> {
        let text = self.get(&format!("/stats?filter={}", escape(filter))).await?.text()?;
        let line =
            |l: &str| l.rsplit_once(": ").and_then(|(name, n)| Some((name.to_string(), n.parse().ok()?)));
        Ok(text.lines().filter_map(line).collect())
    }

    /// Configuration updates that it has rejected so far.
    pub async fn rejected(&self) -> Result<u64> {
        Ok(self.stats("update_rejected$").await?.values().sum())
    }

    /// `/clusters`: each cluster with its endpoints and their state.
    pub async fn clusters(&self) -> Result<Value> {
        self.get("/clusters?format=json").await?.json()
    }

    /// The addresses of the endpoints that a cluster has now, sorted.
    pub async fn endpoints(&self, cluster: &str) -> Result<Vec<String>> {
        let clusters = self.clusters().await?;
        let all = clusters["cluster_statuses"].as_array().context("no clusters")?;
        let hosts = all
            .iter()
            .filter(|c| c["name"] == cluster)
            .filter_map(|c| c["host_statuses"].as_array())
            .flatten();
        let mut found: Vec<_> = hosts
            .map(|h| &h["address"]["socket_address"])
            .map(|a| format!("{}:{}", a["address"].as_str().unwrap_or("?"), a["port_value"]))
            .collect();
        found.sort();
        Ok(found)
    }

    /// The names of its listeners, sorted.
    pub async fn listeners(&self) -> Result<Vec<String>> {
        let listeners = self.get("/listeners?format=json").await?.json()?;
        let all = listeners["listener_statuses"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<_> = all.iter().filter_map(|l| l["name"].as_str().map(String::from)).collect();
        names.sort();
        Ok(names)
    }
}

/// Escapes what a query can't hold as it is.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'~' => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

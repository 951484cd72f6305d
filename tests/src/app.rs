//! Workloads: our own server ([`crate::server`]) running in a pod.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result};

use crate::{
    http,
    netns::{Place, Pod},
    process::{Launch, Process},
    setup, wait,
};

/// Anybody but the proxy: connections of this user are intercepted.
const USER: u32 = 1000;

/// A running server.
#[derive(Debug)]
pub struct App {
    /// Its process.
    pub process: Process,
    place: Place,
    port: u16,
}

impl App {
    /// Starts a server that answers as `name`, on HTTP ports and TCP echo ports, and waits until it does.
    pub async fn start(pod: &Pod, name: &str, http: &[u16], tcp: &[u16], dir: &Path) -> Result<Self> {
        let mut args = vec!["serve".to_string(), "--name".into(), name.into()];
        args.extend(http.iter().flat_map(|port| ["--http".to_string(), port.to_string()]));
        args.extend(tcp.iter().flat_map(|port| ["--tcp".to_string(), port.to_string()]));
        let process = Launch::new(format!("app-{}", pod.name), setup::program("meltemi-test-app")?)
            .args(args)
            .at(&pod.place)
            .user(USER)
            .start(dir)?;
        let port = *http.first().context("a server needs an HTTP port, to be asked for its counts")?;
        let mut app = Self { process, place: pod.place.clone(), port };
        wait::until(format!("server {name}"), Duration::from_secs(10), async || {
            app.process.check()?;
            app.counts().await.map(Some)
        })
        .await?;
        Ok(app)
    }

    /// How many requests came, by the `key` that they named.
    pub async fn counts(&self) -> Result<serde_json::Value> {
        http::get(&self.place, SocketAddr::from(([127, 0, 0, 1], self.port)), "/counts").await?.json()
    }

    /// How many requests came that named `key`.
    pub async fn count(&self, key: &str) -> Result<u64> {
        Ok(self.counts().await?[key].as_u64().unwrap_or_default())
    }
}

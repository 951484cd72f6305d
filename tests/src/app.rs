//! Workloads: our own server ([`crate::server`]) running in a pod.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result};

use crate::{
    http,
    netns::{Place, Pod},
    process::{Launch, Process},
    root::Certificate,
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

/// What a server serves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports<'a> {
    /// HTTP in clear.
    pub http: &'a [u16],
    /// TCP echo.
    pub tcp: &'a [u16],
    /// HTTPS, with a certificate.
    pub https: Option<(u16, &'a Certificate)>,
}

impl App {
    /// Starts a server that answers as `name`, on HTTP ports and TCP echo ports, and waits until it does.
    pub async fn start(pod: &Pod, name: &str, http: &[u16], tcp: &[u16], dir: &Path) -> Result<Self> {
        Self::serve(pod, name, Ports { http, tcp, https: None }, dir).await
    }

    /// Starts a server that answers as `name`, and waits until it does. It needs an HTTP port in clear, to be asked for
    /// its counts.
    pub async fn serve(pod: &Pod, name: &str, ports: Ports<'_>, dir: &Path) -> Result<Self> {
        let mut args = vec!["serve".to_string(), "--name".into(), name.into()];
        args.extend(ports.http.iter().flat_map(|port| ["--http".to_string(), port.to_string()]));
        args.extend(ports.tcp.iter().flat_map(|port| ["--tcp".to_string(), port.to_string()]));
        if let Some((port, certificate)) = ports.https {
            args.extend(["--https".into(), port.to_string()]);
            for (option, pem) in [("cert", &certificate.chain), ("key", &certificate.key)] {
                let file = dir.join(format!("{}.{option}.pem", pod.name));
                fs::write(&file, pem)?;
                args.extend([format!("--{option}"), file.display().to_string()]);
            }
        }
        let process = Launch::new(format!("app-{}", pod.name), setup::program("meltemi-test-app")?)
            .args(args)
            .at(&pod.place)
            .user(USER)
            .start(dir)?;
        let port = *ports.http.first().context("no HTTP port")?;
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

//! Envoy's process: how it is started, and how it is ended without losing requests.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{Instant, sleep_until, timeout},
};

use super::Admin;
use crate::{
    Error,
    settings::{Role, Settings, Termination},
};

/// How often connections are counted while they are waited for.
const CHECK: Duration = Duration::from_secs(1);
/// How often that may fail before Envoy is ended without knowing.
const MOST_FAILURES: u32 = 5;
/// What Envoy gets to end by itself once it is told to.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How Envoy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The code to exit with: Envoy's own, or 128 and the signal that ended it.
    pub code: u8,
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
        Self { code: code.try_into().unwrap_or(1) }
    }
}

/// A running Envoy. It is killed when this is dropped.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    admin: Admin,
    inbound_only: bool,
    termination: Termination,
    own_ports: [u16; 2],
}

impl Envoy {
    /// Starts Envoy with a bootstrap. Its output is the agent's.
    pub fn start(settings: &Settings, bootstrap: &Path, overlay: Option<&str>) -> Result<Self, Error> {
        let binary = settings.proxy.text("binaryPath");
        let arguments = arguments(settings, bootstrap, overlay)?;
        tracing::info!("starting {binary} {}", arguments.join(" "));
        let child = Command::new(&binary)
            .args(&arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Error::Program { program: binary, why: format!("cannot be started: {e}") })?;
        Ok(Self {
            child,
            admin: Admin::new(settings.admin()),
            inbound_only: settings.role == Role::Sidecar,
            termination: settings.termination,
            own_ports: [settings.status_port, settings.prometheus_port],
        })
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> Result<Ended, Error> {
        Ok(self.child.wait().await?.into())
    }

    /// Ends it: `drained` says that it has been drained already, or is not to be.
    pub async fn terminate(&mut self, drained: bool) -> Result<Ended, Error> {
        if !drained {
            if let Err(error) = self.admin.drain(self.inbound_only, false).await {
                tracing::warn!("Envoy ends without draining: {error}");
            }
            let (admin, termination, own_ports) = (self.admin, self.termination, self.own_ports);
            tokio::select! {
                status = self.child.wait() => return Ok(status?.into()),
                () = drain_time(admin, termination, own_ports) => {}
            }
        }
        self.signal();
        match timeout(LAST_WORDS, self.child.wait()).await {
            Ok(status) => {
                status?;
            }
            Err(_) => self.child.kill().await?,
        }
        // It was told to end, so that it did is no failure.
        Ok(Ended { code: 0 })
    }

    fn signal(&self) {
        let pid = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?));
        if let Some(pid) = pid {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

/// Waits as long as connections are to be given.
async fn drain_time(admin: Admin, termination: Termination, own_ports: [u16; 2]) {
    if !termination.on_zero_connections {
        tracing::info!("draining for {:?}", termination.drain);
        return tokio::time::sleep(termination.drain).await;
    }
    tracing::info!("draining for {:?}, and then until no connection is left", termination.minimum);
    sleep_until(Instant::now() + termination.minimum).await;
    let mut failures = 0;
    loop {
        match admin.connections(&own_ports).await {
            Ok(0) => return,
            Ok(count) => {
                failures = 0;
                tracing::info!("{count} connections are left");
            }
            Err(error) => {
                failures += 1;
                tracing::warn!("connections cannot be counted: {error}");
                if failures == MOST_FAILURES {
                    return;
                }
            }
        }
        tokio::time::sleep(CHECK).await;
    }
}

/// Envoy's command line, as pilot-agent's.
fn arguments(settings: &Settings, bootstrap: &Path, overlay: Option<&str>) -> Result<Vec<String>, Error> {
    let proxy = &settings.proxy;
    let v6 = settings.localhost().is_ipv6();
    let flush = match proxy.get("fileFlushInterval").as_str() {
        Some(_) => proxy.duration("fileFlushInterval")?,
        None => Duration::from_secs(1),
    };
    let mut arguments: Vec<String> = vec![
        "-c".into(),
        bootstrap.display().to_string(),
        "--drain-time-s".into(),
        proxy.duration("drainDuration")?.as_secs().to_string(),
        "--drain-strategy".into(),
        "immediate".into(),
        "--local-address-ip-version".into(),
        if v6 { "v6" } else { "v4" }.into(),
        "--file-flush-interval-msec".into(),
        flush.as_millis().to_string(),
        "--disable-hot-restart".into(),
        "--allow-unknown-static-fields".into(),
        "-l".into(),
        settings.log_level.0.clone(),
    ];
    arguments.extend(settings.skip_deprecated.then(|| "--skip-deprecated-logs".into()));
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    if !settings.log_level.1.is_empty() {
        option("--component-log-level", settings.log_level.1.join(","));
    }
    if let Some(overlay) = overlay {
        option("--config-yaml", overlay.to_owned());
    }
    match proxy.get("concurrency").as_u64() {
        None | Some(0) => {}
        Some(threads) => option("--concurrency", threads.to_string()),
    }
    Ok(arguments)
}

//! What a process uses.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all its threads, to the nanosecond.
    pub cpu: Duration,
    /// Resident memory, in kB.
    pub rss_kb: u64,
    /// The most resident memory that it ever had, in kB.
    pub peak_kb: u64,
}

impl Usage {
    /// Reads it from `/proc`.
    pub fn of(pid: u32) -> Result<Self> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanos += text.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find(|l| l.starts_with(name)).with_context(|| format!("no {name}"))?;
            Ok(line.split_whitespace().nth(1).unwrap_or_default().parse()?)
        };
        Ok(Self { cpu: Duration::from_nanos(nanos), rss_kb: field("VmRSS")?, peak_kb: field("VmHWM")? })
    }

    /// Waits until the process does next to nothing for a second.
    pub async fn settled(pid: u32) -> Result<Self> {
        const QUIET: Duration = Duration::from_millis(2);
        let mut before = Self::of(pid)?;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = Self::of(pid)?;
            if now.cpu.saturating_sub(before.cpu) < QUIET {
                return Ok(now);
            }
            before = now;
        }
    }
}

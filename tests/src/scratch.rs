//! Scratch folders, and names that tell which process they belong to.
//!
//! Both carry the id of the process that made them, so that the next run can sweep away what a killed one left.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use tempfile::TempDir;

const PREFIX: &str = "meltemi-test-";

/// A folder of logs, data and configuration, removed on drop unless `MELTEMI_KEEP` is set.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes an empty folder.
    pub fn new() -> Result<Self> {
        for stale in fs::read_dir(env::temp_dir())?.flatten() {
            if stale.file_name().to_str().is_some_and(|n| is_stale(n, PREFIX)) && !keep() {
                let _ = fs::remove_dir_all(stale.path());
            }
        }
        let mut dir = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", process::id())).tempdir()?;
        if keep() {
            dir.disable_cleanup(true);
            eprintln!("keeping {}", dir.path().display());
        }
        Ok(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }
}

fn keep() -> bool {
    env::var_os("MELTEMI_KEEP").is_some()
}

/// Whether `name` is `PREFIX` + process id + `-...` of a process that is gone.
pub(crate) fn is_stale(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .and_then(|rest| rest.split_once('-'))
        .and_then(|(pid, _)| pid.parse::<u32>().ok())
        .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

/// A name with `prefix` that no other call of any process returns.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{prefix}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

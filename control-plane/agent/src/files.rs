//! Files that are replaced while the agent runs: mounted ConfigMaps, Secrets and tokens.

use std::{path::PathBuf, time::Duration};

use tokio::sync::watch;

use crate::upstream;

/// How often a file is looked at. The kubelet itself takes up to a minute to bring a change.
pub const PERIOD: Duration = Duration::from_secs(1);

/// Follows the content of a file; `None` as long as it cannot be read. A file that goes away later keeps its content.
pub fn follow(path: PathBuf) -> watch::Receiver<Option<Vec<u8>>> {
    let (told, heard) = watch::channel(upstream::read(&path).ok());
    tokio::spawn(async move {
        let mut clock = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                _ = clock.tick() => {}
                () = told.closed() => return,
            }
            let Ok(now) = upstream::read(&path) else { continue };
            told.send_if_modified(|content| {
                let changed = content.as_ref() != Some(&now);
                if changed {
                    *content = Some(now);
                }
                changed
            });
        }
    });
    heard
}

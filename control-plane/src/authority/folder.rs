//! The folder that an operator's CA is mounted at.

use meltemi_ca::Files;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

use crate::sources::follow::{Follow, Target};

/// What is read of it.
const NAMES: [&str; 9] = [
    "ca-cert.pem",
    "ca-key.pem",
    "cert-chain.pem",
    "root-cert.pem",
    "ca-crl.pem",
    "tls.crt",
    "tls.key",
    "ca.crt",
    "istio-generated",
];
/// The largest file.
const MOST: u64 = 8 << 20;

/// Its files, by name; none if there is no such folder.
pub fn read(folder: &Path) -> Result<Files, String> {
    let mut files = Files::new();
    for name in NAMES {
        let path = folder.join(name);
        let outcome = std::fs::metadata(&path).and_then(|m| match m.len() > MOST {
            true => Err(std::io::Error::other(format!("larger than {MOST} bytes"))),
            false => std::fs::read(&path),
        });
        match outcome {
            Ok(content) => {
                files.insert(name.to_owned(), content);
            }
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(e) => return Err(format!("{}: {e}", path.display())),
        }
    }
    Ok(files)
}

/// Tells of changes, for as long as the receiver lives. A folder that does not exist is looked for now and then by the
/// keeper.
pub fn follow(folder: &Path) -> watch::Receiver<u64> {
    let (told, changes) = watch::channel(0);
    let folder: PathBuf = folder.to_owned();
    if !folder.exists() {
        // The sender must outlive the receiver, which would otherwise always be ready.
        tokio::spawn(async move { told.closed().await });
        return changes;
    }
    std::thread::spawn(move || {
        let Ok(mut follow) = Follow::new(&[Target::Folder(folder)]) else { return told.send_modify(|_| {}) };
        while follow.settled().is_some() && !told.is_closed() {
            told.send_modify(|n| *n += 1);
        }
    });
    changes
}

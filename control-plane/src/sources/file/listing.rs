//! Which files a folder holds, and whether one changed.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How deep folders may nest.
const MAX_DEPTH: usize = 32;

/// What tells one state of a file from the next without reading it. Links are followed: a ConfigMap mount changes what
/// the same link leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// The YAML and JSON files of a folder and its subfolders, ordered by path. Hidden ones are left out: editors and
/// ConfigMap mounts keep theirs there.
///
/// # Errors
/// If the folder itself cannot be listed.
pub fn files(dir: &Path) -> io::Result<Vec<(PathBuf, Stamp)>> {
    let mut out = Vec::new();
    walk(dir, 0, &mut BTreeSet::new(), &mut out)?;
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(out)
}

fn walk(
    dir: &Path,
    depth: usize,
    seen: &mut BTreeSet<PathBuf>,
    out: &mut Vec<(PathBuf, Stamp)>,
) -> io::Result<()> {
    // A folder that links lead to twice is read once.
    if depth > MAX_DEPTH || !seen.insert(dir.canonicalize()?) {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.')) {
            continue;
        }
        // One that vanished since it was listed, or a link to nowhere, counts as not there.
        let Ok(meta) = fs::metadata(&path) else { continue };
        if meta.is_dir() {
            let _ = walk(&path, depth + 1, seen, out);
        } else if meta.is_file() && is_config(&path) {
            out.push((path, Stamp::of(&meta)));
        }
    }
    Ok(())
}

/// Whether a file's name says that it holds objects.
fn is_config(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Reads a file that was listed with this stamp.
///
/// # Errors
/// If it cannot be read, is no UTF-8, or (as `Interrupted`) is another state than the one that was listed.
pub fn read(path: &Path, stamp: &Stamp) -> io::Result<String> {
    let text = fs::read_to_string(path)?;
    if Stamp::of(&fs::metadata(path)?) != *stamp {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "it changed while it was read"));
    }
    Ok(text)
}

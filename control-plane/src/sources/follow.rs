//! Waits until files have changed and come to rest.
//!
//! No fixed delay: a change is taken up as soon as events pause, and a file that somebody holds open for writing is named
//! until it is closed, so that nobody reads half of it.

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Config, Event, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long events must pause. Renames of a swap follow each other within microseconds.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a stream of events may keep a change waiting.
const PATIENCE: Duration = Duration::from_secs(1);
/// After this long without a write, a file that is still open is taken as it stands.
const STALLED: Duration = Duration::from_secs(5);
/// How often files are looked at where the kernel tells of no changes.
const POLL: Duration = Duration::from_secs(2);

/// Follows folders and files.
pub struct Follow {
    events: Receiver<notify::Result<Event>>,
    _watcher: Box<dyn Watcher + Send>,
    writing: BTreeMap<PathBuf, Instant>,
    touched: BTreeSet<PathBuf>,
}

/// What to follow.
#[derive(Clone, Debug)]
pub enum Target {
    /// A folder with all that is in it.
    Folder(PathBuf),
    /// One file, which need not exist yet. Its folder must.
    File(PathBuf),
}

impl Follow {
    /// Starts to follow `targets`. One that cannot be followed is logged, and read once only.
    pub fn new(targets: &[Target]) -> notify::Result<Self> {
        let (sender, events) = channel();
        let mut watcher = watcher(sender)?;
        for target in targets {
            let (path, mode) = match target {
                Target::Folder(dir) => (dir.as_path(), RecursiveMode::Recursive),
                Target::File(file) => (parent(file), RecursiveMode::NonRecursive),
            };
            if !path.exists() && matches!(target, Target::File(_)) {
                tracing::debug!(folder = %path.display(), "not followed, since it does not exist");
            } else if let Err(error) = watcher.watch(path, mode) {
                tracing::error!(folder = %path.display(), %error, "changes of these files will not be noticed");
            }
        }
        Ok(Self { events, _watcher: watcher, writing: BTreeMap::new(), touched: BTreeSet::new() })
    }

    /// Waits for a change, then until events pause. Returns the files that are still being written, or `None` if nothing
    /// can be followed any more.
    pub fn settled(&mut self) -> Option<BTreeSet<PathBuf>> {
        while self.touched.is_empty() {
            let wait = self.writing.values().map(|last| STALLED.saturating_sub(last.elapsed())).min();
            let event = match wait {
                None => self.events.recv().ok()?,
                Some(wait) => match self.events.recv_timeout(wait) {
                    Ok(event) => event,
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return None,
                },
            };
            self.note(event);
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE
            && let Ok(event) = self.events.recv_timeout(PAUSE)
        {
            self.note(event);
        }
        self.touched.clear();
        self.writing.retain(|_, last| last.elapsed() < STALLED);
        Some(self.writing.keys().cloned().collect())
    }

    /// Waits for a pause and returns what was touched meanwhile: what was read of these files may be half of it. The
    /// next [`settled`](Self::settled) returns at once if there is any.
    pub fn disturbed(&mut self) -> BTreeSet<PathBuf> {
        while let Ok(event) = self.events.recv_timeout(PAUSE) {
            self.note(event);
            if self.touched.len() > 10_000 {
                break;
            }
        }
        self.touched.clone()
    }

    fn note(&mut self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, "while following files");
                return;
            }
        };
        for path in event.paths {
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_)) => {
                    self.writing.insert(path.clone(), Instant::now());
                }
                EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                    self.writing.remove(&path);
                }
                _ => {}
            }
            self.touched.insert(path);
        }
        if event.attrs.flag().is_some() {
            self.touched.insert(PathBuf::new());
        }
    }
}

fn watcher(events: Sender<notify::Result<Event>>) -> notify::Result<Box<dyn Watcher + Send>> {
    let handler = move |event: notify::Result<Event>| {
        // Reading a file makes events as well; taking those up would never end.
        let of_reading = |kind: &EventKind| matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write));
        if !event.as_ref().is_ok_and(|e| of_reading(&e.kind)) {
            // Fails only once nobody follows any more.
            let _ = events.send(event);
        }
    };
    let config = Config::default().with_poll_interval(POLL);
    match RecommendedWatcher::new(handler.clone(), config) {
        Ok(watcher) => Ok(Box::new(watcher)),
        Err(error) => {
            tracing::warn!(%error, "the kernel will not tell of changed files; looking at them every {POLL:?} instead");
            Ok(Box::new(PollWatcher::new(handler, config)?))
        }
    }
}

fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    #[test]
    fn a_file_is_named_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "a: 1").unwrap();
        let mut follow = Follow::new(&[Target::Folder(dir.path().into())]).unwrap();
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"a:").unwrap();
        assert_eq!(follow.settled(), Some(BTreeSet::from([path.clone()])));
        fs::write(dir.path().join("b.yaml"), "b: 1").unwrap();
        assert_eq!(follow.settled(), Some(BTreeSet::from([path.clone()])));
        file.write_all(b" 2").unwrap();
        drop(file);
        assert_eq!(follow.disturbed(), BTreeSet::from([path]));
        assert_eq!(follow.settled(), Some(BTreeSet::new()));
    }

    #[test]
    fn reading_disturbs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "a: 1").unwrap();
        let mut follow = Follow::new(&[Target::File(path.clone())]).unwrap();
        fs::read(&path).unwrap();
        assert_eq!(follow.disturbed(), BTreeSet::new());
        fs::rename(&path, dir.path().join("b")).unwrap();
        assert_eq!(follow.settled(), Some(BTreeSet::new()));
    }
}

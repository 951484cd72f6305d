//! The thread that follows files: those of `--configDir`, and those of the mesh's configuration.

use meltemi_world::{Kind, NsName, Object};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use super::file::Folder;
use super::follow::{Follow, Target};
use super::mesh::{Layer, MeshInputs, Text};
use super::{Batch, Batches, Part, Subject};

/// What to follow, and who is told.
pub struct Files {
    /// The folder of objects, in file mode.
    pub folder: Option<PathBuf>,
    /// The file of the mesh's configuration.
    pub mesh: PathBuf,
    /// The file of the mesh's networks.
    pub networks: PathBuf,
    /// The ConfigMap of the mesh, should the folder hold it.
    pub config_map: NsName,
    /// Who merges what is said of the mesh.
    pub inputs: MeshInputs,
    /// The store.
    pub batches: Batches,
}

impl Files {
    /// Reads everything once, then follows it until the store is gone.
    ///
    /// # Errors
    /// If the folder does not exist: the process would serve nothing.
    pub fn start(self) -> io::Result<()> {
        let mut targets = vec![Target::File(self.mesh.clone()), Target::File(self.networks.clone())];
        if let Some(dir) = &self.folder {
            std::fs::read_dir(dir)
                .map_err(|e| io::Error::new(e.kind(), format!("--configDir {}: {e}", dir.display())))?;
            targets.push(Target::Folder(dir.clone()));
        }
        // Followed before it is read, so that no change falls in between.
        let follow = match Follow::new(&targets) {
            Ok(follow) => Some(follow),
            Err(error) => {
                tracing::error!(%error, "changes of files will not be noticed");
                None
            }
        };
        std::thread::Builder::new().name("files".into()).spawn(move || self.run(follow))?;
        Ok(())
    }

    fn run(self, mut follow: Option<Follow>) {
        let mut folder = self.folder.as_ref().map(Folder::new);
        let mut writing = BTreeSet::new();
        let mut first = true;
        loop {
            let since = Instant::now();
            for (text, path) in [(Text::Config, &self.mesh), (Text::Networks, &self.networks)] {
                if !writing.contains(path) {
                    self.read_mesh(text, path);
                }
            }
            if let Some(folder) = &mut folder {
                let mut reading = folder.read(&writing);
                if let Some(follow) = &mut follow {
                    reading.discard(&follow.disturbed());
                }
                let (changes, findings) = folder.commit(reading);
                let mut batch = Batch::new(changes).with(Subject::Files, findings);
                batch.since = since;
                batch.complete = first.then_some(Part::Files);
                self.tell_config_map(folder);
                if self.batches.blocking_send(batch).is_err() {
                    return;
                }
            }
            if first {
                self.inputs.complete(Layer::File);
                if self.folder.is_some() {
                    self.inputs.complete(Layer::Own);
                }
                first = false;
            }
            match follow.as_mut().and_then(Follow::settled) {
                Some(still) => writing = still,
                None => return,
            }
        }
    }

    fn read_mesh(&self, text: Text, path: &PathBuf) {
        let origin = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(said) => self.inputs.say(text, Layer::File, &origin, Some(said)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.inputs.say(text, Layer::File, &origin, None)
            }
            Err(error) => {
                tracing::error!(file = origin, %error, "cannot be read; what it said before stays in force")
            }
        }
    }

    fn tell_config_map(&self, folder: &Folder) {
        let map = match folder.get(Kind::ConfigMap, &self.config_map) {
            Some(Object::ConfigMap(map)) => Some(map),
            _ => None,
        };
        let origin = format!("ConfigMap {}", self.config_map);
        for (text, key) in [(Text::Config, "mesh"), (Text::Networks, "meshNetworks")] {
            let said = map.and_then(|m| m.spec.get(key)).map(|t| t.to_string());
            self.inputs.say(text, Layer::Own, &origin, said);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_world::Change;
    use std::fs::{self, File};
    use std::io::Write;
    use std::time::Duration;
    use tokio::sync::mpsc;

    fn service(name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n"
        )
    }

    struct Rig {
        dir: tempfile::TempDir,
        received: mpsc::Receiver<Batch>,
    }

    impl Rig {
        fn start(text: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("state");
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("a.yaml"), text).unwrap();
            let (batches, received) = mpsc::channel(64);
            let files = Files {
                folder: Some(folder),
                mesh: dir.path().join("mesh"),
                networks: dir.path().join("networks"),
                config_map: NsName::new("istio-system", "istio"),
                inputs: MeshInputs::new([Layer::File, Layer::Own], batches.clone()),
                batches,
            };
            files.start().unwrap();
            Self { dir, received }
        }

        /// The next changes, one a line; none if there are none within a moment.
        fn next(&mut self) -> Vec<String> {
            let end = Instant::now() + Duration::from_millis(500);
            while Instant::now() < end {
                let Ok(batch) = self.received.try_recv() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let changes: Vec<String> = batch
                    .changes
                    .iter()
                    .map(|c| match c {
                        Change::Upsert(object) => format!("+{}", object.id().1),
                        Change::Remove(_, name) => format!("-{name}"),
                        Change::Mesh(mesh) => format!("mesh {}", mesh.trust_domain),
                        Change::Networks(_) => "networks".to_owned(),
                        Change::Roots(_) => "roots".to_owned(),
                    })
                    .collect();
                if !changes.is_empty() {
                    return changes;
                }
            }
            Vec::new()
        }
    }

    #[test]
    fn a_file_that_is_written_slowly_is_taken_up_once_it_is_whole() {
        let mut rig = Rig::start(&(service("a") + &service("b")));
        assert_eq!(rig.next(), ["+default/a", "+default/b"]);
        assert_eq!(rig.next(), ["mesh cluster.local", "networks"]);
        let mut file = File::create(rig.dir.path().join("state/a.yaml")).unwrap();
        file.write_all(service("a").as_bytes()).unwrap();
        file.sync_all().unwrap();
        assert_eq!(rig.next(), Vec::<String>::new(), "half of it would take b away");
        file.write_all(service("c").as_bytes()).unwrap();
        drop(file);
        assert_eq!(rig.next(), ["+default/c", "-default/b"]);
    }

    #[test]
    fn the_mesh_configuration_comes_from_its_file_or_from_the_folder() {
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 'trustDomain: map'}\n";
        let mut rig = Rig::start(map);
        assert_eq!(rig.next(), ["+istio-system/istio"]);
        assert_eq!(rig.next(), ["mesh map", "networks"]);
        fs::write(rig.dir.path().join("mesh"), "trustDomain: file").unwrap();
        assert_eq!(rig.next(), ["mesh file"]);
        fs::remove_file(rig.dir.path().join("mesh")).unwrap();
        assert_eq!(rig.next(), ["mesh map"]);
    }
}

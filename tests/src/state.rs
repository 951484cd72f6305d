//! The state of a cluster as a folder of YAML files, which the control plane follows in file mode.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::Value;

/// A folder of YAML files. Each write replaces a file as a whole, as `kubectl` or an editor would.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
}

impl State {
    /// Makes the folder `state` in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let dir = dir.join("state");
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Writes `NAME.yaml` with these objects.
    pub fn write(&self, name: &str, objects: &[Value]) -> Result<()> {
        let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
        self.write_text(name, &documents.join("\n---\n"))
    }

    /// Writes `NAME.yaml`.
    pub fn write_text(&self, name: &str, yaml: &str) -> Result<()> {
        // Made outside the folder, so that nobody reads half a file.
        let new = self.dir.with_extension("new");
        fs::write(&new, yaml)?;
        fs::rename(new, self.dir.join(format!("{name}.yaml")))?;
        Ok(())
    }

    /// Removes `NAME.yaml`.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.dir.join(format!("{name}.yaml")))?)
    }
}

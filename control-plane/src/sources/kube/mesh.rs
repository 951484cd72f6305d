//! The ConfigMaps with the mesh's configuration.

use meltemi_world::{Kind, Object, Str};

use super::intake::{Closed, Intake};
use super::wire::Bare;
use crate::sources::decode::{self, Outcome};
use crate::sources::mesh::{Layer, MeshInputs, Text};

/// What is taken of one such ConfigMap.
pub(super) struct MeshMap {
    layer: Layer,
    name: String,
    inputs: MeshInputs,
    now: Option<(Option<Str>, Option<Str>)>,
    told: Option<(Option<Str>, Option<Str>)>,
    seen: bool,
    listed: bool,
    completed: bool,
}

impl MeshMap {
    pub fn new(layer: Layer, name: &str, inputs: MeshInputs) -> Self {
        Self {
            layer,
            name: name.to_owned(),
            inputs,
            now: None,
            told: None,
            seen: false,
            listed: false,
            completed: false,
        }
    }
}

impl Intake for MeshMap {
    fn start(&mut self) {
        self.seen = false;
        self.listed = false;
    }

    fn take(&mut self, object: &str) {
        if *Bare::read(object).name().name != *self.name {
            return;
        }
        self.seen = true;
        match decode::text(Kind::ConfigMap, object) {
            Outcome::Read(mut read) => {
                if let Some(Object::ConfigMap(map)) = read.objects.pop() {
                    self.now = Some((map.spec.get("mesh").cloned(), map.spec.get("meshNetworks").cloned()));
                }
            }
            Outcome::Rejected { finding, .. } => finding.log(),
            Outcome::Skipped { .. } => {}
        }
    }

    fn remove(&mut self, object: &str) {
        if *Bare::read(object).name().name == *self.name {
            self.now = None;
        }
    }

    fn finish(&mut self) {
        if !self.seen {
            self.now = None;
        }
        self.listed = true;
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        let differs = self.now != self.told;
        let completes = self.listed && !self.completed;
        if !self.listed || !(differs || completes) {
            return Ok(());
        }
        self.told.clone_from(&self.now);
        self.completed = true;
        let (inputs, layer, origin) = (self.inputs.clone(), self.layer, format!("ConfigMap {}", self.name));
        let (config, networks) = self.now.clone().unwrap_or_default();
        // It waits for the store.
        let told = tokio::task::spawn_blocking(move || {
            inputs.say(Text::Config, layer, &origin, config.map(|t| t.to_string()));
            inputs.say(Text::Networks, layer, &origin, networks.map(|t| t.to_string()));
            if completes {
                inputs.complete(layer);
            }
        });
        told.await.map_err(|_| Closed)
    }

    async fn trouble(&mut self, problem: Option<String>) -> Result<(), Closed> {
        if let Some(problem) = problem {
            tracing::warn!(config_map = self.name, problem, "mesh configuration");
        }
        Ok(())
    }
}

//! The mesh's configuration and networks, from whichever place has a say.
//!
//! A file wins over ConfigMaps; of two ConfigMaps the control plane's own is laid over the shared one. A text that is bad
//! leaves what its place said before.

use meltemi_api::istio::mesh::v1alpha1::{MeshConfig, MeshNetworks};
use meltemi_api::validate::{self, Finding, Findings};
use meltemi_world::{Change, NsName, mesh};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

use super::{Batch, Batches, Diagnostic, Part, Severity, Subject, yaml};

/// A place that may say something about the mesh. Later ones are laid over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The ConfigMap of `SHARED_MESH_CONFIG`.
    Shared,
    /// The control plane's own ConfigMap.
    Own,
    /// A file. If there is one, ConfigMaps have no say.
    File,
}

/// Which of the two texts is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Text {
    /// `MeshConfig`: key `mesh`.
    Config,
    /// `MeshNetworks`: key `meshNetworks`.
    Networks,
}

/// Where sources say what their place says. Clones share one mesh; what follows goes to the store at once.
#[derive(Clone)]
pub struct MeshInputs(Arc<Mutex<Inputs>>);

struct Inputs {
    mesh: Mesh,
    texts: BTreeMap<(Text, Layer), Option<String>>,
    awaited: BTreeSet<Layer>,
    batches: Batches,
    in_force: watch::Sender<Option<Arc<MeshConfig>>>,
}

impl MeshInputs {
    /// Inputs that are complete once all `awaited` layers have been read.
    pub fn new(awaited: impl IntoIterator<Item = Layer>, batches: Batches) -> Self {
        let (mesh, texts, awaited) = (Mesh::default(), BTreeMap::new(), awaited.into_iter().collect());
        let in_force = watch::Sender::new(None);
        Self(Arc::new(Mutex::new(Inputs { mesh, texts, awaited, batches, in_force })))
    }

    /// Tells of the configuration in force: none before all layers have been read.
    pub fn in_force(&self) -> watch::Receiver<Option<Arc<MeshConfig>>> {
        self.0.lock().in_force.subscribe()
    }

    /// Takes what a place says now. Blocks while the store is busy.
    pub fn say(&self, text: Text, layer: Layer, origin: &str, said: Option<String>) {
        let mut inputs = self.0.lock();
        if inputs.texts.get(&(text, layer)).is_some_and(|known| *known == said) {
            return;
        }
        inputs.mesh.say(text, layer, origin, said.as_deref());
        inputs.texts.insert((text, layer), said);
        if inputs.awaited.is_empty() {
            inputs.tell(false);
        }
    }

    /// Notes that a layer has been read for the first time. Blocks while the store is busy.
    pub fn complete(&self, layer: Layer) {
        let mut inputs = self.0.lock();
        if inputs.awaited.remove(&layer) && inputs.awaited.is_empty() {
            inputs.tell(true);
        }
    }
}

impl Inputs {
    fn tell(&mut self, complete: bool) {
        let (changes, findings) = self.mesh.resolve();
        for change in &changes {
            if let Change::Mesh(mesh) = change {
                self.in_force.send_replace(Some(mesh.clone()));
            }
        }
        let mut batch = Batch::new(changes).with(Subject::Mesh, findings);
        batch.complete = complete.then_some(Part::Mesh);
        // Fails only when the process ends.
        let _ = self.batches.blocking_send(batch);
    }
}

/// What each place says, as last understood.
#[derive(Debug, Default)]
pub struct Mesh {
    said: BTreeMap<(Text, Layer), Said>,
    in_force: Option<(Arc<MeshConfig>, Arc<MeshNetworks>)>,
}

#[derive(Debug, Default)]
struct Said {
    value: Option<Value>,
    findings: Vec<Diagnostic>,
}

impl Mesh {
    /// Takes what a place says now; `None` if it says nothing. `origin` names the place for an operator.
    pub fn say(&mut self, text: Text, layer: Layer, origin: &str, said: Option<&str>) {
        let Some(said) = said else {
            self.said.remove(&(text, layer));
            return;
        };
        let entry = self.said.entry((text, layer)).or_default();
        entry.findings.clear();
        let finding = |severity, field: &str, message: String| {
            let kind = if text == Text::Config { "MeshConfig" } else { "MeshNetworks" };
            Diagnostic::new(severity, kind, &NsName::new("", origin), field, message)
        };
        match understand(text, said) {
            Ok(Understood { value, unknown, warnings }) => {
                entry.value = Some(value);
                let message = "no such field, so it has no effect; check its spelling and indentation";
                let unknown = unknown.iter().map(|f| finding(Severity::Warning, f, message.to_owned()));
                let warnings = warnings.into_iter().map(|w| finding(Severity::Warning, &w.field, w.message));
                entry.findings = unknown.chain(warnings).collect();
            }
            Err((field, message)) => {
                let kept =
                    if entry.value.is_some() { "what it said before stays" } else { "the defaults are" };
                entry.findings =
                    vec![finding(Severity::Error, &field, format!("{message}; {kept} in force"))];
            }
        }
    }

    /// What follows from what all places say: changes, if there are any, and what is wrong.
    pub fn resolve(&mut self) -> (Vec<Change>, Vec<Diagnostic>) {
        let findings = self.said.values().flat_map(|s| s.findings.iter().cloned()).collect();
        let (old_config, old_networks) = self.in_force.take().unzip();
        let config = together(self.layers(Text::Config)).unwrap_or_else(|error| {
            // Each layer was understood by itself, so this is a contradiction between them.
            tracing::error!(
                error,
                "the layers of the mesh configuration do not fit together; what was in force stays"
            );
            old_config.as_deref().cloned().unwrap_or_else(mesh::defaults)
        });
        let networks = self
            .layers(Text::Networks)
            .last()
            .map(|v| networks(v))
            .and_then(Result::ok)
            .unwrap_or_default()
            .0;
        let mut changes = Vec::new();
        let config = match old_config.filter(|old| **old == config) {
            Some(old) => old,
            None => {
                let config = Arc::new(config);
                changes.push(Change::Mesh(config.clone()));
                config
            }
        };
        let networks = match old_networks.filter(|old| **old == networks) {
            Some(old) => old,
            None => {
                let networks = Arc::new(networks);
                changes.push(Change::Networks(networks.clone()));
                networks
            }
        };
        self.in_force = Some((config, networks));
        (changes, findings)
    }

    fn layers(&self, text: Text) -> Vec<&Value> {
        let value = |layer| self.said.get(&(text, layer)).and_then(|s| s.value.as_ref());
        match value(Layer::File) {
            Some(file) => vec![file],
            None => [Layer::Shared, Layer::Own].into_iter().filter_map(value).collect(),
        }
    }
}

/// The configuration that layers make together.
fn together(layers: Vec<&Value>) -> Result<MeshConfig, String> {
    let mesh = mesh::overlay_all(layers).map_err(|e| e.to_string())?;
    match accepted(validate::mesh::config(&mesh)) {
        Ok(_) => Ok(mesh),
        Err((field, message)) => Err(format!("{field}: {message}")),
    }
}

type Problem = (String, String);

/// A text that can be put in force.
struct Understood {
    value: Value,
    /// Fields that it has too many.
    unknown: Vec<String>,
    warnings: Vec<Finding>,
}

/// Reads a text, and checks it as istiod does.
fn understand(text: Text, said: &str) -> Result<Understood, Problem> {
    let mut documents = yaml::yaml(said).map_err(|e| (String::new(), format!("cannot be read: {e}")))?;
    if documents.len() > 1 {
        return Err((String::new(), "holds more than one document".to_owned()));
    }
    let value = documents.pop().map_or(Value::Null, |d| d.value);
    let (unknown, found) = match text {
        Text::Config => {
            let layers = (!value.is_null()).then_some(&value);
            let mesh = mesh::overlay_all(layers).map_err(|e| (String::new(), e.to_string()))?;
            (
                config(&value).map_or_else(|_| Vec::new(), |(_, unknown)| unknown),
                validate::mesh::config(&mesh),
            )
        }
        Text::Networks => {
            let (networks, unknown) = networks(&value)?;
            (unknown, validate::mesh::networks(&networks))
        }
    };
    accepted(found).map(|warnings| Understood { value, unknown, warnings })
}

/// The warnings of what istiod would take; the errors of what it would not.
fn accepted(found: Findings) -> Result<Vec<Finding>, Problem> {
    let mut errors = found.errors.into_iter();
    let Some(Finding { field, mut message }) = errors.next() else { return Ok(found.warnings) };
    for other in errors {
        message.push_str("; ");
        message.push_str(&other.to_string());
    }
    Err((field, message))
}

fn config(value: &Value) -> Result<(MeshConfig, Vec<String>), Problem> {
    decode(value)
}

fn networks(value: &Value) -> Result<(MeshNetworks, Vec<String>), Problem> {
    decode(value)
}

fn decode<T: serde::de::DeserializeOwned + Default>(value: &Value) -> Result<(T, Vec<String>), Problem> {
    if value.is_null() {
        return Ok((T::default(), Vec::new()));
    }
    let decoded = meltemi_api::object::decode(value.clone()).map_err(|e| (e.field, e.message))?;
    Ok((decoded.value, decoded.unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig(Mesh);

    impl Rig {
        fn new() -> Self {
            let mut mesh = Mesh::default();
            mesh.resolve();
            Self(mesh)
        }

        fn say(&mut self, layer: Layer, text: Option<&str>) -> (Option<Arc<MeshConfig>>, Vec<String>) {
            self.0.say(Text::Config, layer, "here", text);
            let (changes, findings) = self.0.resolve();
            let config = changes.into_iter().find_map(|c| match c {
                Change::Mesh(mesh) => Some(mesh),
                _ => None,
            });
            (config, findings.iter().map(ToString::to_string).collect())
        }
    }

    #[test]
    fn the_first_answer_is_always_a_change() {
        assert_eq!(Mesh::default().resolve().0.len(), 2);
    }

    #[test]
    fn a_bad_text_keeps_what_was_said_before() {
        let mut rig = Rig::new();
        assert_eq!(rig.say(Layer::Own, Some("trustDomain: td")).0.unwrap().trust_domain, "td");
        for bad in ["trustDomain: [", "- a", "trustDomain: {a: b}", "a: 1\n---\nb: 2\n"] {
            let (config, findings) = rig.say(Layer::Own, Some(bad));
            assert_eq!(config, None, "{bad}");
            assert!(findings[0].starts_with("MeshConfig here"), "{findings:?}");
            assert!(findings[0].ends_with("what it said before stays in force"), "{findings:?}");
        }
        assert_eq!(rig.say(Layer::Own, None).0.unwrap().trust_domain, "cluster.local");
    }

    #[test]
    fn what_istiod_refuses_is_refused() {
        let mut rig = Rig::new();
        rig.say(Layer::Own, Some("trustDomain: td"));
        for (bad, field) in [
            ("trustDomain: a_b", "field trustDomain"),
            ("connectTimeout: 0s", "field connectTimeout"),
            ("defaultConfig: {discoveryAddress: istiod}", "field defaultConfig.discoveryAddress"),
        ] {
            let (config, findings) = rig.say(Layer::Own, Some(bad));
            assert_eq!(config, None, "{bad}");
            assert!(findings[0].contains(field), "{findings:?}");
            assert!(findings[0].ends_with("what it said before stays in force"), "{findings:?}");
        }
        let (config, findings) =
            rig.say(Layer::Own, Some("extensionProviders: [{name: a}]\ntrustDomain: new"));
        assert_eq!(config.unwrap().trust_domain, "new");
        assert!(findings[0].contains("field extensionProviders[a]"), "{findings:?}");
    }

    #[test]
    fn bad_networks_keep_what_was_said_before() {
        let mut mesh = Mesh::default();
        mesh.say(Text::Networks, Layer::Own, "here", Some("networks: {n: {endpoints: [{fromRegistry: a}]}}"));
        mesh.resolve();
        mesh.say(Text::Networks, Layer::Own, "here", Some("networks: {n: {endpoints: [{fromCidr: a}]}}"));
        let (changes, findings) = mesh.resolve();
        assert!(changes.is_empty(), "{changes:?}");
        let finding = findings[0].to_string();
        assert!(finding.contains("field networks[n].endpoints[0].fromCidr"), "{finding}");
    }

    #[test]
    fn layers_are_laid_over_each_other_and_a_file_wins() {
        let mut rig = Rig::new();
        rig.say(Layer::Shared, Some("trustDomain: shared\nrootNamespace: shared"));
        let mesh = rig.say(Layer::Own, Some("rootNamespace: own")).0.unwrap();
        assert_eq!((mesh.trust_domain.as_str(), mesh.root_namespace.as_str()), ("shared", "own"));
        let mesh = rig.say(Layer::File, Some("")).0.unwrap();
        assert_eq!(
            (mesh.trust_domain.as_str(), mesh.root_namespace.as_str()),
            ("cluster.local", "istio-system")
        );
    }

    #[test]
    fn an_unknown_field_is_a_warning() {
        let (config, findings) = Rig::new().say(Layer::Own, Some("trustDomains: td"));
        assert_eq!(config, None);
        assert!(findings[0].contains("field trustDomains: no such field"), "{findings:?}");
    }

    #[test]
    fn networks_are_read() {
        let mut mesh = Mesh::default();
        mesh.resolve();
        let text = "networks: {n1: {endpoints: [{fromRegistry: Kubernetes}], gateways: [{address: 1.1.1.1, port: 15443}]}}";
        mesh.say(Text::Networks, Layer::Own, "here", Some(text));
        let (changes, _) = mesh.resolve();
        assert!(
            matches!(&changes[..], [Change::Networks(n)] if n.networks.contains_key("n1")),
            "{changes:?}"
        );
    }
}

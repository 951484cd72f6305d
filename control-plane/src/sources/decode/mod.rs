//! One JSON object, from a file or from the apiserver, to an object of the world.
//!
//! A bad object is refused by itself, with what is wrong and what to do; nothing here panics, logs or keeps state.

mod core;
mod istio;
pub mod kinds;
mod relaxed;

use meltemi_api::k8s::ObjectMeta;
use meltemi_api::object::DecodeError;
use meltemi_world::{Kind, NsName, Object};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::diagnostic::{Diagnostic, Severity};
use kinds::Known;

/// How old an object counts that does not say: younger than all that do. It is the latest time that RFC 3339 can write,
/// the same in every process, so that a restart orders objects as before.
pub const UNDATED: i64 = 253_402_300_799;

/// JSON as it comes: text from the apiserver, or a value from a file.
pub(crate) enum Json<'a> {
    /// Not parsed yet.
    Text(&'a str),
    /// Parsed.
    Value(Value),
}

/// What became of an object.
#[derive(Debug)]
pub enum Outcome {
    /// It is good.
    Read(Read),
    /// It is good for nothing here: another project's, or of a kind that is not read yet.
    Skipped {
        /// Its kind.
        kind: String,
        /// Its API, such as `apps/v1`.
        api_version: String,
        /// Its name.
        object: NsName,
        /// Whether Istio would read it.
        later: bool,
    },
    /// It is bad.
    Rejected {
        /// What it claims to be, as far as that can be told.
        id: Option<(Kind, NsName)>,
        /// What is wrong with it.
        finding: Diagnostic,
    },
}

/// An object that could be read.
#[derive(Debug)]
pub struct Read {
    /// Its name.
    pub name: NsName,
    /// The objects of the world that it makes: one as a rule, several for `Endpoints`, none if it says nothing to a mesh.
    pub objects: Vec<Object>,
    /// What of it has no effect.
    pub warnings: Vec<Diagnostic>,
}

/// Reads an object of a kind that is known from where it came, as a watch does.
pub fn text(kind: Kind, text: &str) -> Outcome {
    outcome(kind, Json::Text(text), NsName::new("", ""), None)
}

/// Reads an object that says itself what it is. One without a namespace is put into `default_namespace`, unless its
/// kind belongs to the cluster.
pub fn value(mut json: Value, default_namespace: &str) -> Outcome {
    let Some(object) = json.as_object_mut() else {
        return rejected(
            "",
            NsName::new("", ""),
            "",
            "expected an object with apiVersion, kind and metadata",
        );
    };
    let text = |object: &serde_json::Map<String, Value>, key| {
        object.get(key).and_then(Value::as_str).map(str::to_owned)
    };
    let (api_version, kind) = (text(object, "apiVersion"), text(object, "kind"));
    let (mut namespace, name) = match object.get("metadata") {
        None | Some(Value::Null) => (None, None),
        Some(Value::Object(meta)) => (text(meta, "namespace"), text(meta, "name")),
        Some(_) => {
            let id = NsName::new("", "");
            return rejected(&kind.unwrap_or_default(), id, "metadata", "expected a mapping with a name");
        }
    };
    let id =
        |ns: &Option<String>| NsName::new(ns.clone().unwrap_or_default(), name.clone().unwrap_or_default());
    let Some(kind) = kind.filter(|k| !k.is_empty()) else {
        return rejected(
            "object",
            id(&namespace),
            "kind",
            "missing: say what it is, e.g. kind: VirtualService",
        );
    };
    let Some(api_version) = api_version.filter(|a| !a.is_empty()) else {
        return rejected(
            &kind,
            id(&namespace),
            "apiVersion",
            "missing: e.g. apiVersion: networking.istio.io/v1",
        );
    };
    let known = kinds::known(&api_version, &kind);
    let cluster_wide = matches!(known, Known::Read(k) if kinds::resource(k).is_some_and(|r| !r.namespaced));
    if cluster_wide {
        namespace = None;
    } else if namespace.as_deref().is_none_or(str::is_empty) {
        namespace = Some(default_namespace.to_owned());
    }
    let id = id(&namespace);
    match known {
        Known::Read(k) => outcome(k, Json::Value(json), id, Some(default_namespace)),
        Known::Endpoints => core::endpoints(json, &id),
        Known::Later => Outcome::Skipped { kind, api_version, object: id, later: true },
        Known::Foreign => Outcome::Skipped { kind, api_version, object: id, later: false },
        Known::Unknown => {
            let advice = kinds::advice(&api_version, &kind);
            rejected(
                &kind,
                id,
                "",
                format!("{api_version} has no kind {kind} that a mesh could read; {advice}"),
            )
        }
    }
}

fn rejected(kind: &str, object: NsName, field: &str, message: impl Into<String>) -> Outcome {
    let kind = if kind.is_empty() { "object" } else { kind };
    Outcome::Rejected { id: None, finding: Diagnostic::new(Severity::Error, kind, &object, field, message) }
}

/// Reads an object of a kind that makes up the world. `default_namespace` is for file mode, where an object may say
/// less of itself than an apiserver would.
fn outcome(kind: Kind, json: Json<'_>, id: NsName, default_namespace: Option<&str>) -> Outcome {
    let mut cx = Cx { kind, id, default_namespace, warnings: Vec::new() };
    // A bug that one object brings out must not end the reading of all others.
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| core::read(&mut cx, json)));
    match read.unwrap_or_else(|_| {
        Err(Bad::new("", "reading it fails, which is a bug of Meltemi; please report the object"))
    }) {
        Ok(object) => {
            Outcome::Read(Read { name: cx.id, objects: object.into_iter().collect(), warnings: cx.warnings })
        }
        Err(Bad { field, message }) => {
            let finding = Diagnostic::new(Severity::Error, kind.name(), &cx.id, &field, message);
            let id = (!cx.id.name.is_empty()).then(|| (kind, cx.id.clone()));
            Outcome::Rejected { id, finding }
        }
    }
}

/// One object in the works.
struct Cx<'a> {
    kind: Kind,
    /// As far as it is known yet.
    id: NsName,
    default_namespace: Option<&'a str>,
    warnings: Vec<Diagnostic>,
}

/// Why it is refused.
struct Bad {
    field: String,
    message: String,
}

impl Bad {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl From<DecodeError> for Bad {
    fn from(error: DecodeError) -> Self {
        Self::new(error.field, format!("{}; correct the field", error.message))
    }
}

impl Cx<'_> {
    fn warn(&mut self, field: &str, message: &str) {
        self.warnings.push(Diagnostic::new(Severity::Warning, self.kind.name(), &self.id, field, message));
    }

    fn note(&mut self, field: &str, message: &str) {
        self.warnings.push(Diagnostic::new(Severity::Note, self.kind.name(), &self.id, field, message));
    }

    /// Checks an object's metadata, and fills in what a file may leave out.
    fn complete(&mut self, meta: &mut ObjectMeta) -> Result<(), Bad> {
        if kinds::resource(self.kind).is_some_and(|r| !r.namespaced) {
            meta.namespace.clear();
        } else if meta.namespace.is_empty() {
            match self.default_namespace {
                Some(namespace) => meta.namespace = namespace.to_owned(),
                None => return Err(Bad::new("metadata.namespace", "missing")),
            }
        }
        self.id = NsName::new(meta.namespace.as_str(), meta.name.as_str());
        if meta.name.is_empty() {
            return Err(Bad::new("metadata.name", "missing: give the object a name"));
        }
        Ok(())
    }

    /// When an object was created, in seconds since the epoch.
    fn creation(&mut self, meta: &ObjectMeta) -> i64 {
        if meta.creation_timestamp.is_empty() {
            return UNDATED;
        }
        match meta.creation_timestamp.parse::<jiff::Timestamp>() {
            Ok(time) => time.as_second(),
            Err(_) => {
                self.warn(
                    "metadata.creationTimestamp",
                    "not a time such as 2026-01-31T12:00:00Z; the object counts as the youngest",
                );
                UNDATED
            }
        }
    }
}

/// Reads a type whole. Fields that it does not have are passed over: the types of Kubernetes objects hold few of them.
fn read<T: DeserializeOwned>(json: Json<'_>) -> Result<T, DecodeError> {
    match json {
        Json::Text(text) => match serde_json::from_str(text) {
            Ok(value) => Ok(value),
            // Read anew for the path of what is wrong: bad objects are rare.
            Err(_) => meltemi_api::object::decode(parse(text)?).map(|d| d.value),
        },
        Json::Value(value) => relaxed::decode(value).map(|d| d.value),
    }
}

fn parse(text: &str) -> Result<Value, DecodeError> {
    serde_json::from_str(text)
        .map_err(|e| DecodeError { field: String::new(), message: format!("not JSON: {e}") })
}

#[cfg(test)]
mod tests;

//! The fields of Istio's kinds, from the descriptors.
//!
//! A message that stands in several places is described where it is met first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use super::{repository, table::Table};

/// The kinds, by the messages that they are, in the order of the page.
pub const KINDS: [&str; 17] = [
    "istio.networking.v1alpha3.VirtualService",
    "istio.networking.v1alpha3.DestinationRule",
    "istio.networking.v1alpha3.Gateway",
    "istio.networking.v1alpha3.ServiceEntry",
    "istio.networking.v1alpha3.WorkloadEntry",
    "istio.networking.v1alpha3.WorkloadGroup",
    "istio.networking.v1alpha3.Sidecar",
    "istio.networking.v1alpha3.EnvoyFilter",
    "istio.security.v1beta1.PeerAuthentication",
    "istio.security.v1beta1.RequestAuthentication",
    "istio.security.v1beta1.AuthorizationPolicy",
    "istio.telemetry.v1alpha1.Telemetry",
    "istio.extensions.v1alpha1.WasmPlugin",
    "istio.extensions.v1alpha1.TrafficExtension",
    "istio.networking.v1beta1.ProxyConfig",
    "istio.mesh.v1alpha1.MeshConfig",
    "istio.mesh.v1alpha1.MeshNetworks",
];

/// One kind.
#[derive(Clone, Debug)]
pub struct KindFields {
    /// The message that it is.
    pub message: String,
    /// Its fields and those below them, each before what is below it.
    pub fields: Vec<Field>,
}

/// One field at its place.
#[derive(Clone, Debug)]
pub struct Field {
    /// Where it stands: `http[].match[].uri`; `[]` for a list, `{}` for a map.
    pub path: String,
    /// The message that it belongs to.
    pub message: String,
    /// Its JSON name.
    pub name: String,
    /// Whether the API calls it deprecated.
    pub deprecated: bool,
    /// Where its own message is described, if that is not here: the kind, and the path in it.
    pub described: Option<(String, String)>,
}

/// Reads the descriptors and walks all kinds.
///
/// # Errors
/// If the descriptors cannot be read.
pub fn kinds() -> Result<Vec<KindFields>> {
    let pool = pool()?;
    let mut walk = Walk::default();
    for kind in KINDS {
        walk.described.insert(kind.to_owned(), (kind.to_owned(), String::new()));
    }
    let mut kinds = Vec::new();
    for kind in KINDS {
        let message = pool.get_message_by_name(kind).with_context(|| format!("no message {kind}"))?;
        let mut fields = Vec::new();
        walk.message(kind, "", &message, &mut fields);
        kinds.push(KindFields { message: kind.to_owned(), fields });
    }
    Ok(kinds)
}

fn pool() -> Result<DescriptorPool> {
    let path = repository().join("api/descriptors/istio.binpb.gz");
    let mut raw = Vec::new();
    GzDecoder::new(File::open(path)?).read_to_end(&mut raw)?;
    Ok(DescriptorPool::decode(raw.as_slice())?)
}

/// What differs between the fields and a table of them: rows that are missing, and rows about nothing.
pub fn differences(kinds: &[KindFields], table: &Table) -> Vec<String> {
    let mut wanted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for field in kinds.iter().flat_map(|k| &k.fields) {
        wanted.insert((&field.message, &field.name), 0);
    }
    let mut problems = Vec::new();
    for (message, rows) in &table.sections {
        for row in rows {
            match wanted.get_mut(&(message.as_str(), row.name.as_str())) {
                None => problems.push(format!("[{message}] has no field {}", row.name)),
                Some(seen) => *seen += 1,
            }
        }
    }
    for ((message, name), seen) in wanted {
        match seen {
            0 => problems.push(format!("[{message}] lacks a row for {name}")),
            1 => {}
            _ => problems.push(format!("[{message}] has several rows for {name}")),
        }
    }
    problems
}

#[derive(Default)]
struct Walk {
    /// Messages that have their place: the kind, and the path in it.
    described: BTreeMap<String, (String, String)>,
}

impl Walk {
    fn message(&mut self, kind: &str, above: &str, message: &MessageDescriptor, out: &mut Vec<Field>) {
        let mut fields: Vec<FieldDescriptor> = message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        for field in fields {
            let suffix = if field.is_map() {
                "{}"
            } else if field.is_list() {
                "[]"
            } else {
                ""
            };
            let dot = if above.is_empty() { "" } else { "." };
            let path = format!("{above}{dot}{}{suffix}", field.json_name());
            let inner = inner(&field);
            let described = inner.as_ref().and_then(|m| self.described.get(m.full_name()).cloned());
            out.push(Field {
                path: path.clone(),
                message: message.full_name().to_owned(),
                name: field.json_name().to_owned(),
                deprecated: is_deprecated(&field),
                described: described.clone(),
            });
            if let (Some(inner), None) = (inner, described) {
                self.described.insert(inner.full_name().to_owned(), (kind.to_owned(), path.clone()));
                self.message(kind, &path, &inner, out);
            }
        }
    }
}

/// The message of Istio's own that a field holds.
fn inner(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        other => other,
    };
    let Kind::Message(message) = kind else { return None };
    message.full_name().starts_with("istio.").then_some(message)
}

fn is_deprecated(field: &FieldDescriptor) -> bool {
    field.field_descriptor_proto().options.as_ref().is_some_and(|o| o.deprecated())
}

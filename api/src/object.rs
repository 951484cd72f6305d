//! Reads one resource, and says of a bad one where it is wrong.
//!
//! What Istio reads is read here: a field that is null counts as not set, an unknown field is passed over but named.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// How many nulls are taken out one by one, each with a new attempt, before all are.
const SINGLE_NULLS: usize = 16;

/// A resource that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<T> {
    /// The resource.
    pub value: T,
    /// Paths of the fields that its type does not have, such as `http[0].rout`.
    pub unknown: Vec<String>,
}

/// A resource that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct DecodeError {
    /// Path of the field that does not fit, such as `http[0].timeout`; empty if it is the whole.
    pub field: String,
    /// What is wrong there.
    pub message: String,
}

impl DecodeError {
    /// The path of the field from the root of an object whose `spec` was read.
    pub fn field_of_spec(&self) -> String {
        under_spec(&self.field)
    }
}

/// A path in a `spec`, from the root of the object.
pub fn under_spec(path: &str) -> String {
    match path {
        "" => "spec".to_owned(),
        path if path.starts_with('[') => format!("spec{path}"),
        path => format!("spec.{path}"),
    }
}

/// Reads a resource, or a part of one such as its `spec`.
///
/// # Errors
/// If a field has the wrong type or no valid value, or two members of a oneof are set. The error names the field.
pub fn decode<T: DeserializeOwned>(mut json: Json) -> Result<Decoded<T>, DecodeError> {
    for _ in 0..SINGLE_NULLS {
        match attempt(&json) {
            Ok(decoded) => return Ok(decoded),
            // Nulls are rare, and in free-form fields they mean something, so only those in the way are taken out.
            Err((path, _)) if remove_null(&mut json, &path) => {}
            Err((path, message)) => return Err(DecodeError { field: show(&path), message }),
        }
    }
    remove_nulls(&mut json);
    attempt(&json).map_err(|(path, message)| DecodeError { field: show(&path), message })
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

fn attempt<T: DeserializeOwned>(json: &Json) -> Result<Decoded<T>, (Vec<Step>, String)> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(json, &mut track);
    let result = serde_ignored::deserialize(reader, |path| {
        let mut steps = Vec::new();
        ignored(&path, &mut steps);
        unknown.push(show(&steps));
    });
    match result {
        Ok(value) => Ok(Decoded { value, unknown }),
        Err(error) => Err((failed(&track.path()), error.to_string())),
    }
}

fn ignored(path: &serde_ignored::Path<'_>, out: &mut Vec<Step>) {
    use serde_ignored::Path;
    match path {
        Path::Root => {}
        Path::Seq { parent, index } => {
            ignored(parent, out);
            out.push(Step::Index(*index));
        }
        Path::Map { parent, key } => {
            ignored(parent, out);
            out.push(Step::Key(key.clone()));
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            ignored(parent, out);
        }
    }
}

fn failed(path: &serde_path_to_error::Path) -> Vec<Step> {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn show(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Index(index) => out.push_str(&format!("[{index}]")),
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
        }
    }
    out
}

/// Takes out the member at `path` if it is null; whether it did.
fn remove_null(json: &mut Json, path: &[Step]) -> bool {
    let Some((Step::Key(last), parents)) = path.split_last() else { return false };
    let parent = parents.iter().try_fold(json, |at, step| match step {
        Step::Key(key) => at.get_mut(key),
        Step::Index(index) => at.get_mut(index),
    });
    let Some(Json::Object(members)) = parent else { return false };
    members.get(last).is_some_and(Json::is_null) && members.remove(last).is_some()
}

fn remove_nulls(json: &mut Json) {
    match json {
        Json::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        Json::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::networking::v1alpha3::{
        DestinationRule, EnvoyFilter, VirtualService, client_tls_settings::TlSmode, string_match::MatchType,
    };
    use crate::wkt::Duration;
    use serde_json::json;

    fn route(http: Json) -> Result<Decoded<VirtualService>, DecodeError> {
        decode(json!({"hosts": ["a"], "http": [http]}))
    }

    fn tls_mode(mode: Json) -> Result<TlSmode, DecodeError> {
        let json = json!({"host": "a", "trafficPolicy": {"tls": {"mode": mode}}});
        let rule = decode::<DestinationRule>(json)?.value;
        Ok(rule.traffic_policy.and_then(|p| p.tls).unwrap_or_default().mode())
    }

    #[test]
    fn a_wrong_type_is_named_by_its_path() {
        let error = route(json!({"retries": {"attempts": []}})).unwrap_err();
        assert_eq!(error.field, "http[0].retries.attempts");
        let error = route(json!({"match": "a"})).unwrap_err();
        assert!(error.to_string().starts_with("http[0].match: invalid type"), "{error}");
        assert_eq!(decode::<VirtualService>(json!([])).unwrap_err().field, "");
    }

    #[test]
    fn unknown_fields_are_named_and_passed_over() {
        let decoded = route(json!({"rout": 1, "retries": {"attempts": 2, "often": {"a": 1}}})).unwrap();
        assert_eq!(decoded.unknown, ["http[0].retries.often", "http[0].rout"]);
        assert_eq!(decoded.value.http[0].retries.as_ref().unwrap().attempts, 2);
    }

    #[test]
    fn durations_are_those_of_go() {
        let timeout = |text: &str| route(json!({"timeout": text})).map(|d| d.value.http[0].timeout);
        assert_eq!(timeout("1.5s"), Ok(Some(Duration { seconds: 1, nanos: 500_000_000 })));
        assert_eq!(timeout("2m"), Ok(Some(Duration { seconds: 120, nanos: 0 })));
        let error = timeout("soon").unwrap_err();
        assert_eq!(error.field, "http[0].timeout");
        assert!(error.message.contains("soon"), "{error}");
    }

    #[test]
    fn enums_are_names_or_numbers() {
        assert_eq!(tls_mode(json!("ISTIO_MUTUAL")), Ok(TlSmode::IstioMutual));
        assert_eq!(tls_mode(json!(2)), Ok(TlSmode::Mutual));
        assert_eq!(tls_mode(Json::Null), Ok(TlSmode::Disable));
        assert_eq!(tls_mode(json!("TELEPATHY")).unwrap_err().field, "trafficPolicy.tls.mode");
    }

    #[test]
    fn names_are_camel_case_or_of_the_proto() {
        let camel: DestinationRule = decode(json!({"exportTo": ["."]})).unwrap().value;
        assert_eq!(camel, decode(json!({"export_to": ["."]})).unwrap().value);
    }

    #[test]
    fn a_oneof_has_one_member() {
        let uri = |uri: Json| route(json!({"match": [{"uri": uri}]}));
        let prefix = uri(json!({"prefix": "/a"})).unwrap().value;
        let matched = prefix.http[0].r#match[0].uri.as_ref().and_then(|m| m.match_type.as_ref());
        assert_eq!(matched, Some(&MatchType::Prefix("/a".into())));
        assert!(uri(json!({"prefix": "/a", "exact": "/b"})).is_err());
    }

    #[test]
    fn null_is_not_set() {
        let policy = json!({"host": "a", "subsets": null, "trafficPolicy": {
            "connectionPool": {"tcp": {"maxConnections": null}, "http": null},
            "outlierDetection": {"consecutive5xxErrors": null}}});
        let rule = decode::<DestinationRule>(policy).unwrap().value;
        assert!(rule.subsets.is_empty());
        let detection = rule.traffic_policy.and_then(|p| p.outlier_detection).unwrap();
        assert_eq!(detection.consecutive_5xx_errors, None);
        let many = vec![json!({"name": null}); 100];
        assert_eq!(decode::<DestinationRule>(json!({"subsets": many})).unwrap().value.subsets.len(), 100);
    }

    #[test]
    fn free_form_values_keep_their_nulls() {
        let filter = json!({"targetRefs": null, "configPatches": [
            {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {"a": null, "n": 1}}}]});
        let filter = decode::<EnvoyFilter>(filter).unwrap();
        assert!(filter.unknown.is_empty());
        let value = filter.value.config_patches[0].patch.as_ref().and_then(|p| p.value.as_ref()).unwrap();
        assert_eq!(serde_json::to_value(value).unwrap(), json!({"a": null, "n": 1.0}));
    }
}

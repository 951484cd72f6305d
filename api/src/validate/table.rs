//! Table tests of rules.

use super::{Findings, Validate};
use crate::k8s::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What it is, the `spec`, and the fields of its errors and warnings.
pub(super) struct Row(pub &'static str, pub Value, pub &'static [&'static str], pub &'static [&'static str]);

/// Checks each row of specs of a kind.
pub(super) fn check<T: Validate + DeserializeOwned>(rows: &[Row]) {
    for Row(what, spec, errors, warnings) in rows {
        let found = of::<T>(&meta(&[]), spec.clone());
        assert_eq!(fields(&found), (errors.to_vec(), warnings.to_vec()), "{what}: {spec}: {found:?}");
    }
}

/// What is found of a `spec`.
pub(super) fn of<T: Validate + DeserializeOwned>(meta: &ObjectMeta, spec: Value) -> Findings {
    let spec: T = crate::object::decode(spec).expect("the spec fits its type").value;
    super::object(meta, &spec)
}

/// Metadata with annotations.
pub(super) fn meta(annotations: &[(&str, &str)]) -> ObjectMeta {
    let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    ObjectMeta { name: "name".into(), namespace: "ns".into(), annotations, ..ObjectMeta::default() }
}

/// The fields of errors and of warnings.
pub(super) fn fields(found: &Findings) -> (Vec<&str>, Vec<&str>) {
    (
        found.errors.iter().map(|f| f.field.as_str()).collect(),
        found.warnings.iter().map(|f| f.field.as_str()).collect(),
    )
}

//! `google.protobuf.Struct` and `Value`: conversions between JSON, Istio's API and Envoy's.

use prost_types::value::Kind;
use serde_json::Value as Json;

/// A `Struct` of Istio's API for an Envoy message.
pub fn to_prost_struct(value: &pbjson_types::Struct) -> prost_types::Struct {
    prost_types::Struct { fields: value.fields.iter().map(|(k, v)| (k.clone(), to_prost_value(v))).collect() }
}

/// A `Value` of Istio's API for an Envoy message.
pub fn to_prost_value(value: &pbjson_types::Value) -> prost_types::Value {
    use pbjson_types::value::Kind as From;
    let kind = value.kind.as_ref().map(|kind| match kind {
        From::NullValue(_) => Kind::NullValue(0),
        From::NumberValue(n) => Kind::NumberValue(*n),
        From::StringValue(s) => Kind::StringValue(s.clone()),
        From::BoolValue(b) => Kind::BoolValue(*b),
        From::StructValue(s) => Kind::StructValue(to_prost_struct(s)),
        From::ListValue(l) => {
            Kind::ListValue(prost_types::ListValue { values: l.values.iter().map(to_prost_value).collect() })
        }
    });
    prost_types::Value { kind }
}

/// A JSON object as `google.protobuf.Struct`, by the rules of [`json_to_value`].
pub fn json_to_struct(map: &serde_json::Map<String, Json>) -> prost_types::Struct {
    prost_types::Struct { fields: map.iter().map(|(k, v)| (k.clone(), json_to_value(v))).collect() }
}

/// A JSON value as `google.protobuf.Value`. A number that a double can't hold exactly is rounded, as protobuf rules.
pub fn json_to_value(value: &Json) -> prost_types::Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(b) => Kind::BoolValue(*b),
        Json::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or(f64::NAN)),
        Json::String(s) => Kind::StringValue(s.clone()),
        Json::Array(list) => {
            Kind::ListValue(prost_types::ListValue { values: list.iter().map(json_to_value).collect() })
        }
        Json::Object(map) => Kind::StructValue(json_to_struct(map)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// A `Struct` of an Envoy message (such as a node's metadata) as a JSON object.
///
/// Whole numbers are given as integers, so that they read back into integer fields. A number JSON can't hold is null.
pub fn struct_to_json(value: &prost_types::Struct) -> Json {
    Json::Object(value.fields.iter().map(|(k, v)| (k.clone(), value_to_json(v))).collect())
}

/// A `Value` of an Envoy message as JSON, by the rules of [`struct_to_json`].
pub fn value_to_json(value: &prost_types::Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(b)) => Json::Bool(*b),
        Some(Kind::NumberValue(n)) => number_to_json(*n).unwrap_or(Json::Null),
        Some(Kind::StringValue(s)) => Json::String(s.clone()),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(value_to_json).collect()),
        Some(Kind::StructValue(fields)) => struct_to_json(fields),
    }
}

/// A double as JSON: an integer if it is whole, `None` if it is not finite.
pub(crate) fn number_to_json(n: f64) -> Option<Json> {
    /// Up to this size an integer has one double of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if n.fract() == 0.0 && n.abs() <= EXACT {
        return Some((n as i64).into());
    }
    serde_json::Number::from_f64(n).map(Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_survives_the_way_from_json_and_back() {
        let json = serde_json::json!({"a": [1, 2.5, null, {"b": "c"}], "d": true, "port": 15021});
        let of_istio: pbjson_types::Struct = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(struct_to_json(&to_prost_struct(&of_istio)), json);
        assert_eq!(value_to_json(&json_to_value(&json)), json);
    }

    #[test]
    fn a_number_that_json_cannot_hold_is_null() {
        let nan = prost_types::Value { kind: Some(Kind::NumberValue(f64::NAN)) };
        assert_eq!(value_to_json(&nan), Json::Null);
    }
}

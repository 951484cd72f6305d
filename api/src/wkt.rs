//! Well-known types: an `Any` that shares its payload, and conversions between the standard library and the two
//! protobuf families of the crate.
//!
//! Envoy's types use `prost_types`, Istio's use `pbjson_types`, since only the latter read proto3 JSON. Wrappers such as
//! `google.protobuf.UInt32Value` need no helper: in both families they are an `Option` of the wrapped type.

use std::time::Duration as StdDuration;

use bytes::Bytes;
use prost::{Message, Name};

/// `google.protobuf.Any` with a shared payload: a clone is a reference, not a copy.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Any {
    /// Type of the message, as `type.googleapis.com/` and the message's full name.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Why an [`Any`] could not be read as the asked type.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It holds another type.
    #[error("the message is a {found}, not a {wanted}")]
    Type {
        /// Full name of the asked type.
        wanted: String,
        /// Full name of the type it holds.
        found: String,
    },
    /// Its payload is no encoding of that type.
    #[error("the payload is no valid {name}: {source}")]
    Payload {
        /// Full name of the type.
        name: String,
        /// What the decoder met.
        source: prost::DecodeError,
    },
}

impl Any {
    /// Encodes a message and names its type.
    pub fn pack<M: Message + Name>(message: &M) -> Self {
        Self { type_url: M::type_url(), value: message.encode_to_vec().into() }
    }

    /// An `Any` of a message that is encoded already; nothing is checked.
    pub fn from_encoded(type_url: impl Into<String>, value: Bytes) -> Self {
        Self { type_url: type_url.into(), value }
    }

    /// Full name of the message inside: the type URL's part after the last `/`.
    pub fn name(&self) -> &str {
        full_name(&self.type_url)
    }

    /// Whether it holds an `M`.
    pub fn is<M: Name>(&self) -> bool {
        self.name() == M::full_name()
    }

    /// Decodes the message inside.
    ///
    /// # Errors
    /// If it holds another type, or its payload can't be decoded.
    pub fn unpack<M: Message + Name + Default>(&self) -> Result<M, UnpackError> {
        if !self.is::<M>() {
            return Err(UnpackError::Type { wanted: M::full_name(), found: self.name().to_owned() });
        }
        M::decode(self.value.clone()).map_err(|source| UnpackError::Payload { name: M::full_name(), source })
    }
}

impl Name for Any {
    const NAME: &'static str = "Any";
    const PACKAGE: &'static str = "google.protobuf";

    fn full_name() -> String {
        "google.protobuf.Any".to_owned()
    }

    fn type_url() -> String {
        "type.googleapis.com/google.protobuf.Any".to_owned()
    }
}

/// A type URL's message name: what follows the last `/`.
pub fn full_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

/// A duration for an Envoy message. One longer than protobuf can hold becomes the longest.
pub fn duration(value: StdDuration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: value.subsec_nanos() as i32,
    }
}

/// Whole seconds for an Envoy message.
pub fn seconds(value: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: value, nanos: 0 }
}

/// Milliseconds for an Envoy message.
pub fn millis(value: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: value / 1000, nanos: (value % 1000) as i32 * 1_000_000 }
}

/// A duration of Istio's API for an Envoy message, unchanged.
pub fn to_prost_duration(value: &pbjson_types::Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: value.seconds, nanos: value.nanos }
}

/// A duration of Istio's API as the standard library's; a negative one is `None`.
pub fn to_std_duration(value: &pbjson_types::Duration) -> Option<StdDuration> {
    let seconds = u64::try_from(value.seconds).ok()?;
    let nanos = u32::try_from(value.nanos).ok()?;
    Some(StdDuration::new(seconds, 0) + StdDuration::from_nanos(nanos.into()))
}

/// A duration of an Envoy message as the standard library's; a negative one is `None`.
pub fn prost_to_std_duration(value: &prost_types::Duration) -> Option<StdDuration> {
    to_std_duration(&pbjson_types::Duration { seconds: value.seconds, nanos: value.nanos })
}

/// A `Struct` of Istio's API for an Envoy message.
pub fn to_prost_struct(value: &pbjson_types::Struct) -> prost_types::Struct {
    prost_types::Struct { fields: value.fields.iter().map(|(k, v)| (k.clone(), to_prost_value(v))).collect() }
}

/// A `Value` of Istio's API for an Envoy message.
pub fn to_prost_value(value: &pbjson_types::Value) -> prost_types::Value {
    use pbjson_types::value::Kind as From;
    use prost_types::value::Kind as To;
    let kind = value.kind.as_ref().map(|kind| match kind {
        From::NullValue(_) => To::NullValue(0),
        From::NumberValue(n) => To::NumberValue(*n),
        From::StringValue(s) => To::StringValue(s.clone()),
        From::BoolValue(b) => To::BoolValue(*b),
        From::StructValue(s) => To::StructValue(to_prost_struct(s)),
        From::ListValue(l) => {
            To::ListValue(prost_types::ListValue { values: l.values.iter().map(to_prost_value).collect() })
        }
    });
    prost_types::Value { kind }
}

/// A JSON value as `google.protobuf.Value`. A number that a double can't hold exactly is rounded, as protobuf rules.
pub fn json_to_value(value: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(b) => Kind::BoolValue(*b),
        Json::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or(f64::NAN)),
        Json::String(s) => Kind::StringValue(s.clone()),
        Json::Array(list) => {
            Kind::ListValue(prost_types::ListValue { values: list.iter().map(json_to_value).collect() })
        }
        Json::Object(map) => Kind::StructValue(prost_types::Struct {
            fields: map.iter().map(|(k, v)| (k.clone(), json_to_value(v))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

/// A `Struct` of an Envoy message (such as a node's metadata) as a JSON object.
///
/// Whole numbers are given as integers, so that they read back into integer fields. A number JSON can't hold is null.
pub fn struct_to_json(value: &prost_types::Struct) -> serde_json::Map<String, serde_json::Value> {
    value.fields.iter().map(|(k, v)| (k.clone(), value_to_json(v))).collect()
}

/// A `Value` of an Envoy message as JSON, by the rules of [`struct_to_json`].
pub fn value_to_json(value: &prost_types::Value) -> serde_json::Value {
    use prost_types::value::Kind;
    use serde_json::Value as Json;
    /// Integers up to this size have one exact double each.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(b)) => Json::Bool(*b),
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() <= EXACT => (*n as i64).into(),
        Some(Kind::NumberValue(n)) => serde_json::Number::from_f64(*n).map_or(Json::Null, Json::Number),
        Some(Kind::StringValue(s)) => Json::String(s.clone()),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(value_to_json).collect()),
        Some(Kind::StructValue(fields)) => Json::Object(struct_to_json(fields)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::config::listener::v3::Listener;

    #[test]
    fn any_names_the_canonical_type_url() {
        let any = Any::pack(&Cluster { name: "a".into(), ..Default::default() });
        assert_eq!(any.type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
        assert_eq!(any.unpack::<Cluster>().unwrap().name, "a");
        assert!(matches!(any.unpack::<Listener>(), Err(UnpackError::Type { .. })));
    }

    #[test]
    fn any_is_encoded_as_the_standard_one() {
        let ours = Any::pack(&Cluster { name: "a".into(), ..Default::default() });
        let theirs = prost_types::Any {
            type_url: ours.type_url.clone(),
            value: ours.value.to_vec(),
            ..Default::default()
        };
        assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
    }

    #[test]
    fn a_broken_payload_is_told_apart_from_a_wrong_type() {
        let any = Any::from_encoded(Cluster::type_url(), Bytes::from_static(&[0xff]));
        assert!(matches!(any.unpack::<Cluster>(), Err(UnpackError::Payload { .. })));
    }

    #[test]
    fn durations_convert() {
        assert_eq!(millis(1500), duration(StdDuration::from_millis(1500)));
        let back = to_std_duration(&pbjson_types::Duration { seconds: 1, nanos: 5 });
        assert_eq!(back, Some(StdDuration::new(1, 5)));
        assert_eq!(to_std_duration(&pbjson_types::Duration { seconds: -1, nanos: 0 }), None);
    }

    #[test]
    fn a_struct_survives_the_way_from_json_and_back() {
        let json = serde_json::json!({"a": [1, 2.5, null, {"b": "c"}], "d": true, "port": 15021});
        let as_istio: pbjson_types::Struct = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::Value::Object(struct_to_json(&to_prost_struct(&as_istio))), json);
        assert_eq!(value_to_json(&json_to_value(&json)), json);
    }
}

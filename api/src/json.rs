//! Proto3 JSON of any message that Envoy and Istio's proxies know.
//!
//! A message is named by its type URL, so that a dump needs no generated type. An `Any` prints as its message with
//! `@type`; one that can't be read prints as base64, since a dump that fails on one resource helps nobody.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage,
    Value,
};
use serde_json::{Map, Value as Json};

use crate::reflect;
use crate::wkt::{self, Any, full_name};

pub use crate::reflect::pool;

/// Why a message could not be turned to JSON or back.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// No descriptor has this name.
    #[error("the message type {0} is unknown")]
    UnknownType(String),
    /// The bytes are no encoding of the type.
    #[error("the bytes are no valid {name}: {source}")]
    Decode {
        /// Full name of the type.
        name: String,
        /// What the decoder met.
        source: prost::DecodeError,
    },
    /// The JSON does not fit the type.
    #[error("the JSON is no valid {name}: {message}")]
    Json {
        /// Full name of the type.
        name: String,
        /// What is wrong, with the place where known.
        message: String,
    },
}

/// What to do with a JSON field that the message does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// Pass over it, as a reader of resources does.
    Ignore,
    /// Fail, as a validating webhook does.
    Deny,
}

/// An encoded message as JSON: camelCase names, defaults left out, an `Any` as its message with `@type`.
///
/// # Errors
/// If the type is unknown or the bytes are no message of it. An `Any` inside never fails: if it can't be read, it is
/// `{"@type": …, "value": base64 of its payload}`.
pub fn to_json(type_url: &str, bytes: &[u8]) -> Result<Json, JsonError> {
    let message = DynamicMessage::decode(descriptor(type_url)?, bytes)
        .map_err(|source| JsonError::Decode { name: full_name(type_url).to_owned(), source })?;
    Ok(message_to_json(&message))
}

/// An `Any` as JSON; one that can't be read is given as base64.
pub fn any_to_json(any: &Any) -> Json {
    let mut out = Map::new();
    if !any.type_url.is_empty() {
        out.insert("@type".to_owned(), any.type_url.clone().into());
    }
    match reflect::unpack(any).map(|message| (is_special(&message), message_to_json(&message))) {
        Some((false, Json::Object(fields))) => out.extend(fields),
        Some((_, value)) => {
            out.insert("value".to_owned(), value);
        }
        None if any.value.is_empty() => {}
        None => {
            out.insert("value".to_owned(), BASE64_STANDARD.encode(&any.value).into());
        }
    }
    Json::Object(out)
}

/// JSON as an encoded message; maps are in the order of their keys.
///
/// # Errors
/// If the type is unknown, also that of an `Any` inside, or the JSON does not fit it.
pub fn from_json(type_url: &str, json: Json, unknown: UnknownFields) -> Result<Bytes, JsonError> {
    message_from_json(&descriptor(type_url)?, json, unknown).map(|message| reflect::encode(&message))
}

/// JSON as a message of this descriptor.
///
/// # Errors
/// If the JSON does not fit, or an `Any` inside names an unknown type.
pub fn message_from_json(
    descriptor: &MessageDescriptor,
    json: Json,
    unknown: UnknownFields,
) -> Result<DynamicMessage, JsonError> {
    let options = DeserializeOptions::new().deny_unknown_fields(unknown == UnknownFields::Deny);
    let mut track = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(json, &mut track);
    DynamicMessage::deserialize_with_options(descriptor.clone(), reader, &options).map_err(|error| {
        let path = track.path().to_string();
        let message = if path == "." { error.to_string() } else { format!("{path}: {error}") };
        JsonError::Json { name: descriptor.full_name().to_owned(), message }
    })
}

fn descriptor(type_url: &str) -> Result<MessageDescriptor, JsonError> {
    reflect::descriptor(type_url).ok_or_else(|| JsonError::UnknownType(full_name(type_url).to_owned()))
}

/// A message as JSON, by the rules of [`to_json`].
pub fn message_to_json(message: &DynamicMessage) -> Json {
    match message.descriptor().full_name() {
        "google.protobuf.Any" => message.transcode_to::<Any>().map_or(Json::Null, |any| any_to_json(&any)),
        "google.protobuf.Struct" => {
            message.transcode_to().map_or(Json::Null, |s: prost_types::Struct| wkt::struct_to_json(&s))
        }
        "google.protobuf.Value" => {
            message.transcode_to().map_or(Json::Null, |v: prost_types::Value| wkt::value_to_json(&v))
        }
        "google.protobuf.ListValue" => {
            message.transcode_to().map_or(Json::Null, |l: prost_types::ListValue| {
                Json::Array(l.values.iter().map(wkt::value_to_json).collect())
            })
        }
        name if is_wrapper(name) => match message.descriptor().get_field(1) {
            Some(field) => scalar(&field.kind(), &message.get_field(&field)),
            None => Json::Null,
        },
        // Durations, timestamps, masks. One out of range is shown by its fields instead.
        _ if is_special(message) => serde_json::to_value(message).unwrap_or_else(|_| fields_to_json(message)),
        _ => fields_to_json(message),
    }
}

fn is_wrapper(name: &str) -> bool {
    name.starts_with("google.protobuf.") && name.ends_with("Value")
}

/// Whether JSON has a form of its own for this type, which inside an `Any` stands under `value`.
fn is_special(message: &DynamicMessage) -> bool {
    let descriptor = message.descriptor();
    is_wrapper(descriptor.full_name())
        || matches!(
            descriptor.full_name(),
            "google.protobuf.Any"
                | "google.protobuf.Duration"
                | "google.protobuf.Empty"
                | "google.protobuf.FieldMask"
                | "google.protobuf.Struct"
                | "google.protobuf.Timestamp"
        )
}

fn fields_to_json(message: &DynamicMessage) -> Json {
    Json::Object(
        message.fields().map(|(field, v)| (field.json_name().to_owned(), field_to_json(&field, v))).collect(),
    )
}

fn field_to_json(field: &FieldDescriptor, value: &Value) -> Json {
    let kind = field.kind();
    match value {
        Value::List(list) => Json::Array(list.iter().map(|item| scalar(&kind, item)).collect()),
        Value::Map(map) => {
            let value_kind = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
            let value_kind = value_kind.unwrap_or(kind);
            Json::Object(map.iter().map(|(k, v)| (key(k), scalar(&value_kind, v))).collect())
        }
        single => scalar(&kind, single),
    }
}

fn key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(v) => v.to_string(),
        MapKey::I32(v) => v.to_string(),
        MapKey::I64(v) => v.to_string(),
        MapKey::U32(v) => v.to_string(),
        MapKey::U64(v) => v.to_string(),
        MapKey::String(v) => v.clone(),
    }
}

fn scalar(kind: &Kind, value: &Value) -> Json {
    match value {
        Value::Bool(v) => (*v).into(),
        Value::I32(v) => (*v).into(),
        Value::U32(v) => (*v).into(),
        // Of 64 bits as text, since many JSON readers would round them.
        Value::I64(v) => v.to_string().into(),
        Value::U64(v) => v.to_string().into(),
        // By way of its text, so that 0.1 is not 0.10000000149011612.
        Value::F32(v) => float(v.to_string().parse().unwrap_or(f64::from(*v))),
        Value::F64(v) => float(*v),
        Value::String(v) => v.as_str().into(),
        Value::Bytes(v) => BASE64_STANDARD.encode(v).into(),
        Value::EnumNumber(number) => match kind.as_enum() {
            Some(e) if e.full_name() == "google.protobuf.NullValue" => Json::Null,
            Some(e) => e.get_value(*number).map_or_else(|| (*number).into(), |v| v.name().into()),
            None => (*number).into(),
        },
        Value::Message(inner) => message_to_json(inner),
        // A list or a map never stands inside a list or a map.
        Value::List(_) | Value::Map(_) => Json::Null,
    }
}

fn float(value: f64) -> Json {
    wkt::number_to_json(value).unwrap_or_else(|| {
        let text = match value {
            v if v.is_nan() => "NaN",
            v if v > 0.0 => "Infinity",
            _ => "-Infinity",
        };
        text.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::cluster::v3::{Cluster, cluster};
    use crate::envoy::config::core::v3::{TransportSocket, transport_socket};
    use crate::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
    use prost::{Message, Name};
    use serde_json::json;

    const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

    fn with_any(any: Any) -> Vec<u8> {
        let socket = TransportSocket {
            name: "s".into(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(any)),
        };
        Cluster { transport_socket: Some(socket), ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn a_cluster_goes_to_json_and_back() {
        let cluster = Cluster {
            name: "outbound|80||a.b".into(),
            connect_timeout: Some(wkt::millis(10_500)),
            per_connection_buffer_limit_bytes: Some(32_768),
            common_lb_config: Some(cluster::CommonLbConfig {
                healthy_panic_threshold: Some(crate::envoy::r#type::v3::Percent { value: 10.0 }),
                ..Default::default()
            }),
            cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
                cluster::DiscoveryType::Eds.into(),
            )),
            transport_socket: Some(TransportSocket {
                name: "raw".into(),
                config_type: Some(transport_socket::ConfigType::TypedConfig(Any::pack(&RawBuffer {}))),
            }),
            ..Default::default()
        };
        let json = to_json(CLUSTER, &cluster.encode_to_vec()).unwrap();
        assert_eq!(
            json,
            json!({
                "name": "outbound|80||a.b", "connectTimeout": "10.500s", "perConnectionBufferLimitBytes": 32768,
                "commonLbConfig": {"healthyPanicThreshold": {"value": 10}}, "type": "EDS",
                "transportSocket": {"name": "raw", "typedConfig": {"@type": RawBuffer::type_url()}},
            })
        );
        let back = from_json(CLUSTER, json, UnknownFields::Deny).unwrap();
        assert_eq!(back, cluster.encode_to_vec());
    }

    #[test]
    fn an_any_that_cannot_be_read_is_base64() {
        let strange = Any::from_encoded("type.googleapis.com/no.such.Type", Bytes::from_static(b"abc"));
        let json = to_json(CLUSTER, &with_any(strange)).unwrap();
        let want = json!({"@type": "type.googleapis.com/no.such.Type", "value": "YWJj"});
        assert_eq!(json["transportSocket"]["typedConfig"], want);
        let damaged = Any::from_encoded(CLUSTER, Bytes::from_static(&[0xff]));
        assert_eq!(any_to_json(&damaged), json!({"@type": CLUSTER, "value": "/w=="}));
    }

    #[test]
    fn a_well_known_type_in_an_any_stands_under_value() {
        let any = Any::from_encoded(
            "type.googleapis.com/google.protobuf.StringValue",
            prost_types::Value::default().encode_to_vec().into(),
        );
        assert_eq!(any_to_json(&any)["value"], json!(""));
        let duration = Any::from_encoded(
            "type.googleapis.com/google.protobuf.Duration",
            wkt::seconds(3).encode_to_vec().into(),
        );
        assert_eq!(any_to_json(&duration)["value"], json!("3s"));
    }

    #[test]
    fn a_wrong_field_is_named() {
        let error =
            from_json(CLUSTER, json!({"lbConfig": {}, "name": 7}), UnknownFields::Ignore).unwrap_err();
        assert!(error.to_string().contains("name: "), "{error}");
        from_json(CLUSTER, json!({"noSuchField": {}}), UnknownFields::Ignore).unwrap();
        let error = from_json(CLUSTER, json!({"noSuchField": {}}), UnknownFields::Deny).unwrap_err();
        assert!(error.to_string().contains("noSuchField"), "{error}");
        assert!(
            matches!(to_json("a/no.such.Type", &[]), Err(JsonError::UnknownType(name)) if name == "no.such.Type")
        );
    }

    #[test]
    fn numbers_that_came_through_a_struct_fit_integer_fields() {
        let json = json!({"perConnectionBufferLimitBytes": 5.0, "connect_timeout": "1s"});
        let bytes = from_json(CLUSTER, json, UnknownFields::Deny).unwrap();
        assert_eq!(Cluster::decode(bytes).unwrap().per_connection_buffer_limit_bytes, Some(5));
    }
}

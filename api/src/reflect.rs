//! Messages of any type that Envoy and Istio's proxies know, by descriptor instead of by generated type.
//!
//! Unpacking the descriptors takes a quarter of a second and some 17 MiB, so it is done when first asked for: by a
//! patch of an `EnvoyFilter` or a request for a dump.

use std::io::Read;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::read::GzDecoder;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use crate::wkt::{Any, full_name};

static DESCRIPTORS: &[u8] = include_bytes!("../descriptors/envoy.binpb.gz");

/// The descriptors of every type, unpacked by the first call.
///
/// # Panics
/// If the descriptors built into the program are damaged; a test reads them.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut raw = Vec::new();
        GzDecoder::new(DESCRIPTORS).read_to_end(&mut raw).expect("descriptors unpack");
        DescriptorPool::decode(raw.as_slice()).expect("descriptors are complete")
    })
}

/// The descriptor of a type URL (or a plain full name), `None` if nobody defines it.
pub fn descriptor(type_url: &str) -> Option<MessageDescriptor> {
    pool().get_message_by_name(full_name(type_url))
}

/// Decodes an `Any`, `None` if its type is unknown or its payload is damaged.
pub fn unpack(any: &Any) -> Option<DynamicMessage> {
    DynamicMessage::decode(descriptor(&any.type_url)?, any.value.clone()).ok()
}

/// Packs a message into an `Any` of canonical bytes, see [`encode`].
pub fn pack(message: &DynamicMessage) -> Any {
    let type_url = format!("type.googleapis.com/{}", message.descriptor().full_name());
    Any { type_url, value: encode(message) }
}

/// Encodes a message so that equal messages have equal bytes.
///
/// [`DynamicMessage`] keeps a map in the order of a hash with a random seed, and so would its own encoding. Here map
/// entries are in the order of their keys, as in the generated types, also inside an `Any` of a known type.
pub fn encode(message: &DynamicMessage) -> Bytes {
    let mut out = Vec::with_capacity(message.encoded_len());
    write_message(message, &mut out);
    out.into()
}

fn write_message(message: &DynamicMessage, out: &mut Vec<u8>) {
    if message.descriptor().full_name() == "google.protobuf.Any"
        && let Ok(mut any) = message.transcode_to::<Any>()
        && let Some(inner) = unpack(&any)
    {
        any.value = encode(&inner);
        any.encode_raw(out);
        return;
    }
    // One field at a time, so that each can be left to the library unless a map may hide in it.
    for (field, value) in message.fields() {
        write_field(message, &field, value, out);
    }
    let mut rest = DynamicMessage::new(message.descriptor());
    for (extension, value) in message.extensions() {
        rest.set_extension(&extension, value.clone());
    }
    rest.encode_raw(out);
    for unknown in message.unknown_fields() {
        unknown.encode(out);
    }
}

pub(crate) fn write_field(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
) {
    match value {
        Value::Map(entries) => {
            let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let kind = field.kind();
            let Some(entry) = kind.as_message() else { return };
            for (key, value) in entries {
                let mut one = DynamicMessage::new(entry.clone());
                one.set_field(&entry.map_entry_key_field(), key.clone().into());
                one.set_field(&entry.map_entry_value_field(), value.clone());
                write_embedded(field, &one, out);
            }
        }
        Value::Message(inner) => write_embedded(field, inner, out),
        Value::List(list) if field.kind().as_message().is_some() => {
            list.iter().filter_map(Value::as_message).for_each(|m| write_embedded(field, m, out));
        }
        _ => {
            let mut one = DynamicMessage::new(message.descriptor());
            one.set_field(field, value.clone());
            one.encode_raw(out);
        }
    }
}

fn write_embedded(field: &FieldDescriptor, inner: &DynamicMessage, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    write_message(inner, &mut payload);
    encode_key(field.number(), WireType::LengthDelimited, out);
    encode_varint(payload.len() as u64, out);
    out.extend_from_slice(&payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::config::core::v3::{Metadata, TransportSocket, transport_socket};
    use crate::wkt::json_to_struct;
    use prost::Name;

    fn metadata() -> Metadata {
        let json = serde_json::json!({"z": 1, "y": {"c": 1, "b": 2, "a": 3}, "x": [{"q": 1, "p": 2}]});
        let fields = json_to_struct(json.as_object().unwrap());
        let names = ["e", "d", "c", "b", "a"];
        Metadata {
            filter_metadata: names.iter().map(|n| ((*n).to_owned(), fields.clone())).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn canonical_bytes_are_those_of_the_generated_types() {
        let socket = TransportSocket {
            name: "s".into(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(Any::pack(&metadata()))),
        };
        let cluster = Cluster {
            name: "a".into(),
            metadata: Some(metadata()),
            transport_socket: Some(socket),
            ..Default::default()
        };
        let bytes = cluster.encode_to_vec();
        let dynamic =
            DynamicMessage::decode(descriptor(&Cluster::type_url()).unwrap(), bytes.as_slice()).unwrap();
        assert_eq!(encode(&dynamic), bytes);
        assert_eq!(pack(&dynamic).unpack::<Cluster>().unwrap(), cluster);
    }

    #[test]
    fn unknown_fields_and_types_stay() {
        let mut bytes = Cluster { name: "a".into(), ..Default::default() }.encode_to_vec();
        encode_key(99_999, WireType::Varint, &mut bytes);
        encode_varint(7, &mut bytes);
        let dynamic =
            DynamicMessage::decode(descriptor(&Cluster::type_url()).unwrap(), bytes.as_slice()).unwrap();
        assert_eq!(encode(&dynamic), bytes);
        let strange = Any::from_encoded("type.googleapis.com/no.such.Type", Bytes::from_static(b"x"));
        assert!(unpack(&strange).is_none());
    }

    #[test]
    fn istio_types_are_known() {
        for name in [
            "istio.networking.nds.v1.NameTable",
            "istio.workload.Address",
            "istio.security.Authorization",
            "stats.PluginConfig",
            "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
            "envoy.tcp.metadataexchange.config.MetadataExchange",
            "io.istio.http.peer_metadata.Config",
            "udpa.type.v1.TypedStruct",
            "xds.type.v3.TypedStruct",
        ] {
            assert!(descriptor(name).is_some(), "{name}");
        }
    }
}

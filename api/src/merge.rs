//! Merging of messages as Istio's EnvoyFilters do: what the patch sets wins, lists grow, messages merge field by field.
//!
//! That is how Protobuf reads a message from two encodings, one after the other, with one exception: a `Duration` is
//! replaced as a whole, so that 1 s merged into 0.5 s is not 1.5 s. A patch is therefore kept as an [`overlay`]: an
//! encoding that spells out both fields of its durations. Applying it costs no more than reading it.
//!
//! Source: Istio `pkg/proto/merge`, `pilot/pkg/networking/util` (`MergeAnyWithAny`).

use crate::reflect;
use crate::wkt::Any;
use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost::{DecodeError, Message, Name};
use prost_reflect::{DynamicMessage, ReflectMessage, Value};

/// What becomes of the lists that a patch sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// They are appended to those that are there (EnvoyFilter `MERGE`).
    Append,
    /// They replace those that are there, at any depth (EnvoyFilter `MERGE_AND_REPLACE_LIST`).
    Replace,
}

/// Encodes a patch for [`merge`].
pub fn overlay(patch: &DynamicMessage) -> Bytes {
    let mut out = Vec::with_capacity(patch.encoded_len());
    write(patch, &mut out);
    out.into()
}

/// Merges an [`overlay`] into a message.
///
/// # Errors
/// If the overlay is no encoding of an `M`; then `base` is as it was.
pub fn merge<M: Message + Name + Default + Clone>(
    base: &mut M,
    overlay: &Bytes,
    lists: Lists,
) -> Result<(), DecodeError> {
    let mut merged = match lists {
        Lists::Append => base.clone(),
        Lists::Replace => without_lists_of(base, overlay)?,
    };
    merged.merge(overlay.clone())?;
    *base = merged;
    Ok(())
}

/// The message inside `base`, merged with that inside `patch`; `None` if they are of different types, or of one that
/// nobody defines, or damaged.
pub fn merge_any(base: &Any, patch: &Any) -> Option<Any> {
    if base.name() != patch.name() {
        return None;
    }
    let mut message = reflect::unpack(base)?;
    message.merge(overlay(&reflect::unpack(patch)?)).ok()?;
    Some(reflect::pack(&message))
}

fn write(patch: &DynamicMessage, out: &mut Vec<u8>) {
    for (field, value) in patch.fields() {
        // Elements of lists and maps are new, so only single messages meet others.
        match value {
            Value::Message(inner) if inner.descriptor().full_name() != "google.protobuf.Any" => {
                let mut payload = Vec::new();
                if inner.descriptor().full_name() == "google.protobuf.Duration" {
                    write_whole(inner, &mut payload);
                } else {
                    write(inner, &mut payload);
                }
                encode_key(field.number(), WireType::LengthDelimited, out);
                encode_varint(payload.len() as u64, out);
                out.extend_from_slice(&payload);
            }
            _ => reflect::write_field(patch, &field, value, out),
        }
    }
    for unknown in patch.unknown_fields() {
        unknown.encode(out);
    }
}

/// Every field of a message of numbers, also those that are zero.
fn write_whole(message: &DynamicMessage, out: &mut Vec<u8>) {
    for field in message.descriptor().fields() {
        let number = match &*message.get_field(&field) {
            Value::I64(v) => *v,
            Value::I32(v) => i64::from(*v),
            _ => continue,
        };
        encode_key(field.number(), WireType::Varint, out);
        encode_varint(number as u64, out);
    }
}

fn without_lists_of<M: Message + Name + Default>(base: &M, overlay: &Bytes) -> Result<M, DecodeError> {
    let Some(descriptor) = reflect::descriptor(&M::full_name()) else {
        return M::decode(base.encode_to_vec().as_slice());
    };
    let mut dynamic = DynamicMessage::decode(descriptor.clone(), base.encode_to_vec().as_slice())?;
    clear_lists(&mut dynamic, &DynamicMessage::decode(descriptor, overlay.clone())?);
    M::decode(reflect::encode(&dynamic))
}

fn clear_lists(base: &mut DynamicMessage, patch: &DynamicMessage) {
    for (field, value) in patch.fields() {
        match value {
            Value::List(_) => base.clear_field(&field),
            Value::Message(inner) if base.has_field(&field) => {
                if let Value::Message(of_base) = base.get_field_mut(&field) {
                    clear_lists(of_base, inner);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::config::core::v3::Http2ProtocolOptions;
    use crate::json::{UnknownFields, message_from_json};
    use crate::wkt;
    use serde_json::json;

    fn patch(json: serde_json::Value) -> Bytes {
        let descriptor = reflect::descriptor(&Cluster::full_name()).unwrap();
        overlay(&message_from_json(&descriptor, json, UnknownFields::Ignore).unwrap())
    }

    fn merged(mut base: Cluster, json: serde_json::Value, lists: Lists) -> Cluster {
        merge(&mut base, &patch(json), lists).unwrap();
        base
    }

    #[test]
    fn a_duration_is_replaced_as_a_whole() {
        let base = Cluster { connect_timeout: Some(wkt::millis(500)), ..Default::default() };
        let one = merged(base.clone(), json!({"connect_timeout": "1s"}), Lists::Append);
        assert_eq!(one.connect_timeout, Some(wkt::seconds(1)));
        let half = merged(one, json!({"connect_timeout": "0.25s"}), Lists::Replace);
        assert_eq!(half.connect_timeout, Some(wkt::millis(250)));
        let any = |cluster: &Cluster| Any::pack(cluster);
        let patch = Cluster { connect_timeout: Some(wkt::seconds(2)), ..Default::default() };
        let of_any = merge_any(&any(&base), &any(&patch)).unwrap();
        assert_eq!(of_any.unpack::<Cluster>().unwrap(), patch);
    }

    #[test]
    fn what_the_patch_does_not_set_stays() {
        let base = Cluster { name: "a".into(), alt_stat_name: "b".into(), ..Default::default() };
        let out = merged(base, json!({"alt_stat_name": "c", "name": ""}), Lists::Append);
        assert_eq!((out.name.as_str(), out.alt_stat_name.as_str()), ("a", "c"));
    }

    #[test]
    #[allow(deprecated)]
    fn lists_grow_or_are_replaced() {
        let base = Cluster {
            http2_protocol_options: Some(Http2ProtocolOptions {
                hpack_table_size: Some(7),
                custom_settings_parameters: vec![Default::default()],
                ..Default::default()
            }),
            ..Default::default()
        };
        let json = json!({"http2_protocol_options": {"custom_settings_parameters": [{"identifier": 4}]}});
        let of = |lists| merged(base.clone(), json.clone(), lists).http2_protocol_options.unwrap();
        assert_eq!(of(Lists::Append).custom_settings_parameters.len(), 2);
        assert_eq!(of(Lists::Replace).custom_settings_parameters.len(), 1);
        assert_eq!(of(Lists::Replace).hpack_table_size, Some(7));
    }
}

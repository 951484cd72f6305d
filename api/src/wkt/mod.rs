//! Well-known types: an `Any` that shares its payload, and conversions between the standard library and the two
//! protobuf families of the crate.
//!
//! Envoy's types use `prost_types`. Istio's use `pbjson_types`, since only those read proto3 JSON, and [`Duration`],
//! which reads what Istio reads. Wrappers such as `google.protobuf.UInt32Value` need no helper: everywhere they are an
//! `Option` of the wrapped type.

mod duration;
mod structs;

pub use duration::{
    Duration, duration, millis, prost_to_std_duration, seconds, to_prost_duration, to_std_duration,
};
pub(crate) use structs::number_to_json;
pub use structs::{
    json_to_struct, json_to_value, struct_to_json, to_prost_struct, to_prost_value, value_to_json,
};

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
        let theirs = prost_types::Any { type_url: ours.type_url.clone(), value: ours.value.to_vec() };
        assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
    }

    #[test]
    fn a_broken_payload_is_told_apart_from_a_wrong_type() {
        let any = Any::from_encoded(Cluster::type_url(), Bytes::from_static(&[0xff]));
        assert!(matches!(any.unpack::<Cluster>(), Err(UnpackError::Payload { .. })));
    }
}

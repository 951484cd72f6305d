//! Requests from the wire, and responses onto it.
//!
//! A response is written as a sequence of chunks, made when the transport asks for them: small resources are copied into
//! a chunk, large ones are a chunk of their own that shares the resource's bytes. So a stream that is stuck in a large
//! response holds some pointers and one chunk, where gRPC's usual way holds a copy of all of it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use meltemi_api::envoy::config::core::v3::Node;
use meltemi_api::envoy::service::discovery::v3 as discovery;
use meltemi_api::google::rpc;
use meltemi_distribution::{Ask, Protocol, Request, Resource, Response, version_text};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// How much is gathered before a chunk is handed to the transport: one HTTP/2 frame of the usual size.
const CHUNK: usize = 16 * 1024;

/// From which size on a resource is worth a chunk of its own.
const LARGE: usize = 4 * 1024;

/// The largest chunk. The transport takes a chunk whole, whatever room it has, and then asks for the next: with larger ones
/// it would have the next response made before the client took this one.
const SLICE: usize = 64 * 1024;

/// The length of a gRPC message's prefix.
const PREFIX: usize = 5;

/// A request of either variant of the protocol.
pub(crate) trait Incoming: Message + Default + 'static {
    /// The variant.
    const PROTOCOL: Protocol;
    /// The type that it is about.
    fn type_url(&self) -> &str;
    /// Takes out who asks.
    fn take_node(&mut self) -> Option<Node>;
    /// Why a response was rejected, or what else the client reports.
    fn error(&self) -> Option<&rpc::Status>;
    /// The names that are asked for.
    fn names(&self) -> &[String];
    /// What it says, free of the wire's types.
    fn into_request(self) -> Request;
}

impl Incoming for discovery::DeltaDiscoveryRequest {
    const PROTOCOL: Protocol = Protocol::Delta;

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn error(&self) -> Option<&rpc::Status> {
        self.error_detail.as_ref()
    }

    fn names(&self) -> &[String] {
        &self.resource_names_subscribe
    }

    fn into_request(self) -> Request {
        Request {
            type_url: self.type_url,
            nonce: self.response_nonce,
            error: self.error_detail.map(|e| e.message),
            ask: Ask::Delta {
                subscribe: self.resource_names_subscribe,
                unsubscribe: self.resource_names_unsubscribe,
                known: self.initial_resource_versions.into_iter().collect(),
            },
        }
    }
}

impl Incoming for discovery::DiscoveryRequest {
    const PROTOCOL: Protocol = Protocol::Sotw;

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn error(&self) -> Option<&rpc::Status> {
        self.error_detail.as_ref()
    }

    fn names(&self) -> &[String] {
        &self.resource_names
    }

    fn into_request(self) -> Request {
        Request {
            type_url: self.type_url,
            nonce: self.response_nonce,
            error: self.error_detail.map(|e| e.message),
            ask: Ask::Sotw { names: self.resource_names },
        }
    }
}

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    protocol: Protocol,
    type_url: Arc<str>,
    resources: std::vec::IntoIter<Arc<Resource>>,
    gathered: BytesMut,
    large: Option<Bytes>,
    /// The size of the message.
    pub(crate) size: usize,
}

impl Outgoing {
    /// A response of the state machine.
    pub(crate) fn response(protocol: Protocol, response: Response) -> Self {
        let Response { type_url, version, nonce, resources, removed } = response;
        let version = version_text(version);
        let mut head = vec![(VERSION, &*version), (TYPE_URL, &*type_url), (NONCE, &*nonce)];
        // The other variant has no field for it.
        head.extend(removed.iter().filter(|_| protocol == Protocol::Delta).map(|name| (REMOVED, &**name)));

        let head_size: usize = head.iter().map(|(tag, text)| field_len(*tag, text.len())).sum();
        let body_size: usize =
            resources.iter().map(|r| field_len(RESOURCES, Layout::of(protocol, &type_url, r).size)).sum();
        let size = head_size + body_size;
        let mut gathered = BytesMut::with_capacity(CHUNK.min(PREFIX + size).max(PREFIX + head_size));
        put_prefix(&mut gathered, size);
        for (tag, text) in head {
            put_bytes(&mut gathered, tag, text.as_bytes());
        }
        Self { protocol, type_url, resources: resources.into_iter(), gathered, large: None, size }
    }

    /// Any other message.
    pub(crate) fn message(message: &impl Message) -> Self {
        let size = message.encoded_len();
        let mut gathered = BytesMut::with_capacity(PREFIX + size);
        put_prefix(&mut gathered, size);
        gathered.put(message.encode_to_vec().as_slice());
        Self {
            protocol: Protocol::Delta,
            type_url: "".into(),
            resources: Vec::new().into_iter(),
            gathered,
            large: None,
            size,
        }
    }

    /// The next chunk, or nothing once all is written.
    pub(crate) fn chunk(&mut self) -> Option<Bytes> {
        if let Some(slice) = self.slice() {
            return Some(slice);
        }
        while self.gathered.len() < CHUNK {
            let Some(resource) = self.resources.next() else { break };
            self.put_resource(&resource);
            if resource.body.len() < LARGE {
                self.gathered.put_slice(&resource.body);
            } else {
                self.large = Some(resource.body.clone());
                break;
            }
        }
        if self.gathered.is_empty() { None } else { Some(self.gathered.split().freeze()) }
    }

    /// The next part of a large resource under way.
    fn slice(&mut self) -> Option<Bytes> {
        let large = self.large.as_mut()?;
        if large.len() > SLICE {
            return Some(large.split_to(SLICE));
        }
        self.large.take()
    }

    /// Writes all of a resource's field but the body, which is last.
    fn put_resource(&mut self, resource: &Resource) {
        let layout = Layout::of(self.protocol, &self.type_url, resource);
        let out = &mut self.gathered;
        put_header(out, RESOURCES, layout.size);
        if self.protocol == Protocol::Delta {
            put_bytes(out, RESOURCE_NAME, resource.name.as_bytes());
            put_bytes(out, RESOURCE_VERSION, resource.version_text().as_bytes());
            put_header(out, RESOURCE_ANY, layout.any);
        }
        put_bytes(out, ANY_TYPE_URL, self.type_url.as_bytes());
        put_header(out, ANY_VALUE, resource.body.len());
    }
}

// Field numbers: of a response, of a `Resource`, of an `Any`.
const VERSION: u32 = 1;
const RESOURCES: u32 = 2;
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;
const REMOVED: u32 = 6;
const RESOURCE_VERSION: u32 = 1;
const RESOURCE_ANY: u32 = 2;
const RESOURCE_NAME: u32 = 3;
const ANY_TYPE_URL: u32 = 1;
const ANY_VALUE: u32 = 2;

/// The lengths of a resource's nested messages.
struct Layout {
    /// Of the element of `resources`: a `Resource` or an `Any`.
    size: usize,
    /// Of the `Any`.
    any: usize,
}

impl Layout {
    fn of(protocol: Protocol, type_url: &str, resource: &Resource) -> Self {
        let any = field_len(ANY_TYPE_URL, type_url.len()) + field_len(ANY_VALUE, resource.body.len());
        let size = match protocol {
            Protocol::Sotw => any,
            Protocol::Delta => {
                field_len(RESOURCE_NAME, resource.name.len())
                    + field_len(RESOURCE_VERSION, VERSION_LEN)
                    + field_len(RESOURCE_ANY, any)
            }
        };
        Self { size, any }
    }
}

/// The length of [`version_text`].
const VERSION_LEN: usize = 16;

fn field_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

fn put_prefix(out: &mut BytesMut, size: usize) {
    out.put_u8(0); // not compressed
    // 4 GiB is what gRPC's framing can carry; no client takes a message near that size.
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
}

fn put_header(out: &mut BytesMut, tag: u32, len: usize) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

fn put_bytes(out: &mut BytesMut, tag: u32, bytes: &[u8]) {
    put_header(out, tag, bytes.len());
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, size: usize) -> Arc<Resource> {
        Arc::new(Resource { name: name.into(), version: 7, body: vec![b'x'; size].into() })
    }

    fn response(removed: &[&str]) -> Response {
        Response {
            type_url: "type.googleapis.com/t".into(),
            version: 3,
            nonce: "n".into(),
            resources: vec![
                resource("a", 0),
                resource("b", LARGE),
                resource("c", 100),
                resource("d", 3 * SLICE + 1),
            ],
            removed: removed.iter().map(|n| Arc::from(*n)).collect(),
        }
    }

    fn read(mut outgoing: Outgoing) -> Bytes {
        let mut all = BytesMut::new();
        while let Some(chunk) = outgoing.chunk() {
            assert!(!chunk.is_empty());
            all.put(chunk);
        }
        let size = u32::from_be_bytes(all[1..PREFIX].try_into().unwrap()) as usize;
        assert_eq!((all[0], size), (0, all.len() - PREFIX));
        assert_eq!(size, outgoing.size);
        all.split_off(PREFIX).freeze()
    }

    #[test]
    fn delta_response_decodes() {
        let bytes = read(Outgoing::response(Protocol::Delta, response(&["x", "y"])));
        let decoded = discovery::DeltaDiscoveryResponse::decode(bytes).unwrap();
        assert_eq!(decoded.nonce, "n");
        assert_eq!(decoded.type_url, "type.googleapis.com/t");
        assert_eq!(decoded.system_version_info, version_text(3));
        assert_eq!(decoded.removed_resources, ["x", "y"]);
        let sizes: Vec<_> = decoded
            .resources
            .iter()
            .map(|r| (r.name.as_str(), r.resource.as_ref().unwrap().value.len()))
            .collect();
        assert_eq!(sizes, [("a", 0), ("b", LARGE), ("c", 100), ("d", 3 * SLICE + 1)]);
        assert!(decoded.resources.iter().all(|r| r.version == version_text(7)));
        assert!(
            decoded
                .resources
                .iter()
                .all(|r| r.resource.as_ref().unwrap().type_url == "type.googleapis.com/t")
        );
    }

    #[test]
    fn sotw_response_decodes() {
        let bytes = read(Outgoing::response(Protocol::Sotw, response(&[])));
        let decoded = discovery::DiscoveryResponse::decode(bytes).unwrap();
        assert_eq!(decoded.nonce, "n");
        assert_eq!(decoded.version_info, version_text(3));
        let sizes: Vec<_> = decoded.resources.iter().map(|r| r.value.len()).collect();
        assert_eq!(sizes, [0, LARGE, 100, 3 * SLICE + 1]);
    }

    #[test]
    fn large_resources_are_not_copied() {
        let response = response(&[]);
        let large = response.resources[3].body.clone();
        let mut outgoing = Outgoing::response(Protocol::Delta, response);
        let shared = std::iter::from_fn(|| outgoing.chunk()).any(|c| c.as_ptr() == large.as_ptr());
        assert!(shared);
    }
}

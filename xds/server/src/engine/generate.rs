//! From a context to encoded resources.

use super::ResourceType;
use bytes::Bytes;
use meltemi_distribution::Resource;
use meltemi_translation::sds::certificate::Validity;
use meltemi_translation::sds::secret::{self, Problem};
use meltemi_translation::{
    Cx, cluster, endpoint, extension, listener, name_table, patch, route, trust_bundle,
};
use prost::Message;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Encodes a message; its version is the hash of its bytes.
pub(crate) fn encode<M: Message>(name: &str, message: &M) -> Resource {
    let body = Bytes::from(message.encode_to_vec());
    Resource { name: name.into(), version: xxh3_64(&body), body }
}

/// All resources of a type that is sent whole.
pub(crate) fn whole(cx: &Cx<'_>, kind: ResourceType) -> Vec<Arc<Resource>> {
    match kind {
        ResourceType::Clusters => {
            cluster::clusters(cx).iter().map(|c| Arc::new(encode(&c.name, c))).collect()
        }
        ResourceType::Listeners => {
            listener::listeners(cx).iter().map(|l| Arc::new(encode(&l.name, l))).collect()
        }
        ResourceType::ProxyConfig => {
            trust_bundle::trust_bundle(cx).iter().map(|p| Arc::new(encode("", p))).collect()
        }
        // istiod's one table has no name.
        ResourceType::NameTable => vec![Arc::new(encode("", &name_table::name_table(cx)))],
        _ => Vec::new(),
    }
}

/// A secret, and when its certificates are valid.
///
/// # Errors
/// If it is not to be had.
pub(crate) fn secret(cx: &Cx<'_>, name: &str) -> Result<(Resource, Validity), Problem> {
    secret::secret(cx, name).map(|made| (encode(name, &made.secret), made.validity))
}

/// One resource of a type that is sent by name; `None` where there is none of that name.
pub(crate) fn named(cx: &Cx<'_>, kind: ResourceType, name: &str) -> Option<Resource> {
    match kind {
        ResourceType::Endpoints => endpoint::load_assignment(cx, name).map(|m| encode(name, &m)),
        ResourceType::Routes => route::route(cx, name).map(|m| encode(name, &m)),
        ResourceType::Extensions => patch::extension_config(cx, name)
            .or_else(|| extension::config(cx, name, false))
            .map(|m| encode(name, &m)),
        _ => None,
    }
}

//! The network filter by which Istio's proxies tell each other what they are (`istio.metadata_exchange`).
//!
//! Source: Istio `pilot/pkg/xds/filters` (`TCPClusterMx`, `TCPListenerMx`).

use crate::{Cx, wire};
use meltemi_api::udpa::r#type::v1::TypedStruct;
use meltemi_api::wkt::Any;
use prost_types::{ListValue, Struct, Value, value::Kind};

/// The filter's name.
pub const NAME: &str = "istio.metadata_exchange";
/// The ALPN protocol by which peers agree on the exchange.
pub const ALPN: &str = "istio-peer-exchange";

/// The filter's configuration, for listeners and clusters alike; `None` for proxies that don't have the filter.
pub fn network_filter(cx: &Cx<'_>) -> Option<Any> {
    if !is_enabled(cx) {
        return None;
    }
    let mut value = Struct::default();
    let mut set = |key: &str, of: Value| value.fields.insert(key.to_owned(), of);
    set("protocol", wire::string(ALPN));
    set("enable_discovery", Value { kind: Some(Kind::BoolValue(true)) });
    let labels = &cx.features().mx_additional_labels;
    if !labels.is_empty() {
        let values = labels.iter().map(|l| wire::string(l)).collect();
        set("additional_labels", Value { kind: Some(Kind::ListValue(ListValue { values })) });
    }
    let type_url = "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange".to_owned();
    Some(wire::any(&TypedStruct { type_url, value: Some(value) }))
}

/// Whether the proxy exchanges metadata over TCP.
pub fn is_enabled(cx: &Cx<'_>) -> bool {
    cx.features().metadata_exchange && cx.proxy.istio_extensions.metadata_exchange
}

/// Whether TLS connections within the mesh announce the exchange by ALPN.
pub fn by_alpn(cx: &Cx<'_>) -> bool {
    is_enabled(cx) && !cx.features().disable_mx_alpn
}

//! What Istio reads in patches beyond proto3 JSON.
//!
//! EnvoyFilters are read by Go's older JSON package, which knows durations as `time.ParseDuration` does: `24h`, `1m30s`,
//! `250ms`. Source: `github.com/golang/protobuf/jsonpb`.

use crate::reflect;
use crate::wkt::Duration;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value as Json};

/// Rewrites durations to the seconds that proto3 JSON knows, wherever the message has them; what is no duration stays.
pub fn normalize_durations(descriptor: &MessageDescriptor, json: &mut Json) {
    match (descriptor.full_name(), &mut *json) {
        ("google.protobuf.Duration", Json::String(text)) => {
            if let Ok(duration) = text.parse::<Duration>() {
                *text = duration.to_string();
            }
        }
        ("google.protobuf.Any", Json::Object(fields)) => {
            let inner = fields.get("@type").and_then(Json::as_str).and_then(reflect::descriptor);
            if let Some(inner) = inner {
                in_fields(&inner, fields);
            }
        }
        (_, Json::Object(fields)) => in_fields(descriptor, fields),
        _ => {}
    }
}

fn in_fields(descriptor: &MessageDescriptor, fields: &mut Map<String, Json>) {
    for (name, value) in fields {
        let field = descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name));
        let Some(field) = field else { continue };
        let Kind::Message(message) = field.kind() else { continue };
        match value {
            Json::Array(items) if field.is_list() => {
                items.iter_mut().for_each(|item| normalize_durations(&message, item));
            }
            Json::Object(entries) if field.is_map() => {
                if let Kind::Message(of_value) = message.map_entry_value_field().kind() {
                    entries.values_mut().for_each(|entry| normalize_durations(&of_value, entry));
                }
            }
            single => normalize_durations(&message, single),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_found_wherever_they_are() {
        let any = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        let mut json = json!({
            "connect_timeout": "1m30s", "cleanupInterval": "5s", "name": "24h", "dnsRefreshRate": "soon",
            "health_checks": [{"timeout": "250ms"}],
            "transport_socket": {"typed_config": {"@type": any, "idle_timeout": "24h"}},
        });
        normalize_durations(&reflect::descriptor("envoy.config.cluster.v3.Cluster").unwrap(), &mut json);
        let want = json!({
            "connect_timeout": "90s", "cleanupInterval": "5s", "name": "24h", "dnsRefreshRate": "soon",
            "health_checks": [{"timeout": "0.250s"}],
            "transport_socket": {"typed_config": {"@type": any, "idle_timeout": "86400s"}},
        });
        assert_eq!(json, want);
    }
}

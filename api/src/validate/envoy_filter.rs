//! Rules of EnvoyFilters: what is patched, where, and whether Envoy's message can be read.

use super::{At, Findings, Validate, labels, regex};
use crate::istio::networking::v1alpha3::EnvoyFilter;
use crate::istio::networking::v1alpha3::envoy_filter::envoy_config_object_match::ObjectTypes;
use crate::istio::networking::v1alpha3::envoy_filter::{
    ApplyTo, EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, PatchContext, listener_match::FilterMatch,
    patch::Operation,
};
use crate::json::{JsonError, UnknownFields, message_from_json};
use crate::k8s::ObjectMeta;
use crate::{go_json, reflect, wkt};
use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use serde_json::Value as Json;

/// The longest expression for a proxy's version, in bytes: longer ones match no proxy (Istio `maxProxyVersionLen`).
pub const MAX_VERSION_LENGTH: usize = 1024;
const HTTP_MANAGER: [&str; 2] =
    ["envoy.filters.network.http_connection_manager", "envoy.http_connection_manager"];

/// Names of filters of old, without the `envoy.` before, with what they are called now, without the `envoy.filters.`.
const RENAMED: [(&str, &str); 26] = [
    ("buffer", "http.buffer"),
    ("cors", "http.cors"),
    ("csrf", "http.csrf"),
    ("http_dynamo_filter", "http.dynamo"),
    ("ext_authz", "http.ext_authz"),
    ("fault", "http.fault"),
    ("grpc_http1_bridge", "http.grpc_http1_bridge"),
    ("grpc_json_transcoder", "http.grpc_json_transcoder"),
    ("grpc_web", "http.grpc_web"),
    ("gzip", "http.gzip"),
    ("health_check", "http.health_check"),
    ("ip_tagging", "http.ip_tagging"),
    ("lua", "http.lua"),
    ("rate_limit", "http.ratelimit"),
    ("router", "http.router"),
    ("squash", "http.squash"),
    ("listener.http_inspector", "listener.http_inspector"),
    ("listener.original_dst", "listener.original_dst"),
    ("listener.original_src", "listener.original_src"),
    ("listener.proxy_protocol", "listener.proxy_protocol"),
    ("listener.tls_inspector", "listener.tls_inspector"),
    ("client_ssl_auth", "network.client_ssl_auth"),
    ("http_connection_manager", "network.http_connection_manager"),
    ("mongo_proxy", "network.mongo_proxy"),
    ("redis_proxy", "network.redis_proxy"),
    ("tcp_proxy", "network.tcp_proxy"),
];

impl Validate for EnvoyFilter {
    fn validate(&self, _: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        if let Some(selector) = &self.workload_selector {
            labels::selector(&spec.field("workloadSelector").field("labels"), &selector.labels, out);
        }
        for (i, patch) in self.config_patches.iter().enumerate() {
            out.part(|out| self::patch(&spec.field("configPatches").index(i), patch, out));
        }
    }
}

fn patch(at: &At<'_>, from: &EnvoyConfigObjectPatch, out: &mut Findings) {
    let matches = from.r#match.as_ref();
    // Istio does not look at these.
    if matches.is_some_and(|m| m.context() == PatchContext::Waypoint) {
        return;
    }
    let patch_at = at.field("patch");
    let Some(message) = message_of(from.apply_to()) else {
        return out.error(&at.field("applyTo"), "is missing; say what is patched, e.g. HTTP_FILTER");
    };
    let Some(patch) = &from.patch else {
        return out.error(&patch_at, "is missing; say what is done");
    };
    if patch.operation() == Operation::Invalid {
        return out.error(&patch_at.field("operation"), "is missing; e.g. MERGE");
    }
    if patch.operation() != Operation::Remove && patch.value.is_none() {
        return out.error(&patch_at.field("value"), "is missing, which all but REMOVE need");
    }
    if let Some(matches) = matches
        && !self::matches(&at.field("match"), from.apply_to(), matches, out)
    {
        return;
    }
    if let Some(value) = &patch.value {
        let json = wkt::struct_to_json(&wkt::to_prost_struct(value));
        self::value(&patch_at.field("value"), message, json, out);
    }
}

/// Checks a match. Returns whether the rest of the patch is worth a look.
fn matches(at: &At<'_>, apply_to: ApplyTo, from: &EnvoyConfigObjectMatch, out: &mut Findings) -> bool {
    let version = from.proxy.as_ref().map_or("", |p| p.proxy_version.as_str());
    let proxy = at.field("proxy");
    let version_at = proxy.field("proxyVersion");
    if version.len() > MAX_VERSION_LENGTH {
        out.warn(&version_at, format!("is longer than {MAX_VERSION_LENGTH} bytes, so it matches no proxy"));
    } else if let Some(problem) = regex::syntax(version) {
        out.error(&version_at, problem);
        return false;
    }
    let Some(objects) = &from.object_types else { return true };
    let (class, fits) = match apply_to {
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::NetworkFilter | ApplyTo::HttpFilter => {
            ("listener", matches!(objects, ObjectTypes::Listener(_)))
        }
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => {
            ("routeConfiguration", matches!(objects, ObjectTypes::RouteConfiguration(_)))
        }
        ApplyTo::Cluster => ("cluster", matches!(objects, ObjectTypes::Cluster(_))),
        _ => return true,
    };
    if !fits {
        out.error(at, format!("{} is found by {class}; match that", apply_to.as_str_name()));
        return class != "listener";
    }
    let ObjectTypes::Listener(listener) = objects else { return true };
    let Some(filter) = listener.filter_chain.as_ref().and_then(|chain| chain.filter.as_ref()) else {
        return true;
    };
    let listener_at = at.field("listener");
    let chain = listener_at.field("filterChain");
    self::filter(&chain.field("filter"), apply_to, filter, out)
}

fn filter(at: &At<'_>, apply_to: ApplyTo, filter: &FilterMatch, out: &mut Findings) -> bool {
    if matches!(apply_to, ApplyTo::Listener | ApplyTo::FilterChain) {
        out.warn(at, format!("has no effect with {}", apply_to.as_str_name()));
    }
    let name = at.field("name");
    if filter.name.is_empty() {
        out.error(&name, "is missing; name the filter");
        return false;
    }
    renamed(&name, &filter.name, out);
    let Some(sub) = &filter.sub_filter else { return true };
    let at = at.field("subFilter");
    if apply_to != ApplyTo::HttpFilter {
        out.error(&at, "is for HTTP_FILTER only");
    } else if !HTTP_MANAGER.contains(&filter.name.as_str()) {
        out.error(&name, format!("has no HTTP filters; a subFilter is found in {}", HTTP_MANAGER[0]));
    } else if sub.name.is_empty() {
        out.error(&at.field("name"), "is missing; name the HTTP filter");
    } else {
        renamed(&at.field("name"), &sub.name, out);
        return true;
    }
    false
}

fn renamed(at: &At<'_>, name: &str, out: &mut Findings) {
    let old = name.strip_prefix("envoy.");
    if let Some((_, new)) = RENAMED.iter().find(|(before, _)| Some(*before) == old) {
        out.warn(at, format!("{name} is a name of old; write envoy.filters.{new}"));
    }
}

/// Checks that Envoy's message can be read. What it does not have may belong to another version of Envoy: a warning.
fn value(at: &At<'_>, message: &str, mut json: Json, out: &mut Findings) {
    let Some(descriptor) = reflect::descriptor(message) else {
        return out.error(at, JsonError::UnknownType(message.to_owned()).to_string());
    };
    go_json::normalize_durations(&descriptor, &mut json);
    if let Some(name) = of_v2(&json) {
        return out.error(at, format!("{name} is a type of Envoy's API v2, which is gone; write that of v3"));
    }
    let read = match message_from_json(&descriptor, json.clone(), UnknownFields::Deny) {
        Ok(read) => Ok(read),
        Err(strict) => message_from_json(&descriptor, json, UnknownFields::Ignore)
            .inspect(|_| out.warn(at, format!("has parts that have no effect: {strict}"))),
    };
    match read {
        Ok(read) => {
            let mut names = Vec::new();
            untyped(&read, &mut names);
            if !names.is_empty() {
                out.warn(at, format!("has no typedConfig for {}, which Envoy needs", names.join(", ")));
            }
        }
        Err(error) => out.error(at, error.to_string()),
    }
}

/// A type of the API before v3, which no Envoy reads any more, though it is still described.
fn of_v2(json: &Json) -> Option<&str> {
    match json {
        Json::Object(members) => {
            let url = members.get("@type").and_then(Json::as_str);
            let old =
                url.filter(|u| u.contains("/envoy.") && u.split('.').any(|part| part.starts_with("v2")));
            old.or_else(|| members.values().find_map(of_v2))
        }
        Json::Array(items) => items.iter().find_map(of_v2),
        _ => None,
    }
}

/// Names of extensions without a configuration by which Envoy could know them.
fn untyped(message: &DynamicMessage, names: &mut Vec<String>) {
    let descriptor = message.descriptor();
    let has = |name: &str| descriptor.get_field_by_name(name).map(|field| message.has_field(&field));
    if has("typed_config") == Some(false) && has("config_discovery") != Some(true) {
        let name = message.get_field_by_name("name");
        names.push(name.and_then(|n| n.as_str().map(str::to_owned)).unwrap_or_default());
    }
    for (_, value) in message.fields() {
        if let Value::Message(inner) = value {
            untyped(inner, names);
        }
    }
}

/// The full name of the message that a patch of this kind carries; `None` for [`ApplyTo::Invalid`].
///
/// Source: Istio `BuildXDSObjectFromStruct`.
pub fn message_of(apply_to: ApplyTo) -> Option<&'static str> {
    Some(match apply_to {
        ApplyTo::Cluster => "envoy.config.cluster.v3.Cluster",
        ApplyTo::Listener => "envoy.config.listener.v3.Listener",
        ApplyTo::FilterChain => "envoy.config.listener.v3.FilterChain",
        ApplyTo::ListenerFilter => "envoy.config.listener.v3.ListenerFilter",
        ApplyTo::NetworkFilter => "envoy.config.listener.v3.Filter",
        ApplyTo::HttpFilter => "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        ApplyTo::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
        ApplyTo::VirtualHost => "envoy.config.route.v3.VirtualHost",
        ApplyTo::HttpRoute => "envoy.config.route.v3.Route",
        ApplyTo::ExtensionConfig => "envoy.config.core.v3.TypedExtensionConfig",
        ApplyTo::Bootstrap => "envoy.config.bootstrap.v3.Bootstrap",
        ApplyTo::Invalid => return None,
    })
}

//! Changes to headers.
//!
//! Source: Istio `TranslateHeadersOperations`.

use meltemi_api::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction as Append,
};
use meltemi_api::envoy::config::route::v3::Route;
use meltemi_api::istio::networking::v1alpha3::{Headers, headers::HeaderOperations};
use std::collections::BTreeMap;

/// What happens to headers, in Envoy's terms.
#[derive(Debug, Default)]
pub(super) struct Operations {
    pub(super) request_add: Vec<HeaderValueOption>,
    pub(super) request_remove: Vec<String>,
    pub(super) response_add: Vec<HeaderValueOption>,
    pub(super) response_remove: Vec<String>,
    /// The value for `:authority`, which Envoy changes by rewriting the host; empty where it stays.
    pub(super) authority: String,
}

impl Operations {
    /// Reads Istio's operations.
    pub(super) fn of(headers: &Headers) -> Self {
        let none = HeaderOperations::default();
        let request = headers.request.as_ref().unwrap_or(&none);
        let response = headers.response.as_ref().unwrap_or(&none);
        let authority = |map| authority(map).filter(|a| !a.is_empty());
        Self {
            request_add: set_and_add(request),
            request_remove: without_internal(&request.remove),
            response_add: set_and_add(response),
            response_remove: without_internal(&response.remove),
            authority: authority(&request.set).or(authority(&request.add)).unwrap_or_default().to_owned(),
        }
    }

    /// Appends the operations to a route's own. Returns the new authority.
    pub(super) fn apply_to(self, route: &mut Route) -> String {
        route.request_headers_to_add.extend(self.request_add);
        route.request_headers_to_remove.extend(self.request_remove);
        route.response_headers_to_add.extend(self.response_add);
        route.response_headers_to_remove.extend(self.response_remove);
        self.authority
    }
}

fn set_and_add(operations: &HeaderOperations) -> Vec<HeaderValueOption> {
    let set = operations.set.iter().map(|h| (h, Append::OverwriteIfExistsOrAdd));
    let add = operations.add.iter().map(|h| (h, Append::AppendIfExistsOrAdd));
    set.chain(add)
        .filter(|((key, _), _)| !is_internal(key))
        .map(|((key, value), action)| HeaderValueOption {
            header: Some(HeaderValue { key: key.clone(), value: value.clone(), ..Default::default() }),
            append_action: action as i32,
            ..Default::default()
        })
        .collect()
}

fn without_internal(names: &[String]) -> Vec<String> {
    names.iter().filter(|name| !is_internal(name)).cloned().collect()
}

/// Envoy refuses to change pseudo-headers and `host`.
fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn authority(headers: &BTreeMap<String, String>) -> Option<&str> {
    let is_authority =
        |name: &str| name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host");
    headers.iter().rfind(|(name, _)| is_authority(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_rewritten_rather_than_set() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let request = HeaderOperations {
            set: map(&[("Host", "a"), ("x", "1")]),
            add: map(&[(":authority", "b")]),
            remove: vec![":path".into(), "y".into()],
        };
        let all = Operations::of(&Headers { request: Some(request), response: None });
        assert_eq!((all.authority.as_str(), all.request_add.len(), all.request_remove.len()), ("a", 1, 1));
    }
}

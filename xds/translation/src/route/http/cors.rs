//! Cross-origin requests.
//!
//! Source: Istio `TranslateCORSPolicy`.

use crate::wire;
use meltemi_api::envoy::config::core::v3::RuntimeFractionalPercent;
use meltemi_api::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use meltemi_api::istio::networking::v1alpha3::{self as istio, cors_policy::UnmatchedPreflights};

/// The CORS filter's policy for a route.
#[allow(deprecated)] // Istio still honours `allowOrigin`
pub(super) fn policy(policy: &istio::CorsPolicy) -> CorsPolicy {
    let origins = if policy.allow_origins.is_empty() {
        policy.allow_origin.iter().map(|origin| wire::exact(origin)).collect()
    } else {
        policy.allow_origins.iter().filter_map(wire::string_matcher).collect()
    };
    CorsPolicy {
        allow_origin_string_match: origins,
        allow_methods: policy.allow_methods.join(","),
        allow_headers: policy.allow_headers.join(","),
        expose_headers: policy.expose_headers.join(","),
        max_age: policy.max_age.as_ref().map_or_else(String::new, |age| age.seconds.to_string()),
        allow_credentials: policy.allow_credentials.as_ref().map(|v| v.value),
        filter_enabled: Some(RuntimeFractionalPercent {
            default_value: Some(wire::percent(100)),
            ..Default::default()
        }),
        forward_not_matching_preflights: Some(policy.unmatched_preflights() != UnmatchedPreflights::Ignore),
        ..Default::default()
    }
}

//! Tracing: which requests are traced, by which tracer, with which tags.
//!
//! Telemetry resources and MeshConfig `defaultProviders.tracing` choose a provider; where neither says anything, the
//! tracer is the one of the bootstrap and ProxyConfig `tracing` counts.
//! Source: Istio `pilot/pkg/networking/core/tracing.go`.

mod choose;
mod open_telemetry;
mod tags;
mod tracer;

use crate::proxy_headers::ListenerClass;
use crate::{Cx, wire};
use choose::Choice;
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    RequestIdExtension, http_connection_manager::Tracing as Config,
};
use meltemi_api::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use meltemi_api::envoy::r#type::v3::Percent;
use meltemi_api::istio::telemetry::v1alpha1::Telemetry;

/// From this version on, proxies can be told to trace without passing the trace on.
const NO_PROPAGATION: (u32, u32) = (1, 30);

/// The tracing of one side of a proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// `None`: nothing is traced.
    pub config: Option<Config>,
    /// Request IDs, by which the decision to trace is passed on.
    pub request_id: RequestIdExtension,
}

impl Tracing {
    /// The tracing of listeners of `class`.
    pub(super) fn of(cx: &Cx<'_>, class: ListenerClass, applicable: &[&Telemetry]) -> Self {
        let config = match choose::choice(cx, class, applicable) {
            None => cx.mesh().enable_tracing.then(|| of_bootstrap(cx)),
            Some(choice) => match of_choice(cx, &choice) {
                Some(config) => {
                    let request_id = request_id(choice.sample_by_request_id);
                    return Self { config: Some(config), request_id };
                }
                None => None,
            },
        };
        Self { config, request_id: request_id(true) }
    }
}

fn request_id(for_sampling: bool) -> RequestIdExtension {
    let config =
        UuidRequestIdConfig { use_request_id_for_trace_sampling: Some(for_sampling), ..Default::default() };
    RequestIdExtension { typed_config: Some(wire::any(&config)) }
}

/// Tracing by the tracer of the bootstrap.
fn of_bootstrap(cx: &Cx<'_>) -> Config {
    let own = cx.proxy_config().and_then(|c| c.tracing.as_ref());
    let with_istio_tags = own.and_then(|t| t.enable_istio_tags.as_ref()).is_none_or(|v| v.value);
    let mut config = sampled(default_sampling(cx));
    config.custom_tags = tags::all(cx, with_istio_tags, None);
    config.max_path_tag_length = default_tag_length(cx);
    config
}

/// Tracing by a provider; `None` where it is off or the provider cannot trace.
fn of_choice(cx: &Cx<'_>, choice: &Choice<'_>) -> Option<Config> {
    let provider = choice.provider.filter(|_| !choice.disabled)?;
    let tracer = tracer::of_provider(cx, provider)?;
    // A sampler of its own must see every request.
    let sampling = if tracer.samples { Some(100.0) } else { choice.sampling };
    let mut config = sampled(sampling.unwrap_or_else(|| default_sampling(cx)));
    config.spawn_upstream_span = tracer.starts_span.then_some(true);
    config.max_path_tag_length =
        Some(tracer.max_tag_length).filter(|length| *length > 0).or_else(|| default_tag_length(cx));
    config.provider = Some(tracer.config);
    config.custom_tags = tags::all(cx, choice.istio_tags, choice.tags);
    config.no_context_propagation =
        choice.no_propagation && cx.proxy.istio_version_is_at_least(NO_PROPAGATION);
    Some(config)
}

fn sampled(random: f64) -> Config {
    Config {
        client_sampling: Some(Percent { value: 100.0 }),
        overall_sampling: Some(Percent { value: 100.0 }),
        random_sampling: Some(Percent { value: random }),
        ..Default::default()
    }
}

/// Per cent of requests: ProxyConfig `tracing.sampling`, else `PILOT_TRACE_SAMPLING`.
fn default_sampling(cx: &Cx<'_>) -> f64 {
    match cx.proxy_config().and_then(|c| c.tracing.as_ref()).map_or(0.0, |t| t.sampling) {
        0.0 => cx.features().trace_sampling,
        too_much if too_much > 100.0 => 1.0,
        percent => percent,
    }
}

fn default_tag_length(cx: &Cx<'_>) -> Option<u32> {
    let own = cx.proxy_config().and_then(|c| c.tracing.as_ref());
    own.map(|t| t.max_path_tag_length).filter(|length| *length > 0)
}

//! What Telemetry resources choose of tracing.
//!
//! Source: Istio `Telemetries.Tracing` (`pilot/pkg/model/telemetry.go`).

use crate::Cx;
use crate::proxy_headers::ListenerClass;
use crate::telemetry::{includes, provider, workload_mode};
use meltemi_api::istio::mesh::v1alpha1::mesh_config::ExtensionProvider;
use meltemi_api::istio::telemetry::v1alpha1::{Telemetry, Tracing, WorkloadMode, tracing::CustomTag};
use std::collections::BTreeMap;

/// The choice for one side of a proxy.
#[derive(Clone, Debug)]
pub(super) struct Choice<'a> {
    /// Who traces; `None` for a name that nobody has.
    pub(super) provider: Option<&'a ExtensionProvider>,
    /// Whether spans are not reported.
    pub(super) disabled: bool,
    /// Per cent of requests.
    pub(super) sampling: Option<f64>,
    /// Additional tags.
    pub(super) tags: Option<&'a BTreeMap<String, CustomTag>>,
    /// Whether the request's ID tells if it is traced.
    pub(super) sample_by_request_id: bool,
    /// Whether spans carry Istio's own tags.
    pub(super) istio_tags: bool,
    /// Whether the trace is not passed on.
    pub(super) no_propagation: bool,
}

/// What is chosen for listeners of `class`; `None` where nothing is.
pub(super) fn choice<'a>(
    cx: &Cx<'a>,
    class: ListenerClass,
    applicable: &[&'a Telemetry],
) -> Option<Choice<'a>> {
    let tracing: Vec<&Tracing> = applicable.iter().flat_map(|t| &t.tracing).collect();
    let default = provider::defaults(cx, |d| &d.tracing).first().copied();
    if tracing.is_empty() && default.is_none() {
        return None;
    }
    let mut choice = Choice {
        provider: default.and_then(|name| provider::find(cx, name)),
        disabled: false,
        sampling: None,
        tags: None,
        sample_by_request_id: true,
        istio_tags: true,
        no_propagation: false,
    };
    let side = workload_mode(class);
    for rule in tracing.into_iter().filter(|t| here(t, side)) {
        choice.overlay(cx, rule);
    }
    Some(choice)
}

fn here(rule: &Tracing, side: WorkloadMode) -> bool {
    rule.r#match.as_ref().is_none_or(|m| includes(m.mode(), side))
}

impl<'a> Choice<'a> {
    fn overlay(&mut self, cx: &Cx<'a>, rule: &'a Tracing) {
        // Only one provider is supported.
        if let Some(first) = rule.providers.first() {
            self.provider = provider::find(cx, &first.name);
        }
        if !rule.custom_tags.is_empty() {
            self.tags = Some(&rule.custom_tags);
        }
        let set = |field: &mut bool, value: Option<bool>| *field = value.unwrap_or(*field);
        set(&mut self.disabled, rule.disable_span_reporting.as_ref().map(|v| v.value));
        set(&mut self.sample_by_request_id, rule.use_request_id_for_trace_sampling.as_ref().map(|v| v.value));
        set(&mut self.istio_tags, rule.enable_istio_tags.as_ref().map(|v| v.value));
        set(&mut self.no_propagation, rule.disable_context_propagation.as_ref().map(|v| v.value));
        self.sampling = rule.random_sampling_percentage.as_ref().map(|v| v.value).or(self.sampling);
    }
}

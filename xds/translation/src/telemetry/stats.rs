//! Metrics: the filter `istio.stats`, with the overrides of Telemetry resources.
//!
//! Source: Istio `mergeMetrics`, `generateStatsConfig`.

use super::{includes, provider, workload_mode};
use crate::Cx;
use crate::listener::filters;
use crate::proxy_headers::ListenerClass;
use crate::wire;
use meltemi_api::envoy::config::listener::v3::Filter;
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use meltemi_api::istio::mesh::v1alpha1::mesh_config::extension_provider::Provider;
use meltemi_api::istio::telemetry::v1alpha1::{
    MetricSelector, Metrics, MetricsOverrides, Telemetry, metric_selector::IstioMetric,
    metric_selector::MetricMatch, metrics_overrides::TagOverride, metrics_overrides::tag_override::Operation,
};
use meltemi_api::stats::{MetricConfig, PluginConfig};
use meltemi_api::wkt::{Any, to_prost_duration};
use std::collections::{BTreeMap, BTreeSet};

/// The metrics that one may name by themselves, with the names that the filter knows them by.
const METRICS: [(IstioMetric, &str); 10] = [
    (IstioMetric::RequestCount, "requests_total"),
    (IstioMetric::RequestDuration, "request_duration_milliseconds"),
    (IstioMetric::RequestSize, "request_bytes"),
    (IstioMetric::ResponseSize, "response_bytes"),
    (IstioMetric::TcpOpenedConnections, "tcp_connections_opened_total"),
    (IstioMetric::TcpClosedConnections, "tcp_connections_closed_total"),
    (IstioMetric::TcpSentBytes, "tcp_sent_bytes_total"),
    (IstioMetric::TcpReceivedBytes, "tcp_received_bytes_total"),
    (IstioMetric::GrpcRequestMessages, "request_messages_total"),
    (IstioMetric::GrpcResponseMessages, "response_messages_total"),
];

/// The filters of one side of a proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// For HTTP.
    pub http: Vec<HttpFilter>,
    /// For TCP.
    pub network: Vec<Filter>,
}

/// What Telemetry resources say of one provider, on one side.
#[derive(Clone, Debug, Default)]
struct Chosen<'a> {
    disabled: bool,
    interval: Option<prost_types::Duration>,
    /// By the metric's name in the API, or that of a custom metric.
    overrides: BTreeMap<&'a str, Override<'a>>,
}

/// What is different about a metric.
#[derive(Clone, Debug, Default)]
struct Override<'a> {
    disabled: bool,
    tags: BTreeMap<&'a str, &'a TagOverride>,
}

impl Stats {
    /// The filters for listeners of `class`; none for proxies that lack Istio's filter.
    pub(super) fn of(cx: &Cx<'_>, class: ListenerClass, applicable: &[&Telemetry]) -> Self {
        if !cx.proxy.istio_extensions.stats {
            return Self::default();
        }
        let mut out = Self::default();
        for (name, chosen) in choose(cx, class, applicable) {
            let Some(provider) = provider::find(cx, name) else { continue };
            if chosen.disabled || !matches!(provider.provider, Some(Provider::Prometheus(_))) {
                continue;
            }
            let config = config(class, &chosen);
            out.http.push(filters::http_any(filters::STATS, config.clone()));
            out.network.push(filters::network_any(filters::STATS, config));
        }
        out
    }
}

/// The providers that count, in order, with what is to be counted.
fn choose<'a>(
    cx: &Cx<'a>,
    class: ListenerClass,
    applicable: &[&'a Telemetry],
) -> BTreeMap<&'a str, Chosen<'a>> {
    let metrics: Vec<&Metrics> = applicable.iter().flat_map(|t| &t.metrics).collect();
    let defaults = provider::defaults(cx, |d| &d.metrics);
    let named = |m: &&'a Metrics| Some(provider::names(&m.providers)).filter(|names| !names.is_empty());
    // The last list of providers counts; of what is said before, only what is said of those.
    let in_scope: BTreeSet<&str> =
        metrics.iter().rev().find_map(named).unwrap_or_else(|| defaults.clone()).into_iter().collect();
    let mut out = BTreeMap::new();
    if metrics.is_empty() {
        out.extend(defaults.iter().map(|name| (*name, Chosen::default())));
    }
    let mut current = defaults;
    for m in &metrics {
        current = named(m).unwrap_or(current);
        for name in current.iter().filter(|name| in_scope.contains(*name)) {
            out.entry(*name).or_default().add(m, class);
        }
    }
    out
}

impl<'a> Chosen<'a> {
    fn add(&mut self, metrics: &'a Metrics, class: ListenerClass) {
        if let Some(interval) = &metrics.reporting_interval {
            self.interval = Some(to_prost_duration(interval));
        }
        let side = workload_mode(class);
        let here = |o: &&MetricsOverrides| o.r#match.as_ref().is_none_or(|m| includes(m.mode(), side));
        for change in metrics.overrides.iter().filter(here) {
            let disabled = change.disabled.as_ref().map(|v| v.value);
            if disabled == Some(true) && is_all(change.r#match.as_ref()) {
                self.disabled = true;
                continue;
            }
            // What is said of single metrics turns on again what was off as a whole.
            self.disabled = false;
            for name in selected(change.r#match.as_ref()) {
                let metric = self.overrides.entry(name).or_default();
                metric.disabled = disabled.unwrap_or(metric.disabled);
                metric.tags.extend(change.tag_overrides.iter().map(|(tag, o)| (tag.as_str(), o)));
            }
        }
    }
}

fn is_all(selector: Option<&MetricSelector>) -> bool {
    match selector.and_then(|s| s.metric_match.as_ref()) {
        Some(MetricMatch::Metric(metric)) => *metric == IstioMetric::AllMetrics as i32,
        Some(MetricMatch::CustomMetric(_)) => false,
        None => true,
    }
}

fn selected(selector: Option<&MetricSelector>) -> Vec<&str> {
    match selector.and_then(|s| s.metric_match.as_ref()) {
        Some(MetricMatch::CustomMetric(name)) => vec![name],
        Some(MetricMatch::Metric(metric)) if *metric != IstioMetric::AllMetrics as i32 => {
            IstioMetric::try_from(*metric).map_or_else(|_| Vec::new(), |m| vec![m.as_str_name()])
        }
        _ => METRICS.iter().map(|(metric, _)| metric.as_str_name()).collect(),
    }
}

fn config(class: ListenerClass, chosen: &Chosen<'_>) -> Any {
    wire::any(&PluginConfig {
        // Servers know what they serve; the host of a request is the client's word.
        disable_host_header_fallback: class != ListenerClass::SidecarOutbound,
        tcp_reporting_duration: chosen.interval,
        metrics: chosen.overrides.iter().map(|(name, metric)| metric_config(name, metric)).collect(),
        ..Default::default()
    })
}

fn metric_config(name: &str, metric: &Override<'_>) -> MetricConfig {
    let known = METRICS.iter().find(|(known, _)| known.as_str_name() == name);
    let (removed, set): (Vec<_>, Vec<_>) =
        metric.tags.iter().partition(|(_, tag)| tag.operation() == Operation::Remove);
    MetricConfig {
        name: known.map_or(name, |(_, filters_name)| filters_name).to_owned(),
        drop: metric.disabled,
        tags_to_remove: removed.into_iter().map(|(tag, _)| (*tag).to_owned()).collect(),
        dimensions: set.into_iter().map(|(tag, o)| ((*tag).to_owned(), o.value.clone())).collect(),
        ..Default::default()
    }
}

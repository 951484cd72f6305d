//! What is counted, under istiod's names, so that its dashboards and alerts go on working.
//!
//! istiod's exporter adds no `_total` to names; [`text`] takes away the one that the encoder here adds.

mod authority;
mod streams;
mod text;

use meltemi_world::{Change, ChangeSet, Kind, Snapshot};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::sources::Severity;
use crate::version::BUILD;

/// All metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    start: Instant,
    config_events: Family<Event, Counter>,
    registry_events: Family<Event, Counter>,
    inbound_updates: Family<Type, Counter>,
    push_triggers: Family<Type, Counter>,
    rejected_configs: Counter,
    invalid_configs: Gauge,
    apply_seconds: Histogram,
    services: Gauge,
    virtual_services: Gauge,
    key_fetches: [Counter; 2],
    secret_errors: Counter,
    patch_failures: Counter,
    streams: streams::Streams,
    authority: authority::Authority,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Type {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Event {
    r#type: &'static str,
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    component: &'static str,
    tag: &'static str,
}

type FloatGauge = Gauge<f64, AtomicU64>;

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at nothing.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let info = Family::<Version, Gauge>::default();
        info.get_or_create(&Version { version: BUILD.to_string() }).set(1);
        r.register("pilot_info", "Version of the control plane", info);
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { component: "pilot", tag: BUILD.version }).set(1);
        r.register("istio_build", "Version of the component", build);
        let families = Families {
            start: Instant::now(),
            config_events: counters(r, "pilot_k8s_cfg_events", "Events of configuration objects"),
            registry_events: counters(
                r,
                "pilot_k8s_reg_events",
                "Events of Services and what stands behind them",
            ),
            inbound_updates: counters(r, "pilot_inbound_updates", "Changes that came in"),
            push_triggers: counters(
                r,
                "pilot_push_triggers",
                "Snapshots that were published, by what changed",
            ),
            rejected_configs: counter(
                r,
                "pilot_total_rejected_configs",
                "Objects and files that were found bad",
            ),
            invalid_configs: gauge(r, "meltemi_rejected_configs", "Objects and files that are bad now"),
            apply_seconds: histogram(
                r,
                "pilot_pushcontext_init_seconds",
                "Time to make the next snapshot",
                &[0.01, 0.1, 0.5, 1.0, 3.0, 5.0],
            ),
            services: gauge(r, "pilot_services", "Services that are known"),
            virtual_services: gauge(r, "pilot_virt_services", "VirtualServices that are known"),
            key_fetches: ["fail", "success"].map(|outcome| {
                let name = format!("pilot_jwks_resolver_network_fetch_{outcome}_total");
                counter(r, &name, "Requests for keys of JWT issuers, by what came of them")
            }),
            secret_errors: counter(
                r,
                "pilot_sds_certificate_errors_total",
                "Secrets that proxies could not be sent, or whose certificates are not valid now",
            ),
            patch_failures: counter(
                r,
                "meltemi_envoy_filter_patch_failures_total",
                "Patches of EnvoyFilters that could not be read or applied",
            ),
            streams: streams::Streams::new(r),
            authority: authority::Authority::new(r),
            registry,
        };
        Self(Arc::new(families))
    }

    /// Counts changes that came in.
    pub fn received(&self, changes: &[Change]) {
        for change in changes {
            let (kind, event) = match change {
                Change::Upsert(object) => (object.id().0, "update"),
                Change::Remove(kind, _) => (*kind, "delete"),
                Change::Mesh(_) | Change::Networks(_) | Change::Roots(_) => continue,
            };
            let update = match (kind, event) {
                (Kind::EndpointSlice | Kind::Pod | Kind::Node, _) => "eds",
                (Kind::Service, "delete") => "svcdelete",
                (Kind::Service, _) => "svc",
                _ => "config",
            };
            let of_registry = matches!(
                kind,
                Kind::EndpointSlice | Kind::Pod | Kind::Node | Kind::Service | Kind::Namespace
            );
            let events = if of_registry { &self.0.registry_events } else { &self.0.config_events };
            events.get_or_create(&Event { r#type: kind.name(), event }).inc();
            self.0.inbound_updates.get_or_create(&Type { r#type: update }).inc();
        }
    }

    /// Counts a snapshot that was made.
    pub fn applied(&self, set: &ChangeSet, snapshot: &Snapshot, took: Duration) {
        self.0.apply_seconds.observe(took.as_secs_f64());
        self.0.services.set(snapshot.registry.len() as i64);
        self.0.virtual_services.set(snapshot.all_virtual_services().count() as i64);
        let configs = set.objects.iter().any(|(kind, _)| *kind >= Kind::VirtualService);
        let reasons = [
            ("global", set.mesh),
            ("service", !set.services.is_empty()),
            ("endpoint", !set.endpoints.is_empty()),
            ("secret", set.has(Kind::Secret)),
            ("config", configs),
        ];
        for (reason, _) in reasons.iter().filter(|(_, applies)| *applies) {
            self.0.push_triggers.get_or_create(&Type { r#type: reason }).inc();
        }
    }

    /// Counts a new finding about the input.
    pub fn found(&self, severity: Severity) {
        if severity == Severity::Error {
            self.0.rejected_configs.inc();
        }
    }

    /// Says how many objects and files are bad now.
    pub fn errors(&self, count: usize) {
        self.0.invalid_configs.set(count as i64);
    }

    /// Counts a request for keys.
    pub fn keys_fetched(&self, well: bool) {
        self.0.key_fetches[usize::from(well)].inc();
    }

    /// Counts a secret that a proxy could not be sent, or that is of no use now.
    pub fn secret_failed(&self) {
        self.0.secret_errors.inc();
    }

    /// Counts a patch of an EnvoyFilter that could not be applied.
    pub fn patch_failed(&self) {
        self.0.patch_failures.inc();
    }

    /// All metrics in Prometheus' text format.
    pub fn text(&self) -> String {
        self.0.authority.tick();
        let mut out = text::of(&self.0.registry);
        text::process(&mut out, self.0.start.elapsed());
        out
    }
}

fn counter(r: &mut Registry, name: &str, help: &str) -> Counter {
    let metric = Counter::default();
    r.register(name, help, metric.clone());
    metric
}

fn counters<L>(r: &mut Registry, name: &str, help: &str) -> Family<L, Counter>
where
    L: EncodeLabelSet + Clone + std::fmt::Debug + std::hash::Hash + Eq + Send + Sync + 'static,
{
    let metric = Family::default();
    r.register(name, help, metric.clone());
    metric
}

fn gauge(r: &mut Registry, name: &str, help: &str) -> Gauge {
    let metric = Gauge::default();
    r.register(name, help, metric.clone());
    metric
}

fn histogram(r: &mut Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let metric = Histogram::new(buckets.iter().copied());
    r.register(name, help, metric.clone());
    metric
}

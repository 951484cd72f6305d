//! What happens on the streams.

use meltemi_server::Observer;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{FloatGauge, Metrics, Type, Version, counter, counters, histogram};

type Histograms = Family<Type, Histogram, fn() -> Histogram>;
type Sizes = Family<TypeUrl, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeUrl {
    r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reject {
    node: String,
    err: String,
}

#[derive(Debug)]
pub(super) struct Streams {
    clients: Family<Version, Gauge>,
    pushes: Family<Type, Counter>,
    push_time: Histograms,
    send_time: Histograms,
    convergence: Histogram,
    sizes: Sizes,
    rejects: Family<Type, Counter>,
    rejects_by_type: [(&'static str, Family<Reject, Gauge>); 4],
    expired_nonces: Family<Type, Counter>,
    internal_errors: Counter,
    largest_request: FloatGauge,
    largest: AtomicU64,
}

fn push_buckets() -> Histogram {
    Histogram::new([0.01, 0.1, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0])
}

fn size_buckets() -> Histogram {
    Histogram::new([1.0, 10e3, 1e6, 4e6, 10e6, 40e6])
}

impl Streams {
    pub(super) fn new(r: &mut Registry) -> Self {
        let clients = Family::default();
        r.register("pilot_xds", "Connected proxies, by version", Family::clone(&clients));
        let push_time = Histograms::new_with_constructor(push_buckets);
        r.register("pilot_xds_push_time", "Time to make a response", push_time.clone());
        let send_time = Histograms::new_with_constructor(push_buckets);
        r.register("pilot_xds_send_time", "Time until the transport took a response", send_time.clone());
        let sizes = Sizes::new_with_constructor(size_buckets);
        r.register("pilot_xds_config_size_bytes", "Sizes of responses", sizes.clone());
        let rejects_by_type = ["cds", "eds", "lds", "rds"].map(|short| {
            let family = Family::<Reject, Gauge>::default();
            r.register(
                format!("pilot_xds_{short}_reject"),
                "Proxies that reject what they were sent",
                family.clone(),
            );
            (short, family)
        });
        let largest_request = FloatGauge::default();
        r.register("pilot_xds_recv_max", "Size of the largest request", largest_request.clone());
        Self {
            clients,
            push_time,
            send_time,
            sizes,
            rejects_by_type,
            largest_request,
            largest: AtomicU64::new(0),
            pushes: counters(r, "pilot_xds_pushes", "Responses that were made"),
            convergence: histogram(
                r,
                "pilot_proxy_convergence_time",
                "Time from a change until a proxy was sent all that follows from it",
                &[0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0],
            ),
            rejects: counters(r, "pilot_total_xds_rejects", "Responses that proxies rejected"),
            expired_nonces: counters(r, "pilot_xds_expired_nonce", "Requests about overtaken responses"),
            internal_errors: counter(r, "pilot_total_xds_internal_errors", "Streams that failed"),
        }
    }
}

impl Observer for Metrics {
    fn connected(&self, version: &str) {
        self.0.streams.clients.get_or_create(&Version { version: version.to_owned() }).inc();
    }

    fn disconnected(&self, version: &str) {
        self.0.streams.clients.get_or_create(&Version { version: version.to_owned() }).dec();
    }

    fn received(&self, bytes: usize) {
        let bytes = bytes as u64;
        let largest = self.0.streams.largest.fetch_max(bytes, Ordering::Relaxed).max(bytes);
        self.0.streams.largest_request.set(largest as f64);
    }

    fn pushed(&self, type_url: &str, took: Duration, bytes: usize) {
        let label = Type { r#type: short(type_url) };
        self.0.streams.pushes.get_or_create(&label).inc();
        self.0.streams.push_time.get_or_create(&label).observe(took.as_secs_f64());
        self.0.streams.sizes.get_or_create(&TypeUrl { r#type: type_url.to_owned() }).observe(bytes as f64);
    }

    fn sent(&self, type_url: &str, took: Duration) {
        self.0.streams.send_time.get_or_create(&Type { r#type: short(type_url) }).observe(took.as_secs_f64());
    }

    fn rejected(&self, type_url: &str, node: &str, code: i32, error: &str) {
        let short = short(type_url);
        tracing::warn!(target: "ads", r#type = short, node, code, error, "rejected");
        self.0.streams.rejects.get_or_create(&Type { r#type: short }).inc();
        if let Some((_, family)) = self.0.streams.rejects_by_type.iter().find(|(name, _)| *name == short) {
            // By the code, as istiod does: texts would have no bounds.
            let err = format!("{:?}", tonic::Code::from(code));
            family.get_or_create(&Reject { node: node.to_owned(), err }).inc();
        }
    }

    fn expired_nonce(&self, type_url: &str) {
        self.0.streams.expired_nonces.get_or_create(&Type { r#type: short(type_url) }).inc();
    }

    fn converged(&self, took: Duration) {
        self.0.streams.convergence.observe(took.as_secs_f64());
    }

    fn failed(&self, error: &tonic::Status) {
        tracing::info!(target: "ads", %error, "a stream failed");
        self.0.streams.internal_errors.inc();
    }
}

/// istiod's short names of types (`v3.GetMetricType`).
fn short(type_url: &str) -> &'static str {
    match type_url.rsplit('.').next().unwrap_or(type_url) {
        "Cluster" => "cds",
        "Listener" => "lds",
        "RouteConfiguration" => "rds",
        "ClusterLoadAssignment" => "eds",
        "Secret" => "sds",
        "NameTable" => "nds",
        "ProxyConfig" => "pcds",
        "TypedExtensionConfig" => "ecds",
        "Address" => "wds",
        "Authorization" => "wads",
        "Bootstrap" => "bds",
        _ => "other",
    }
}

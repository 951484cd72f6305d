//! The agent's own metrics, in pilot-agent's names.

use std::{
    sync::atomic::AtomicU64,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Counters of one agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Streams that could not be passed on to istiod.
    pub istiod_connection_failures: Counter,
    /// Requests to the CA.
    pub outgoing_requests: Counter,
    /// Requests to the CA that brought no certificate.
    pub failed_outgoing_requests: Counter,
    /// Scrapes of the merged metrics.
    pub scrapes: Counter,
    /// Scrapes in which Envoy's metrics were missing.
    pub envoy_scrape_failures: Counter,
    /// Scrapes in which the application's metrics were missing.
    pub application_scrape_failures: Counter,
    certificate_expiry: Gauge<f64, AtomicU64>,
    startup: Gauge<f64, AtomicU64>,
    started: SystemTime,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("istio_agent");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let istiod_connection_failures =
            counter("istiod_connection_failures", "Streams that could not be passed on to istiod");
        let outgoing_requests = counter("num_outgoing_requests", "Requests to the certificate authority");
        let failed_outgoing_requests =
            counter("num_failed_outgoing_requests", "Failed requests to the certificate authority");
        let scrapes = counter("scrapes", "Scrapes of the merged metrics");
        let envoy_scrape_failures = counter("scrape_failures_envoy", "Failed scrapes of Envoy");
        let application_scrape_failures =
            counter("scrape_failures_application", "Failed scrapes of the application");
        let certificate_expiry = Gauge::default();
        registry.register(
            "cert_expiry_timestamp_seconds",
            "The end of the workload certificate's life, in seconds since 1970",
            certificate_expiry.clone(),
        );
        let startup = Gauge::default();
        registry.register(
            "startup_duration_seconds",
            "The time from the agent's start until Envoy was ready",
            startup.clone(),
        );
        Self {
            registry,
            istiod_connection_failures,
            outgoing_requests,
            failed_outgoing_requests,
            scrapes,
            envoy_scrape_failures,
            application_scrape_failures,
            certificate_expiry,
            startup,
            started: SystemTime::now(),
        }
    }
}

impl Metrics {
    /// Notes the end of the present certificate's life.
    pub fn certificate(&self, until: SystemTime) {
        self.certificate_expiry.set(until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }

    /// Notes that Envoy is ready, the first time.
    pub fn ready(&self) {
        if self.startup.get() == 0.0 {
            self.startup.set(self.started.elapsed().unwrap_or_default().as_secs_f64());
        }
    }

    /// All of them, in Prometheus's text format; others may follow.
    pub fn text(&self) -> String {
        let mut all = String::new();
        // Writing to a String can't fail.
        let _ = text::encode(&mut all, &self.registry);
        all.trim_end_matches("# EOF\n").to_owned()
    }
}

//! What the certificate authority does, under the names of istiod's `security/pkg/server/ca`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Metrics, counter, counters, gauge};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    error: &'static str,
}

#[derive(Debug)]
pub(super) struct Authority {
    requests: Counter,
    unauthenticated: Counter,
    unreadable: Counter,
    refused: Family<Class, Counter>,
    signed: Counter,
    rejected: Counter,
    root: Expiry,
    chain: Expiry,
}

/// When something expires: as a time, and how long that is from now.
#[derive(Debug)]
struct Expiry {
    at: AtomicI64,
    timestamp: Gauge,
    seconds: Gauge,
}

impl Expiry {
    fn new(r: &mut Registry, what: &str) -> Self {
        let name = format!("citadel_server_{what}_expiry");
        Self {
            at: AtomicI64::new(0),
            timestamp: gauge(r, &format!("{name}_timestamp"), "When it expires, in seconds since 1970"),
            seconds: gauge(
                r,
                &format!("{name}_seconds"),
                "How long it is still valid; negative once it is not",
            ),
        }
    }

    fn set(&self, at: Option<i64>) {
        self.at.store(at.unwrap_or_default(), Ordering::Relaxed);
        self.timestamp.set(at.unwrap_or_default());
        self.tick();
    }

    fn tick(&self) {
        let at = self.at.load(Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        self.seconds.set(if at == 0 { 0 } else { at - now });
    }
}

impl Authority {
    pub(super) fn new(r: &mut Registry) -> Self {
        let mut count = |name: &str, help: &str| counter(r, &format!("citadel_server_{name}"), help);
        let requests = count("csr_count", "Certificate requests");
        let unauthenticated =
            count("authentication_failure_count", "Requests of callers that proved nothing");
        let unreadable = count("csr_parsing_err_count", "Requests that could not be read");
        let signed = count("success_cert_issuance_count", "Certificates that were signed");
        let rejected = counter(
            r,
            "meltemi_ca_rejected_material",
            "Keys and certificates of an authority that were found bad and not taken",
        );
        Self {
            requests,
            unauthenticated,
            unreadable,
            refused: counters(
                r,
                "citadel_server_csr_sign_err_count",
                "Requests that were not signed, by why",
            ),
            signed,
            rejected,
            root: Expiry::new(r, "root_cert"),
            chain: Expiry::new(r, "cert_chain"),
        }
    }

    /// Brings what depends on the time up to date.
    pub(super) fn tick(&self) {
        self.root.tick();
        self.chain.tick();
    }
}

impl Metrics {
    /// Counts a certificate request.
    pub fn csr(&self) {
        self.0.authority.requests.inc();
    }

    /// Counts a certificate request of somebody unknown.
    pub fn csr_unauthenticated(&self) {
        self.0.authority.unauthenticated.inc();
    }

    /// Counts a certificate request that was not signed.
    pub fn csr_refused(&self, class: &'static str) {
        if class == "CSR_ERROR" {
            self.0.authority.unreadable.inc();
        }
        self.0.authority.refused.get_or_create(&Class { error: class }).inc();
    }

    /// Counts a certificate that was signed.
    pub fn csr_signed(&self) {
        self.0.authority.signed.inc();
    }

    /// Says until when the first root and the signing certificate are valid.
    pub fn authority(&self, root: Option<i64>, chain: Option<i64>) {
        self.0.authority.root.set(root);
        self.0.authority.chain.set(chain);
    }

    /// Counts input of the authority that was not taken.
    pub fn authority_rejected(&self) {
        self.0.authority.rejected.inc();
    }
}

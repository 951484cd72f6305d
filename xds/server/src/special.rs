//! Types that are answered once and on the spot: debug requests, and what clients report.

use meltemi_api::google::rpc;
use meltemi_api::wkt::Any;

use crate::registry::Connection;

/// What a client asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The type.
    pub type_url: &'a str,
    /// The names that go with it.
    pub names: &'a [String],
    /// What the client reports, if it does so.
    pub report: Option<&'a rpc::Status>,
    /// Who asks.
    pub connection: &'a Connection,
}

/// What to answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Names and resources.
    pub resources: Vec<(String, Any)>,
    /// Who answers; istiod says so for `istio.io/debug/syncz` only.
    pub control_plane: Option<String>,
}

/// Answers types that are no configuration: `istio.io/debug` and those below it, and the health that pilot-agent reports.
/// Such requests open no subscription.
pub trait Special: Send + Sync + 'static {
    /// Whether that type is answered here.
    fn handles(&self, type_url: &str) -> bool;

    /// The answer, or nothing if the client expects none.
    fn answer(&self, asked: Asked<'_>) -> Option<Reply>;
}

/// istiod's type for the health that pilot-agent reports of a workload on a VM.
pub const HEALTH: &str = "type.googleapis.com/istio.v1.HealthInformation";

/// Answers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ordinary;

impl Special for Ordinary {
    fn handles(&self, type_url: &str) -> bool {
        type_url.starts_with("istio.io/debug") || type_url == HEALTH
    }

    fn answer(&self, _: Asked<'_>) -> Option<Reply> {
        None
    }
}

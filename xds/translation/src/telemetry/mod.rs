//! Access logs, tracing and metrics: what a proxy tells of the traffic it sees.
//!
//! MeshConfig names the providers and the default ones; Telemetry resources choose among them.
//! Source: Istio `pilot/pkg/model/telemetry.go`.

pub mod access_log;
mod provider;
pub mod stats;
pub mod tracing;

use crate::Cx;
use crate::policy::Workload;
use crate::proxy_headers::ListenerClass;
use access_log::AccessLogs;
use meltemi_api::istio::telemetry::v1alpha1::WorkloadMode;
use stats::Stats;
use tracing::Tracing;

/// All of it, for one side of a proxy.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Access logs.
    pub access_logs: AccessLogs,
    /// Tracing.
    pub tracing: Tracing,
    /// Filters that count.
    pub stats: Stats,
}

impl Telemetry {
    /// What the proxy tells on listeners of `class`.
    pub fn of(cx: &Cx<'_>, class: ListenerClass) -> Self {
        let applicable = cx.index.telemetries.of(&Workload::of(cx));
        Self {
            access_logs: AccessLogs::of(cx, class, &applicable),
            tracing: Tracing::of(cx, class, &applicable),
            stats: Stats::of(cx, class, &applicable),
        }
    }
}

/// The side of a connection that the proxy is on.
fn workload_mode(class: ListenerClass) -> WorkloadMode {
    match class {
        ListenerClass::SidecarInbound => WorkloadMode::Server,
        ListenerClass::SidecarOutbound | ListenerClass::Gateway => WorkloadMode::Client,
    }
}

/// Whether a `match.mode` includes one side.
fn includes(mode: WorkloadMode, side: WorkloadMode) -> bool {
    mode == WorkloadMode::ClientAndServer || mode == side
}

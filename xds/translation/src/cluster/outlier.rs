//! Outlier detection: which endpoints are set aside for a while.
//!
//! Source: Istio `applyOutlierDetection`.

use super::draft::Draft;
use crate::{Cx, endpoint};
use meltemi_api::envoy::config::cluster::v3::OutlierDetection as EnvoyOutlierDetection;
use meltemi_api::envoy::r#type::v3::Percent;
use meltemi_api::istio::networking::v1alpha3::OutlierDetection;
use meltemi_api::wkt::to_prost_duration;
use meltemi_world::Service;

/// Applies outlier detection to an outbound cluster.
pub(super) fn apply(cx: &Cx<'_>, draft: &mut Draft, service: &Service, settings: &OutlierDetection) {
    draft.cluster.outlier_detection = Some(detection(settings));
    // In panic Envoy would send traffic to endpoints that are not ready; with few Pods a service is soon there.
    let percent = if endpoint::forces_unhealthy(cx, service) { 0 } else { settings.min_health_percent };
    if settings.min_health_percent >= 0 {
        draft.common_lb().healthy_panic_threshold = Some(Percent { value: f64::from(percent) });
    }
}

fn detection(settings: &OutlierDetection) -> EnvoyOutlierDetection {
    // 0 errors switch a detector off, any other number switches it on wholly.
    let enforcing = |errors: u32| if errors > 0 { 100 } else { 0 };
    let errors = settings.consecutive_5xx_errors.as_ref().map(|e| e.value);
    let gateway_errors = settings.consecutive_gateway_errors.as_ref().map(|e| e.value);
    let split = settings.split_external_local_origin_errors;
    let local = settings.consecutive_local_origin_failures.as_ref().map_or(0, |e| e.value);
    let local = (split && local > 0).then_some(local);
    let max_ejected = settings.max_ejection_percent;
    EnvoyOutlierDetection {
        // Istio offers no detection by success rate, which Envoy has by default.
        enforcing_success_rate: Some(0),
        consecutive_5xx: errors,
        enforcing_consecutive_5xx: errors.map(enforcing),
        consecutive_gateway_failure: gateway_errors,
        enforcing_consecutive_gateway_failure: gateway_errors.map(enforcing),
        interval: settings.interval.as_ref().map(to_prost_duration),
        base_ejection_time: settings.base_ejection_time.as_ref().map(to_prost_duration),
        max_ejection_percent: (max_ejected > 0).then_some(max_ejected as u32),
        split_external_local_origin_errors: split,
        consecutive_local_origin_failure: local,
        enforcing_consecutive_local_origin_failure: local.map(enforcing),
        enforcing_local_origin_success_rate: split.then_some(0),
        ..Default::default()
    }
}

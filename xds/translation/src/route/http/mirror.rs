//! Requests that are also sent elsewhere.

use super::{Place, action::cluster};
use crate::wire;
use meltemi_api::envoy::config::core::v3::RuntimeFractionalPercent;
use meltemi_api::envoy::config::route::v3::route_action::RequestMirrorPolicy;
use meltemi_api::envoy::r#type::v3::FractionalPercent;
use meltemi_api::istio::networking::v1alpha3::{Destination, HttpRoute};

/// The mirrors of a rule: `mirror`, then each of `mirrors`; not those that get zero per cent.
pub(super) fn policies(place: &Place<'_>, rule: &HttpRoute) -> Vec<RequestMirrorPolicy> {
    let single = rule.mirror.as_ref().map(|to| (to, single_share(rule)));
    let listed = rule.mirrors.iter().filter_map(|mirror| {
        let share = match &mirror.percentage {
            Some(percentage) if percentage.value > 0.0 => Some(wire::fraction(percentage.value)),
            Some(_) => None,
            None => Some(wire::percent(100)),
        };
        Some((mirror.destination.as_ref()?, share))
    });
    single.into_iter().chain(listed).filter_map(|(to, share)| Some(policy(place, to, share?))).collect()
}

/// Source: Istio `MirrorPercent`.
#[allow(deprecated)] // Istio still honours `mirrorPercent`
fn single_share(rule: &HttpRoute) -> Option<FractionalPercent> {
    match (&rule.mirror_percentage, &rule.mirror_percent) {
        (Some(percentage), _) => (percentage.value > 0.0).then(|| wire::fraction(percentage.value)),
        (None, Some(percent)) => (percent.value > 0).then(|| wire::percent(percent.value)),
        (None, None) => Some(wire::percent(100)),
    }
}

fn policy(place: &Place<'_>, to: &Destination, share: FractionalPercent) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: cluster(place, to),
        runtime_fraction: Some(RuntimeFractionalPercent { default_value: Some(share), ..Default::default() }),
        trace_sampled: Some(false),
        disable_shadow_host_suffix_append: place.cx.features().disable_shadow_host_suffix,
        ..Default::default()
    }
}

//! When and how often a request is tried again.
//!
//! Source: Istio `pilot/pkg/networking/core/route/retry`.

use crate::wire;
use meltemi_api::envoy::config::route::v3::{RetryPolicy, retry_policy};
use meltemi_api::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use meltemi_api::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use meltemi_api::istio::networking::v1alpha3::HttpRetry;
use meltemi_api::wkt::to_prost_duration;

const DEFAULT_RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const DEFAULT_ATTEMPTS: u32 = 2;

/// Envoy's policy for `policy`, or Istio's default where there is none. `consistent_hash`: requests stick to a host,
/// so trying another one makes no sense. `None` where retries are switched off.
pub(super) fn policy(policy: Option<&HttpRetry>, consistent_hash: bool) -> Option<RetryPolicy> {
    let mut out = RetryPolicy {
        num_retries: Some(DEFAULT_ATTEMPTS),
        retry_on: DEFAULT_RETRY_ON.to_owned(),
        host_selection_retry_max_attempts: 5,
        retry_host_predicate: if consistent_hash { Vec::new() } else { vec![other_hosts()] },
        ..Default::default()
    };
    let Some(chosen) = policy else { return Some(out) };
    out.num_retries = Some(u32::try_from(chosen.attempts).ok().filter(|n| *n > 0)?);
    if !chosen.retry_on.is_empty() {
        (out.retry_on, out.retriable_status_codes) = conditions(&chosen.retry_on);
    }
    out.per_try_timeout = chosen.per_try_timeout.as_ref().map(to_prost_duration);
    if let Some(ignore_previous) = &chosen.retry_ignore_previous_hosts {
        out.retry_host_predicate = if ignore_previous.value { vec![other_hosts()] } else { Vec::new() };
    }
    if chosen.retry_remote_localities.as_ref().is_some_and(|v| v.value) {
        out.retry_priority = Some(other_priorities());
    }
    out.retry_back_off = chosen.backoff.as_ref().map(|base| retry_policy::RetryBackOff {
        base_interval: Some(to_prost_duration(base)),
        max_interval: None,
    });
    Some(out)
}

/// Tells status codes apart from Envoy's conditions, which share one list in Istio's API.
fn conditions(retry_on: &str) -> (String, Vec<u32>) {
    let (mut names, mut codes) = (Vec::new(), Vec::new());
    for part in retry_on.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        match part.parse() {
            Ok(code) if is_status(code) => codes.push(code),
            _ => names.push(part),
        }
    }
    let mut joined = names.join(",");
    if !codes.is_empty() && !joined.contains("retriable-status-codes") {
        joined.push_str(",retriable-status-codes");
    }
    (joined, codes)
}

/// Whether HTTP gives the number a name (Go `http.StatusText`).
fn is_status(code: u32) -> bool {
    matches!(code, 100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451
        | 500..=508 | 510 | 511)
}

fn other_hosts() -> retry_policy::RetryHostPredicate {
    retry_policy::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_policy::retry_host_predicate::ConfigType::TypedConfig(wire::any(
            &PreviousHostsPredicate {},
        ))),
    }
}

fn other_priorities() -> retry_policy::RetryPriority {
    retry_policy::RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_policy::retry_priority::ConfigType::TypedConfig(wire::any(
            &PreviousPrioritiesConfig { update_frequency: 2 },
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_are_told_apart_from_conditions() {
        let both = conditions("5xx, 503,,reset,666");
        assert_eq!(both, ("5xx,reset,666,retriable-status-codes".to_owned(), vec![503]));
        assert_eq!(conditions("503"), (",retriable-status-codes".to_owned(), vec![503]));
        assert_eq!(conditions("reset").1, Vec::<u32>::new());
    }

    #[test]
    fn no_attempts_means_no_retries() {
        assert_eq!(policy(Some(&HttpRetry { attempts: 0, ..Default::default() }), false), None);
        assert!(policy(None, true).unwrap().retry_host_predicate.is_empty());
    }
}

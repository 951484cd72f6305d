//! Delays and errors that are injected on purpose.
//!
//! Source: Istio `TranslateFault`.

use crate::wire;
use meltemi_api::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay};
use meltemi_api::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort};
use meltemi_api::istio::networking::v1alpha3::{HttpFaultInjection, http_fault_injection as istio};
use meltemi_api::validate::grpc;
use meltemi_api::wkt::to_prost_duration;

/// Envoy's fault for Istio's. What Envoy can't do is left out.
pub(super) fn fault(injected: &HttpFaultInjection) -> HttpFault {
    HttpFault {
        delay: injected.delay.as_ref().and_then(delay),
        abort: injected.abort.as_ref().and_then(abort),
        ..Default::default()
    }
}

#[allow(deprecated)] // Istio still honours `percent`
fn delay(delay: &istio::Delay) -> Option<FaultDelay> {
    let Some(istio::delay::HttpDelayType::FixedDelay(fixed)) = &delay.http_delay_type else { return None };
    let percentage = match &delay.percentage {
        Some(percentage) => wire::fraction(percentage.value),
        None => wire::percent(delay.percent.cast_unsigned()),
    };
    Some(FaultDelay {
        percentage: Some(percentage),
        fault_delay_secifier: Some(fault_delay::FaultDelaySecifier::FixedDelay(to_prost_duration(fixed))),
    })
}

fn abort(abort: &istio::Abort) -> Option<FaultAbort> {
    let error = match abort.error_type.as_ref()? {
        istio::abort::ErrorType::HttpStatus(status) => {
            fault_abort::ErrorType::HttpStatus(status.cast_unsigned())
        }
        // 0 for an unknown name, as in Istio (`SupportedGRPCStatus`).
        istio::abort::ErrorType::GrpcStatus(name) => {
            fault_abort::ErrorType::GrpcStatus(grpc::code(name).unwrap_or(0))
        }
        istio::abort::ErrorType::Http2Error(_) => return None,
    };
    Some(FaultAbort {
        percentage: abort.percentage.as_ref().map(|p| wire::fraction(p.value)),
        error_type: Some(error),
    })
}

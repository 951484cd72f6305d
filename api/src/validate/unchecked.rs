//! Kinds whose rules are not written yet: what can be read of them is accepted.

use super::{At, Findings, Validate};
use crate::istio::extensions::v1alpha1::{TrafficExtension, WasmPlugin};
use crate::istio::security::v1beta1::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
use crate::istio::telemetry::v1alpha1::Telemetry;
use crate::k8s::ObjectMeta;

macro_rules! unchecked {
    ($($kind:ty: $dry_run:expr),*) => {$(
        impl Validate for $kind {
            const DRY_RUN: bool = $dry_run;
            fn validate(&self, _: &ObjectMeta, _: &At<'_>, _: &mut Findings) {}
        }
    )*};
}

unchecked! {
    PeerAuthentication: false,
    RequestAuthentication: false,
    AuthorizationPolicy: true,
    Telemetry: false,
    WasmPlugin: false,
    TrafficExtension: false
}

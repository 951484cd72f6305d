//! The headers that a proxy adds to requests and responses, as `ProxyConfig.proxyHeaders` chooses them.
//!
//! Source: Istio `pilot/pkg/networking/util/proxy_headers.go`.

use crate::Cx;
use hcm::{ForwardClientCertDetails, ServerHeaderTransformation};
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as hcm;
use meltemi_api::istio::mesh::v1alpha1 as mesh;
use mesh::proxy_config::proxy_headers::{MetadataExchangeMode, SetCurrentClientCertDetails};

/// Which side of a proxy a listener is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerClass {
    /// Traffic to the workload.
    SidecarInbound,
    /// Traffic from the workload.
    SidecarOutbound,
    /// A gateway's listener.
    Gateway,
}

/// What a proxy adds.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyHeaders {
    /// The value of `server`; empty for Envoy's own (`envoy`).
    pub server_name: String,
    /// What happens to a `server` header of the application.
    pub server_header_transformation: ServerHeaderTransformation,
    /// What happens to `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCertDetails,
    /// Which parts of the client's certificate are forwarded, where the user chose.
    pub set_current_cert_details: Option<SetCurrentClientCertDetails>,
    /// Whether requests carry `x-envoy-attempt-count`.
    pub include_request_attempt_count: bool,
    /// Whether `x-request-id` is generated; `None` for Envoy's default, which is yes.
    pub generate_request_id: Option<bool>,
    /// Whether the `x-envoy-*` headers for debugging are left out.
    pub suppress_debug_headers: bool,
    /// Whether headers of the metadata exchange are sent to the mesh only.
    pub skip_istio_mx_headers: bool,
    /// Whether requests carry `x-forwarded-port`.
    pub x_forwarded_port: bool,
    /// Whether requests carry `x-forwarded-host`.
    pub x_forwarded_host: bool,
}

impl ProxyHeaders {
    /// What the proxy adds on listeners of `class`.
    pub fn of(cx: &Cx<'_>, class: ListenerClass) -> Self {
        let chosen = cx.proxy_config().and_then(|config| config.proxy_headers.as_ref());
        let base = Self::defaults(class);
        match chosen {
            Some(chosen) => base.overlaid(chosen),
            None => base,
        }
    }

    fn defaults(class: ListenerClass) -> Self {
        // Outbound traffic of sidecars shows Envoy's own name, as it always has in Istio.
        let server_name = if class == ListenerClass::SidecarOutbound { "" } else { "istio-envoy" };
        Self {
            server_name: server_name.to_owned(),
            server_header_transformation: ServerHeaderTransformation::Overwrite,
            forward_client_cert: ForwardClientCertDetails::AppendForward,
            set_current_cert_details: None,
            include_request_attempt_count: true,
            generate_request_id: None,
            suppress_debug_headers: false,
            skip_istio_mx_headers: false,
            x_forwarded_port: false,
            x_forwarded_host: false,
        }
    }

    fn overlaid(mut self, chosen: &mesh::proxy_config::ProxyHeaders) -> Self {
        if chosen.forwarded_client_cert() != mesh::ForwardClientCertDetails::Undefined {
            self.forward_client_cert = forward_client_cert(chosen.forwarded_client_cert());
        }
        if let Some(server) = &chosen.server {
            if server.disabled.as_ref().is_some_and(|v| v.value) {
                self.server_name.clear();
                self.server_header_transformation = ServerHeaderTransformation::PassThrough;
            } else if !server.value.is_empty() {
                self.server_name.clone_from(&server.value);
            }
        }
        let attempts_off =
            chosen.attempt_count.as_ref().and_then(|c| c.disabled.as_ref()).is_some_and(|v| v.value);
        let request_id_off =
            chosen.request_id.as_ref().and_then(|c| c.disabled.as_ref()).is_some_and(|v| v.value);
        let debug_off =
            chosen.envoy_debug_headers.as_ref().and_then(|c| c.disabled.as_ref()).is_some_and(|v| v.value);
        let exchange = chosen.metadata_exchange_headers.as_ref().map(|c| c.mode());
        Self {
            set_current_cert_details: chosen.set_current_client_cert_details,
            include_request_attempt_count: !attempts_off,
            generate_request_id: request_id_off.then_some(false),
            suppress_debug_headers: debug_off,
            skip_istio_mx_headers: exchange == Some(MetadataExchangeMode::InMesh),
            x_forwarded_port: chosen
                .x_forwarded_port
                .as_ref()
                .and_then(|c| c.enabled.as_ref())
                .is_some_and(|v| v.value),
            x_forwarded_host: chosen
                .x_forwarded_host
                .as_ref()
                .and_then(|c| c.enabled.as_ref())
                .is_some_and(|v| v.value),
            ..self
        }
    }
}

/// Istio's choice as Envoy's. `UNDEFINED` is Envoy's default.
pub fn forward_client_cert(details: mesh::ForwardClientCertDetails) -> ForwardClientCertDetails {
    use mesh::ForwardClientCertDetails as Istio;
    match details {
        Istio::Undefined | Istio::Sanitize => ForwardClientCertDetails::Sanitize,
        Istio::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
        Istio::AppendForward => ForwardClientCertDetails::AppendForward,
        Istio::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
        Istio::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
    }
}

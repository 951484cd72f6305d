//! External authorizers that MeshConfig defines (`extensionProviders`).
//!
//! Source: Istio `pilot/pkg/security/authz/builder/extauthz.go`.

use super::matcher;
use crate::{Cx, extension_provider};
use meltemi_api::envoy::config::core::v3::{
    ApiVersion, GrpcService, HeaderValue, HttpUri, grpc_service, http_uri,
};
use meltemi_api::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationRequest, AuthorizationResponse, BufferSettings, ExtAuthz as HttpExtAuthz, HttpService,
    ext_authz::Services,
};
use meltemi_api::envoy::extensions::filters::network::ext_authz::v3::ExtAuthz as NetworkExtAuthz;
use meltemi_api::envoy::r#type::matcher::v3::{ListStringMatcher, StringMatcher};
use meltemi_api::envoy::r#type::v3::{HttpStatus, StatusCode};
use meltemi_api::istio::mesh::v1alpha1::mesh_config::{
    ExtensionProvider,
    extension_provider::{
        EnvoyExternalAuthorizationGrpcProvider as Grpc, EnvoyExternalAuthorizationHttpProvider as Http,
        EnvoyExternalAuthorizationRequestBody as Body, Provider as Kind,
    },
};
use meltemi_api::wkt;

/// An authorizer as Envoy's filters ask it, but for which requests.
pub(super) struct Provider {
    /// On HTTP chains.
    pub http: HttpExtAuthz,
    /// On TCP chains, where the authorizer can say something of them.
    pub network: Option<NetworkExtAuthz>,
}

/// How long to wait where the provider does not say, in seconds.
const TIMEOUT: i64 = 600;

/// The authorizer of a name; `None` where there is none, or its settings cannot be used.
pub(super) fn find(cx: &Cx<'_>, name: &str) -> Option<Provider> {
    let all: Vec<&ExtensionProvider> = cx.mesh().extension_providers.iter().collect();
    let is_authorizer = |p: &&&ExtensionProvider| {
        matches!(p.provider, Some(Kind::EnvoyExtAuthzHttp(_) | Kind::EnvoyExtAuthzGrpc(_)))
    };
    let mut named = all.iter().filter(|p| p.name == name).filter(is_authorizer);
    let (Some(provider), None) = (named.next(), named.next()) else { return None };
    if !is_valid_name(name) {
        return None;
    }
    match provider.provider.as_ref()? {
        Kind::EnvoyExtAuthzHttp(p) => http(cx, p),
        Kind::EnvoyExtAuthzGrpc(p) => grpc(cx, p),
        _ => None,
    }
}

fn http(cx: &Cx<'_>, p: &Http) -> Option<Provider> {
    let (hostname, cluster) = target(cx, &p.service, p.port)?;
    let status_on_error = status(&p.status_on_error)?;
    #[allow(deprecated)] // read where its successor is not set
    let checked = [&p.include_request_headers_in_check, &p.include_headers_in_check];
    let answered = [
        &p.headers_to_upstream_on_allow,
        &p.headers_to_downstream_on_deny,
        &p.headers_to_downstream_on_allow,
    ];
    let bare_wildcard = checked.iter().chain(&answered).any(|list| list.iter().any(|h| h == "*"));
    if bare_wildcard || !(p.path_prefix.is_empty() || p.path_prefix.starts_with('/')) {
        return None;
    }
    let [upstream, client, client_on_success] = answered.map(|list| headers(list));
    let response = AuthorizationResponse {
        allowed_upstream_headers: upstream,
        allowed_client_headers: client,
        allowed_client_headers_on_success: client_on_success,
        ..Default::default()
    };
    let added = p.include_additional_headers_in_check.iter();
    let added: Vec<HeaderValue> = added
        .map(|(key, value)| HeaderValue { key: key.clone(), value: value.clone(), ..Default::default() })
        .collect();
    let service = HttpService {
        server_uri: Some(HttpUri {
            // Envoy wants a URI and does not use it.
            uri: format!("http://{hostname}"),
            timeout: Some(timeout(p.timeout.as_ref())),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(cluster)),
        }),
        path_prefix: p.path_prefix.clone(),
        authorization_request: (!added.is_empty())
            .then(|| AuthorizationRequest { headers_to_add: added, ..Default::default() }),
        authorization_response: (response != AuthorizationResponse::default()).then_some(response),
        ..Default::default()
    };
    let config = HttpExtAuthz {
        allowed_headers: checked.iter().find_map(|list| headers(list)),
        ..base(
            Services::HttpService(service),
            p.fail_open,
            status_on_error,
            p.include_request_body_in_check.as_ref(),
        )
    };
    Some(Provider { http: config, network: None })
}

fn grpc(cx: &Cx<'_>, p: &Grpc) -> Option<Provider> {
    let (authority, cluster_name) = target(cx, &p.service, p.port)?;
    let status_on_error = status(&p.status_on_error)?;
    let envoy = grpc_service::EnvoyGrpc { cluster_name, authority, ..Default::default() };
    let service = GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(envoy)),
        timeout: Some(timeout(p.timeout.as_ref())),
        ..Default::default()
    };
    let network = NetworkExtAuthz {
        stat_prefix: super::TCP_STATS.to_owned(),
        grpc_service: Some(service.clone()),
        failure_mode_allow: p.fail_open,
        transport_api_version: ApiVersion::V3 as i32,
        ..Default::default()
    };
    let services = Services::GrpcService(service);
    let http = base(services, p.fail_open, status_on_error, p.include_request_body_in_check.as_ref());
    Some(Provider { http, network: Some(network) })
}

fn base(
    services: Services,
    fail_open: bool,
    status: Option<HttpStatus>,
    body: Option<&Body>,
) -> HttpExtAuthz {
    HttpExtAuthz {
        services: Some(services),
        failure_mode_allow: fail_open,
        status_on_error: status,
        transport_api_version: ApiVersion::V3 as i32,
        with_request_body: body.map(|b| BufferSettings {
            max_request_bytes: b.max_request_bytes,
            allow_partial_message: b.allow_partial_message,
            pack_as_bytes: b.pack_as_bytes,
        }),
        ..Default::default()
    }
}

/// Host and cluster of the authorizer's service.
fn target(cx: &Cx<'_>, service: &str, port: u32) -> Option<(String, String)> {
    let found = (1..=65535).contains(&port).then(|| extension_provider::lookup(cx, service, port))??;
    Some((found.hostname.to_string(), found.cluster))
}

/// The status of a request whose check failed: `Some(None)` for Envoy's default, `None` if it is no status.
fn status(code: &str) -> Option<Option<HttpStatus>> {
    if code.is_empty() {
        return Some(None);
    }
    let code = StatusCode::try_from(code.parse::<i32>().ok()?).ok()?;
    Some(Some(HttpStatus { code: code as i32 }))
}

fn timeout(timeout: Option<&wkt::Duration>) -> prost_types::Duration {
    timeout.map_or(wkt::seconds(TIMEOUT), wkt::to_prost_duration)
}

fn headers(list: &[String]) -> Option<ListStringMatcher> {
    let pattern = |header: &String| {
        let matcher = match (header.strip_prefix('*'), header.strip_suffix('*')) {
            (Some(end), _) => matcher::suffix(end),
            (None, Some(start)) => matcher::prefix(start),
            (None, None) => matcher::exact(header),
        };
        StringMatcher { ignore_case: true, ..matcher }
    };
    (!list.is_empty()).then(|| ListStringMatcher { patterns: list.iter().map(pattern).collect() })
}

/// A DNS label: other names would not be safe as part of a rule's name.
fn is_valid_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

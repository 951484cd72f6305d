//! Extension providers. istiod takes a configuration with bad ones, and says so: they do no harm while nothing uses them.

use super::super::host::{self, HostOf};
use super::super::{At, Findings, scalar, url};
use crate::envoy::r#type::v3::StatusCode;
use crate::istio::mesh::v1alpha1::MeshConfig;
use crate::istio::mesh::v1alpha1::mesh_config::extension_provider::Provider;

/// Warns of those that cannot be used.
pub(super) fn providers(mesh: &MeshConfig, out: &mut Findings) {
    let at = At::root("extensionProviders");
    for (i, entry) in mesh.extension_providers.iter().enumerate() {
        // By name: the defaults stand in the list before those of the user.
        let at = if entry.name.is_empty() { at.index(i) } else { at.key(&entry.name) };
        let earlier = &mesh.extension_providers[..i];
        if entry.name.is_empty() {
            out.warn(&at.field("name"), "missing: name the provider, so that it can be used");
        } else if earlier.iter().any(|other| other.name == entry.name) {
            out.warn(
                &at.field("name"),
                format!("{} is named twice, and neither can be used; rename one", entry.name),
            );
        }
        provider(&at, entry.provider.as_ref(), out);
    }
}

#[allow(deprecated, reason = "deprecated providers are still read")]
fn provider(at: &At<'_>, provider: Option<&Provider>, out: &mut Findings) {
    let (field, service, port) = match provider {
        None | Some(Provider::Sds(_)) => {
            return out.warn(at, "is of no kind that can be used; write one, such as envoyExtAuthzGrpc");
        }
        Some(Provider::Prometheus(_) | Provider::Stackdriver(_) | Provider::EnvoyFileAccessLog(_)) => return,
        Some(Provider::EnvoyExtAuthzHttp(p)) => {
            let at = at.field("envoyExtAuthzHttp");
            warn(&at.field("statusOnError"), status(&p.status_on_error), out);
            warn(&at.field("pathPrefix"), path_prefix(&p.path_prefix), out);
            ("envoyExtAuthzHttp", &p.service, p.port)
        }
        Some(Provider::EnvoyExtAuthzGrpc(p)) => {
            warn(&at.field("envoyExtAuthzGrpc").field("statusOnError"), status(&p.status_on_error), out);
            ("envoyExtAuthzGrpc", &p.service, p.port)
        }
        Some(Provider::Lightstep(p)) => {
            if p.access_token.is_empty() {
                out.warn(&at.field("lightstep").field("accessToken"), "missing: write the token");
            }
            ("lightstep", &p.service, p.port)
        }
        Some(Provider::Opentelemetry(p)) => {
            if p.grpc.is_some() && p.http.is_some() {
                out.warn(&at.field("opentelemetry"), "has both grpc and http; leave one of them");
            }
            ("opentelemetry", &p.service, p.port)
        }
        Some(Provider::Zipkin(p)) => ("zipkin", &p.service, p.port),
        Some(Provider::Datadog(p)) => ("datadog", &p.service, p.port),
        Some(Provider::Opencensus(p)) => ("opencensus", &p.service, p.port),
        Some(Provider::Skywalking(p)) => ("skywalking", &p.service, p.port),
        Some(Provider::EnvoyHttpAls(p)) => ("envoyHttpAls", &p.service, p.port),
        Some(Provider::EnvoyTcpAls(p)) => ("envoyTcpAls", &p.service, p.port),
        Some(Provider::EnvoyOtelAls(p)) => ("envoyOtelAls", &p.service, p.port),
    };
    let at = at.field(field);
    warn(&at.field("service"), self::service(service), out);
    warn(&at.field("port"), scalar::port(port), out);
}

fn warn(at: &At<'_>, problem: Option<String>, out: &mut Findings) {
    if let Some(message) = problem {
        out.warn(at, message);
    }
}

/// A host, an address, or `<namespace>/<host>`.
fn service(text: &str) -> Option<String> {
    if text.contains('/') {
        return host::namespaced_host(text, HostOf::Sidecar);
    }
    host::fqdn(text).filter(|_| !host::is_ip(text))
}

/// A status of HTTP that Envoy knows, or none.
fn status(text: &str) -> Option<String> {
    let known = text.is_empty() || text.parse().is_ok_and(|code: i32| StatusCode::try_from(code).is_ok());
    (!known).then(|| format!("{text:?} is no status of HTTP; write a number such as 403"))
}

fn path_prefix(text: &str) -> Option<String> {
    let good = text.is_empty() || text.starts_with('/') && url::parse(text).is_ok();
    (!good).then(|| format!("{text:?} is no path; write one with a slash at its start"))
}

//! Rules of Gateways.

use super::host::{HostOf, namespaced_host};
use super::scalar::{Family, family, unknown_protocol};
use super::{At, Findings, Validate, host, scalar, tls};
use crate::istio::networking::v1alpha3::server_tls_settings::TlSmode;
use crate::istio::networking::v1alpha3::{Gateway, Port, Server, ServerTlsSettings};
use crate::k8s::ObjectMeta;

/// On Gateways that the control plane made of those of the Gateway API.
const CONVERTED: (&str, &str) = ("internal.istio.io/gateway-semantics", "gateway");

impl Validate for Gateway {
    fn validate(&self, meta: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        let converted = meta.annotations.get(CONVERTED.0).is_some_and(|v| v == CONVERTED.1);
        if !converted && !host::is_label(&meta.name) {
            let metadata = At::root("metadata");
            out.error(
                &metadata.field("name"),
                format!("{:?} should be a DNS label, without dots", meta.name),
            );
        }
        let at = spec.field("servers");
        if self.servers.is_empty() {
            out.error(&at, "is missing; give the gateway at least one server");
        }
        let of = if converted { HostOf::ConvertedGateway } else { HostOf::Gateway };
        for (i, server) in self.servers.iter().enumerate() {
            let at = at.index(i);
            self::server(&at, server, of, out);
            let name = server.port.as_ref().map(|p| p.name.as_str());
            let same = |other: &&Server| other.port.as_ref().map(|p| p.name.as_str()) == name;
            if let Some(name) = name
                && self.servers[..i].iter().any(|other| same(&other))
            {
                let port = at.field("port");
                out.error(&port.field("name"), format!("{name:?} is the name of another server's port, too"));
            }
        }
    }
}

fn server(at: &At<'_>, server: &Server, of: HostOf, out: &mut Findings) {
    if server.hosts.is_empty() {
        out.error(&at.field("hosts"), "is missing; name at least one host, or '*'");
    }
    for (i, host) in server.hosts.iter().enumerate() {
        out.check(&at.field("hosts").index(i), namespaced_host(host, of));
    }
    bind(&at.field("bind"), server, out);
    if let Some(tls) = &server.tls {
        tls::server(&at.field("tls"), tls, out);
    }
    let Some(port) = &server.port else {
        return out.error(&at.field("port"), "is missing; give it number, name and protocol");
    };
    if let Some(family) = self::port(&at.field("port"), port, &server.bind, out) {
        tls_of(&at.field("tls"), family, server.tls.as_ref(), out);
    }
}

/// Checks a port. Returns the family of its protocol if all is right with it.
#[expect(deprecated, reason = "users may still write it")]
fn port(at: &At<'_>, port: &Port, bind: &str, out: &mut Findings) -> Option<Family> {
    let before = out.errors.len();
    let family = family(&port.protocol);
    if family.is_none() {
        out.error(&at.field("protocol"), unknown_protocol(&port.protocol));
    }
    if port.number > 0 || !bind.starts_with(host::UNIX) {
        out.check(&at.field("number"), scalar::port(port.number));
    }
    if port.target_port > 0 {
        out.error(&at.field("targetPort"), "has no effect on a gateway; remove it");
    }
    if port.name.is_empty() {
        out.error(&at.field("name"), "is missing; name the port");
    }
    family.filter(|_| out.errors.len() == before)
}

fn bind(at: &At<'_>, server: &Server, out: &mut Findings) {
    if let Some(path) = server.bind.strip_prefix(host::UNIX) {
        out.check(at, host::unix_path(path));
        if server.port.as_ref().is_some_and(|p| p.number != 0) {
            out.error(at, "a Unix domain socket has no port; give it the number 0");
        }
    } else if !server.bind.is_empty() {
        out.check(at, host::ip(&server.bind));
    }
}

/// Whether there is TLS where the protocol wants it, and only there.
fn tls_of(at: &At<'_>, family: Family, tls: Option<&ServerTlsSettings>, out: &mut Findings) {
    match (family, tls) {
        (Family::Tls, None) => out.error(at, "is missing, which HTTPS and TLS need"),
        (Family::Tls, Some(_)) | (_, None) => {}
        (Family::Http, Some(tls)) => {
            // For a redirect to HTTPS.
            let passes = matches!(tls.mode(), TlSmode::Passthrough | TlSmode::AutoPassthrough);
            let files = [&tls.ca_certificates, &tls.private_key, &tls.server_certificate];
            if !passes || files.iter().any(|file| !file.is_empty()) {
                out.error(
                    at,
                    "has no place on a port for plain HTTP, but for httpsRedirect; use protocol HTTPS",
                );
            }
        }
        (_, Some(_)) => out.error(at, "has no place on a port without TLS; use protocol TLS or HTTPS"),
    }
}

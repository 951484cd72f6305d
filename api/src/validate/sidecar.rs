//! Rules of Sidecars.

use super::host::{HostOf, UNIX, ip, namespaced_host, unix_path};
use super::scalar::{self, Family, family};
use super::traffic::connection_pool;
use super::virtual_service::destination;
use super::{At, Findings, Validate, host, labels, tls};
use crate::istio::networking::v1alpha3::outbound_traffic_policy::Mode as Outbound;
use crate::istio::networking::v1alpha3::server_tls_settings::TlSmode;
use crate::istio::networking::v1alpha3::{
    CaptureMode, IstioEgressListener, IstioIngressListener, OutboundTrafficPolicy, ServerTlsSettings,
    Sidecar, SidecarPort,
};
use crate::k8s::ObjectMeta;

impl Validate for Sidecar {
    fn validate(&self, meta: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        if let Some(selector) = &self.workload_selector {
            labels::selector(&spec.field("workloadSelector").field("labels"), &selector.labels, out);
        }
        let says = self.outbound_traffic_policy.is_some() || self.inbound_connection_pool.is_some();
        if self.egress.is_empty() && self.ingress.is_empty() && !says {
            return out.error(
                spec,
                "is empty; give it egress, ingress, outboundTrafficPolicy or inboundConnectionPool",
            );
        }
        for (i, listener) in self.ingress.iter().enumerate() {
            ingress(&spec.field("ingress").index(i), listener, &self.ingress[..i], out);
        }
        connection_pool(&spec.field("inboundConnectionPool"), self.inbound_connection_pool.as_ref(), out);
        for (i, listener) in self.egress.iter().enumerate() {
            let at = spec.field("egress");
            let at = at.index(i);
            egress(&at, listener, &self.egress[..i], i + 1 == self.egress.len(), out);
            hosts(&at.field("hosts"), &meta.namespace, &listener.hosts, out);
        }
        if let Some(policy) = &self.outbound_traffic_policy {
            outbound(&spec.field("outboundTrafficPolicy"), policy, out);
        }
    }
}

fn ingress(
    at: &At<'_>,
    listener: &IstioIngressListener,
    before: &[IstioIngressListener],
    out: &mut Findings,
) {
    let port_at = at.field("port");
    let Some(port) = &listener.port else {
        return out.error(&port_at, "is missing; give it number, name and protocol");
    };
    self::port(&port_at, port, out);
    out.check(&port_at.field("number"), scalar::port(port.number));
    if !listener.bind.is_empty() {
        out.check(&at.field("bind"), ip(&listener.bind));
    }
    unique(&port_at, port, before.iter().filter_map(|l| l.port.as_ref()), out);
    if !listener.default_endpoint.is_empty() {
        default_endpoint(&at.field("defaultEndpoint"), &listener.default_endpoint, out);
    }
    if let Some(tls) = &listener.tls {
        ingress_tls(&at.field("tls"), port, tls, out);
    }
    connection_pool(&at.field("connectionPool"), listener.connection_pool.as_ref(), out);
    let http = listener.connection_pool.as_ref().is_some_and(|pool| pool.http.is_some());
    if http && family(&port.protocol) != Some(Family::Http) {
        let pool = at.field("connectionPool");
        let message = format!("has no effect on a port of protocol {:?}, which is not HTTP", port.protocol);
        out.warn(&pool.field("http"), message);
    }
}

/// What holds for ports of both directions.
#[expect(deprecated, reason = "users may still write it")]
fn port(at: &At<'_>, port: &SidecarPort, out: &mut Findings) {
    if port.target_port > 0 {
        out.error(&at.field("targetPort"), "has no effect on a Sidecar; remove it");
    }
    if !port.name.is_empty() {
        out.check(&at.field("name"), scalar::port_name(&port.name));
    }
    out.check(&at.field("protocol"), scalar::protocol(&port.protocol));
}

fn unique<'a>(
    at: &At<'_>,
    port: &SidecarPort,
    mut before: impl Iterator<Item = &'a SidecarPort>,
    out: &mut Findings,
) {
    if before.any(|other| other.number == port.number) {
        out.error(&at.field("number"), format!("{} is the port of another listener, too", port.number));
    }
}

/// `127.0.0.1:<port>`, `0.0.0.0:<port>`, their like of IPv6, `:<port>`, or a Unix domain socket.
fn default_endpoint(at: &At<'_>, endpoint: &str, out: &mut Findings) {
    if let Some(path) = endpoint.strip_prefix(UNIX) {
        return out.check(at, unix_path(path));
    }
    let Some((host, port)) = endpoint.rsplit_once(':') else {
        return out.error(at, format!("{endpoint:?} has no port; write 127.0.0.1:<port> or unix://<path>"));
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let known = match bracketed {
        Some(host) => matches!(host, "" | "127.0.0.1" | "0.0.0.0" | "::1" | "::"),
        None => matches!(host, "" | "127.0.0.1" | "0.0.0.0"),
    };
    if !known {
        out.error(
            at,
            format!("{host:?} is not the workload itself; write 127.0.0.1, 0.0.0.0, [::1], [::] or nothing before the port"),
        );
    }
    match port.parse::<u32>() {
        Ok(port) => out.check(at, scalar::port(port)),
        Err(_) => out.error(at, format!("{port:?} is no port's number")),
    }
}

fn ingress_tls(at: &At<'_>, port: &SidecarPort, tls: &ServerTlsSettings, out: &mut Findings) {
    for (field, set) in [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("httpsRedirect", tls.https_redirect),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ] {
        if set {
            out.error(&at.field(field), "is not supported on a Sidecar; remove it");
        }
    }
    if matches!(tls.mode(), TlSmode::IstioMutual | TlSmode::AutoPassthrough) {
        let message = format!("{} is not supported on a Sidecar", tls.mode().as_str_name());
        out.error(&at.field("mode"), message);
    }
    if family(&port.protocol) != Some(Family::Tls) {
        out.error(at, "has no place on a port without TLS; use protocol HTTPS or TLS");
    }
    tls::server(at, tls, out);
}

fn egress(
    at: &At<'_>,
    listener: &IstioEgressListener,
    before: &[IstioEgressListener],
    last: bool,
    out: &mut Findings,
) {
    let port_at = at.field("port");
    let Some(port) = &listener.port else {
        if !last {
            out.error(&port_at, "is missing, as only the last listener's may be, which takes the rest");
        }
        return;
    };
    self::port(&port_at, port, out);
    let bind_at = at.field("bind");
    if port.number != 0 {
        out.check(&port_at.field("number"), scalar::port(port.number));
        if !listener.bind.is_empty() {
            out.check(&bind_at, ip(&listener.bind));
        }
        return unique(&port_at, port, before.iter().filter_map(|l| l.port.as_ref()), out);
    }
    match listener.bind.strip_prefix(UNIX) {
        Some(path) => out.check(&bind_at, unix_path(path)),
        None => {
            out.error(&port_at.field("number"), "0 is for a bind of unix://<path>; write the port's number")
        }
    }
    if !matches!(listener.capture_mode(), CaptureMode::Default | CaptureMode::None) {
        out.error(&at.field("captureMode"), "a Unix domain socket is not captured; write NONE");
    }
    let same = |other: &IstioEgressListener| {
        other.bind == listener.bind && other.port.as_ref().is_some_and(|p| p.number == 0)
    };
    if before.iter().any(same) {
        out.error(&bind_at, format!("{} is the socket of another listener, too", listener.bind));
    }
}

fn hosts(at: &At<'_>, namespace: &str, hosts: &[String], out: &mut Findings) {
    if hosts.is_empty() {
        out.error(at, "is missing; name at least one host, e.g. './*'");
    }
    let own = |entry: &str| entry == "." || entry == namespace;
    let same = |a: &str, b: &str| a == b || own(a) && own(b);
    for (i, entry) in hosts.iter().enumerate() {
        out.check(&at.index(i), namespaced_host(entry, HostOf::Sidecar));
        let Some((ns, name)) = parts(entry) else { continue };
        let again = hosts[..i]
            .iter()
            .filter_map(|h| parts(h))
            .any(|(other, before)| same(ns, other) && (name == "*" || before == "*" || before == name));
        if again {
            out.warn(&at.index(i), format!("{entry} is named twice, or part of another"));
        }
    }
    let all = hosts.iter().any(|h| h == "*/*");
    if all && hosts.iter().filter_map(|h| parts(h)).any(|(ns, _)| ns != "*") {
        out.warn(at, "*/* takes all hosts, so the others have no effect");
    }
}

/// Namespace and host, unless the entry takes something away.
fn parts(entry: &str) -> Option<(&str, &str)> {
    entry.split_once('/').filter(|(ns, _)| !ns.starts_with('~'))
}

fn outbound(at: &At<'_>, policy: &OutboundTrafficPolicy, out: &mut Findings) {
    if Outbound::try_from(policy.mode).is_err() {
        return out.error(&at.field("mode"), "is for the whole mesh only; write REGISTRY_ONLY or ALLOW_ANY");
    }
    let Some(proxy) = &policy.egress_proxy else { return };
    let proxy_at = at.field("egressProxy");
    if policy.mode() != Outbound::AllowAny {
        return out.error(&proxy_at, "is for mode ALLOW_ANY only");
    }
    if proxy.port.is_none() {
        return out.error(&proxy_at.field("port"), "is missing; give the proxy's port");
    }
    destination(&proxy_at, proxy, out);
    let wild = host::wildcard_domain(&proxy.host).is_none();
    out.check(&proxy_at.field("host"), host::fqdn(&proxy.host).filter(|_| wild && proxy.host != "*"));
}

//! Rules of VirtualServices.

mod action;
mod destination;
mod http;
mod l4;
mod matches;
mod unreachable;

use super::scalar::{ExportOf, export_to};
use super::{At, Findings, Validate, header, host};
use crate::istio::networking::v1alpha3::VirtualService;
use crate::k8s::ObjectMeta;

pub(super) use destination::{destination, subset as subset_name};

/// The gateway that stands for all sidecars.
const MESH: &str = "mesh";
/// On VirtualServices that the control plane made of routes of the Gateway API.
const CONVERTED: (&str, &str) = ("internal.istio.io/route-semantics", "gateway");

/// What of a VirtualService matters to its routes.
struct Cx<'a> {
    spec: &'a VirtualService,
    /// Bound to gateways only.
    at_gateway: bool,
    /// Made of a route of the Gateway API, whose names have other rules.
    converted: bool,
}

impl Validate for VirtualService {
    fn validate(&self, meta: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        let converted = meta.annotations.get(CONVERTED.0).is_some_and(|v| v == CONVERTED.1);
        let at_gateway = !self.gateways.is_empty() && !self.gateways.iter().any(|g| g == MESH);
        let cx = Cx { spec: self, at_gateway, converted };
        if self.hosts.is_empty() {
            delegate(self, spec, out);
        }
        gateways(&spec.field("gateways"), &self.gateways, converted, out);
        hosts(&cx, &spec.field("hosts"), out);
        if self.http.is_empty() && self.tcp.is_empty() && self.tls.is_empty() {
            out.error(spec, "has no routes; give it http, tls or tcp");
        }
        for (i, route) in self.http.iter().enumerate() {
            http::route(&cx, &spec.field("http").index(i), route, out);
        }
        for (i, route) in self.tls.iter().enumerate() {
            l4::tls(&cx, &spec.field("tls").index(i), route, out);
        }
        for (i, route) in self.tcp.iter().enumerate() {
            l4::tcp(&cx, &spec.field("tcp").index(i), route, out);
        }
        export_to(&spec.field("exportTo"), &meta.namespace, &self.export_to, ExportOf::Other, out);
        unreachable::http(&spec.field("http"), &self.http, out);
        unreachable::tls(&spec.field("tls"), &self.tls, out);
        unreachable::tcp(&spec.field("tcp"), &self.tcp, out);
    }
}

/// One without hosts is put into others, which have what it must not have.
fn delegate(spec: &VirtualService, at: &At<'_>, out: &mut Findings) {
    for (field, is_empty) in
        [("gateways", spec.gateways.is_empty()), ("tls", spec.tls.is_empty()), ("tcp", spec.tcp.is_empty())]
    {
        if !is_empty {
            out.error(
                &at.field(field),
                "without hosts, a VirtualService is a delegate, which has HTTP routes only; give it hosts or remove this",
            );
        }
    }
}

fn hosts(cx: &Cx<'_>, at: &At<'_>, out: &mut Findings) {
    let sni = cx.spec.tls.iter().any(|t| t.r#match.iter().any(|m| !m.sni_hosts.is_empty()));
    let hosts = &cx.spec.hosts;
    let before = out.errors.len();
    for (i, name) in hosts.iter().enumerate() {
        let problem =
            if cx.at_gateway { host::domain_at_gateway(sni, name) } else { host::wildcard_domain(name) };
        if problem.is_some() {
            out.check(&at.index(i), problem.filter(|_| !host::is_ip(name)));
        } else if !cx.at_gateway && name == "*" {
            out.error(&at.index(i), "* would take the whole mesh; bind it to a gateway, or name hosts");
        }
    }
    if out.errors.len() > before {
        return;
    }
    for (i, name) in hosts.iter().enumerate() {
        for other in hosts[..i].iter().filter(|other| host::overlap(other, name)) {
            out.error(&at.index(i), format!("{name} is named twice, also by {other}; leave one of them"));
        }
    }
}

/// Names of gateways: `<namespace>/<name>`, a short name, or the full one of old.
fn gateways(at: &At<'_>, names: &[String], converted: bool, out: &mut Findings) {
    for (i, gateway) in names.iter().enumerate() {
        let at = at.index(i);
        let Some((namespace, name)) = gateway.split_once('/') else {
            let mut parts = gateway.split('.');
            if let (Some(name), Some(namespace)) = (parts.next(), parts.next()) {
                out.warn(&at, format!("{gateway:?} is the form of old; write {namespace}/{name}"));
            }
            out.check(&at, host::fqdn(gateway));
            // As in Istio, which looks at none after it.
            return;
        };
        if !host::is_label(namespace) {
            out.error(&at, format!("{namespace:?} is no namespace; write <namespace>/<name>"));
        }
        if name.is_empty() || !host::is_label(name) && !converted {
            out.error(&at, format!("{name:?} is no gateway's name; write <namespace>/<name>"));
        }
    }
}

/// Claims of tokens are known where tokens are checked: at gateways.
fn claims<'a>(at: &At<'_>, headers: impl Iterator<Item = &'a String>, out: &mut Findings) {
    for name in headers.filter(|name| header::is_claim(name)) {
        out.error(
            &at.key(name),
            "claims can be matched at gateways only; bind the VirtualService to gateways without mesh",
        );
    }
}

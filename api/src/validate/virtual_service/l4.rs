//! TLS and TCP routes.

use super::destination::weights;
use super::{Cx, gateways};
use crate::istio::networking::v1alpha3::{RouteDestination, TcpRoute, TlsRoute};
use crate::validate::labels::labels;
use crate::validate::{At, Findings, host, scalar};

pub(super) fn tls(cx: &Cx<'_>, at: &At<'_>, route: &TlsRoute, out: &mut Findings) {
    let matches = at.field("match");
    if route.r#match.is_empty() {
        out.error(&matches, "is missing; a TLS route matches at least one SNI host");
    }
    for (i, m) in route.r#match.iter().enumerate() {
        let at = matches.index(i);
        let hosts = at.field("sniHosts");
        if m.sni_hosts.is_empty() {
            out.error(&hosts, "is missing; name at least one host");
        }
        for (i, name) in m.sni_hosts.iter().enumerate() {
            sni_host(cx, &hosts.index(i), name, out);
        }
        subnets(&at, &m.destination_subnets, m.port, out);
        labels(&at.field("sourceLabels"), &m.source_labels, out);
        gateways(&at.field("gateways"), &m.gateways, false, out);
    }
    destinations(cx, at, &route.route, out);
}

fn sni_host(cx: &Cx<'_>, at: &At<'_>, name: &str, out: &mut Findings) {
    let problem =
        if cx.at_gateway { host::domain_at_gateway(true, name) } else { host::wildcard_domain(name) };
    if problem.is_some() {
        if host::is_ip(name) {
            return out.warn(at, format!("{name} is an IP address, which clients do not send as SNI"));
        }
        return out.check(at, problem);
    }
    if !cx.spec.hosts.iter().any(|whole| host::covers(whole, name)) {
        out.error(at, format!("{name} is none of the VirtualService's hosts ({})", cx.spec.hosts.join(", ")));
    }
}

pub(super) fn tcp(cx: &Cx<'_>, at: &At<'_>, route: &TcpRoute, out: &mut Findings) {
    for (i, m) in route.r#match.iter().enumerate() {
        let at = at.field("match");
        let at = at.index(i);
        subnets(&at, &m.destination_subnets, m.port, out);
        labels(&at.field("sourceLabels"), &m.source_labels, out);
        gateways(&at.field("gateways"), &m.gateways, false, out);
    }
    destinations(cx, at, &route.route, out);
}

fn subnets(at: &At<'_>, subnets: &[String], port: u32, out: &mut Findings) {
    for (i, subnet) in subnets.iter().enumerate() {
        out.check(&at.field("destinationSubnets").index(i), host::subnet(subnet));
    }
    if port != 0 {
        out.check(&at.field("port"), scalar::port(port));
    }
}

fn destinations(cx: &Cx<'_>, at: &At<'_>, route: &[RouteDestination], out: &mut Findings) {
    let at = at.field("route");
    if route.is_empty() {
        out.error(&at, "is missing; say where connections go");
    }
    weights(&at, route.iter().map(|r| (r.destination.as_ref(), r.weight)), cx.converted, out);
}

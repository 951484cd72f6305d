//! Rules of ServiceEntries.

use super::scalar::{ExportOf, Family, export_to, family};
use super::{At, Findings, Validate, host, labels, scalar, workload};
use crate::istio::networking::v1alpha3::ServiceEntry;
use crate::istio::networking::v1alpha3::service_entry::{Location, Resolution};
use crate::k8s::ObjectMeta;

const AUTO_ALLOCATION: &str = "networking.istio.io/enable-autoallocate-ip";
const USE_WAYPOINT: &str = "istio.io/use-waypoint";

impl Validate for ServiceEntry {
    fn validate(&self, meta: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        if let Some(selector) = &self.workload_selector {
            let at = spec.field("workloadSelector");
            labels::selector(&at.field("labels"), &selector.labels, out);
            if !self.endpoints.is_empty() {
                out.error(&at, "stands beside endpoints; remove one of them");
            }
        }
        hosts(self, &spec.field("hosts"), out);
        addresses(self, &spec.field("addresses"), out);
        ports(self, meta, &spec.field("ports"), out);
        if Resolution::try_from(self.resolution).is_err() {
            let message = format!("{} is no resolution; write e.g. DNS", self.resolution);
            out.error(&spec.field("resolution"), message);
        }
        match self.resolution() {
            Resolution::None => unresolved(self, spec, out),
            Resolution::Static => {
                for (i, endpoint) in self.endpoints.iter().enumerate() {
                    let at = spec.field("endpoints");
                    workload::entry(&at.index(i), endpoint, Some(&self.ports), false, out);
                }
            }
            Resolution::Dns | Resolution::DnsRoundRobin => dns(self, spec, out),
            Resolution::DynamicDns => dynamic(self, meta, spec, out),
        }
        told_apart(self, spec, out);
        export_to(&spec.field("exportTo"), &meta.namespace, &self.export_to, ExportOf::ServiceEntry, out);
    }
}

fn hosts(entry: &ServiceEntry, at: &At<'_>, out: &mut Findings) {
    if entry.hosts.is_empty() {
        out.error(at, "is missing; name at least one host");
    }
    for (i, name) in entry.hosts.iter().enumerate() {
        let at = at.index(i);
        if name == "*" {
            out.error(&at, "* would take all hosts; name one, or a domain such as *.example.com");
            continue;
        }
        out.check(&at, host::wildcard_domain(name));
        if entry.resolution() != Resolution::DynamicDns
            && let Some(problem) = host::partial_wildcard(name)
        {
            out.warn(&at, problem);
        }
    }
}

fn addresses(entry: &ServiceEntry, at: &At<'_>, out: &mut Findings) {
    let ranges = matches!(entry.resolution(), Resolution::None | Resolution::Static);
    for (i, address) in entry.addresses.iter().enumerate() {
        out.check(&at.index(i), host::subnet(address));
        if address.contains('/') && !ranges {
            let message = format!("{address} is a range, which only resolution NONE and STATIC take");
            out.error(&at.index(i), message);
        }
    }
}

fn ports(entry: &ServiceEntry, meta: &ObjectMeta, at: &At<'_>, out: &mut Findings) {
    let addressed = !entry.addresses.is_empty() || allocated(entry, meta);
    for (i, port) in entry.ports.iter().enumerate() {
        let at = at.index(i);
        let before = &entry.ports[..i];
        if before.iter().any(|other| other.name == port.name) {
            out.error(&at.field("name"), format!("{:?} is the name of another port, too", port.name));
        }
        if before.iter().any(|other| other.number == port.number) {
            out.error(&at.field("number"), format!("{} is the number of another port, too", port.number));
        }
        if port.target_port != 0 {
            out.check(&at.field("targetPort"), scalar::port(port.target_port));
        }
        if !addressed && matches!(port.protocol.as_str(), "" | "TCP") {
            out.warn(&at, "TCP is told apart by address, and the entry has none; give it addresses");
        }
        out.check(&at.field("name"), scalar::port_name(&port.name));
        out.check(&at.field("protocol"), scalar::protocol(&port.protocol));
        out.check(&at.field("number"), scalar::port(port.number));
    }
}

/// Whether it gets an address of its own, as `PILOT_ENABLE_IP_AUTOALLOCATE` does by default.
fn allocated(entry: &ServiceEntry, meta: &ObjectMeta) -> bool {
    entry.resolution() != Resolution::None
        && !meta.labels.get(AUTO_ALLOCATION).is_some_and(|v| v.eq_ignore_ascii_case("false"))
}

fn unresolved(entry: &ServiceEntry, spec: &At<'_>, out: &mut Findings) {
    if !entry.endpoints.is_empty() {
        out.error(&spec.field("endpoints"), "have no effect with resolution NONE; write STATIC or DNS");
    }
    if entry.workload_selector.is_some() {
        out.warn(&spec.field("workloadSelector"), "has no effect with resolution NONE; write STATIC");
    }
}

fn dns(entry: &ServiceEntry, spec: &At<'_>, out: &mut Findings) {
    if entry.endpoints.is_empty() {
        let bad = entry.hosts.iter().enumerate().find_map(|(i, name)| Some((i, host::fqdn(name)?)));
        if let Some((i, problem)) = bad {
            let message = format!("cannot be looked up, and there are no endpoints: {problem}");
            out.error(&spec.field("hosts").index(i), message);
        }
    }
    let at = spec.field("endpoints");
    if entry.resolution() == Resolution::DnsRoundRobin && entry.endpoints.len() > 1 {
        out.error(&at, "DNS_ROUND_ROBIN has one endpoint at most; write DNS, or one endpoint");
    }
    for (i, endpoint) in entry.endpoints.iter().enumerate() {
        let at = at.index(i);
        if !host::is_ip(&endpoint.address) {
            workload::address(&at.field("address"), &endpoint.address, true, out);
        }
        labels::labels(&at.field("labels"), &endpoint.labels, out);
        workload::endpoint_ports(&at, endpoint, Some(&entry.ports), out);
    }
    let tcp = |protocol: &str| matches!(family(protocol), Some(Family::Tcp | Family::Tls));
    if !entry.addresses.is_empty() && entry.hosts.len() > 1 && entry.ports.iter().any(|p| tcp(&p.protocol)) {
        out.warn(
            &spec.field("hosts"),
            "share addresses and a TCP port, so they cannot be told apart; write one",
        );
    }
}

fn dynamic(entry: &ServiceEntry, meta: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
    for (i, _) in entry.hosts.iter().enumerate().filter(|(_, name)| !name.starts_with('*')) {
        let hosts = spec.field("hosts");
        out.error(&hosts.index(i), "DYNAMIC_DNS is for wildcards; write DNS for a single host");
    }
    for (field, set) in
        [("addresses", !entry.addresses.is_empty()), ("endpoints", !entry.endpoints.is_empty())]
    {
        if set {
            out.error(&spec.field(field), "contradict DYNAMIC_DNS, which looks each host up; remove them");
        }
    }
    const PROTOCOLS: [&str; 4] = ["http", "tls", "grpc", "http2"];
    for (i, port) in entry.ports.iter().enumerate() {
        if !PROTOCOLS.iter().any(|p| p.eq_ignore_ascii_case(&port.protocol)) {
            let ports = spec.field("ports");
            let message = format!("{:?}: DYNAMIC_DNS takes HTTP, HTTP2, GRPC and TLS", port.protocol);
            out.error(&ports.index(i).field("protocol"), message);
        }
    }
    let waypoint = |v: &String| !v.is_empty() && !v.eq_ignore_ascii_case("none");
    if entry.location() == Location::MeshInternal && meta.labels.get(USE_WAYPOINT).is_some_and(waypoint) {
        out.error(&spec.field("location"), "MESH_INTERNAL with DYNAMIC_DNS cannot use a waypoint");
    }
}

/// Several hosts on one address need something in the traffic that tells them apart.
fn told_apart(entry: &ServiceEntry, spec: &At<'_>, out: &mut Findings) {
    if entry.resolution() == Resolution::None || entry.hosts.len() < 2 {
        return;
    }
    let opaque = |protocol: &str| !matches!(family(protocol), Some(Family::Http | Family::Tls));
    if let Some(i) = entry.ports.iter().position(|p| opaque(&p.protocol)) {
        let at = spec.field("ports");
        out.error(
            &at.index(i).field("protocol"),
            "of several hosts, only HTTP and TLS can be told apart; write an entry for each host",
        );
    }
}

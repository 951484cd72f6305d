//! Rules of WorkloadEntries and WorkloadGroups.

use super::scalar::not_negative;
use super::{At, Findings, Validate, host, labels, scalar};
use crate::istio::networking::v1alpha3::readiness_probe::HealthCheckMethod;
use crate::istio::networking::v1alpha3::{ReadinessProbe, ServicePort, WorkloadEntry, WorkloadGroup};
use crate::k8s::ObjectMeta;

impl Validate for WorkloadEntry {
    fn validate(&self, _: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        entry(spec, self, None, true, out);
    }
}

/// Checks a workload: by itself, or as an endpoint of a service with `ports`. Only some may have a name for an address.
pub(super) fn entry(
    at: &At<'_>,
    workload: &WorkloadEntry,
    ports: Option<&[ServicePort]>,
    names: bool,
    out: &mut Findings,
) {
    let (address, address_at) = (workload.address.as_str(), at.field("address"));
    if address.is_empty() {
        if workload.network.is_empty() {
            return out.error(&address_at, "is missing; give it an IP address or a name");
        }
        out.warn(
            &address_at,
            format!("is missing: reached through the gateways of network {}", workload.network),
        );
    }
    if let Some(path) = address.strip_prefix(host::UNIX) {
        out.check(&address_at, host::unix_path(path));
        if !workload.ports.is_empty() {
            out.error(&at.field("ports"), "a Unix domain socket has no ports; remove them");
        }
        if ports.is_some_and(|ports| distinct(ports) != 1) {
            out.error(&address_at, "a Unix domain socket serves one port, but the service does not have one");
        }
    } else if !address.is_empty() && !host::is_ip(address) {
        self::address(&address_at, address, names, out);
    }
    endpoint_ports(at, workload, ports, out);
    labels::labels(&at.field("labels"), &workload.labels, out);
}

fn distinct(ports: &[ServicePort]) -> usize {
    (0..ports.len()).filter(|i| !ports[..*i].iter().any(|p| p.name == ports[*i].name)).count()
}

/// Checks an address that is no IP address.
pub(super) fn address(at: &At<'_>, address: &str, names: bool, out: &mut Findings) {
    if !names {
        out.error(at, format!("{address:?} is no IP address"));
    } else if let Some(problem) = host::fqdn(address) {
        out.error(at, format!("neither an IP address nor a name: {problem}"));
    }
}

/// Checks on which ports an endpoint serves those of its service.
pub(super) fn endpoint_ports(
    at: &At<'_>,
    workload: &WorkloadEntry,
    ports: Option<&[ServicePort]>,
    out: &mut Findings,
) {
    for (name, number) in &workload.ports {
        let at = at.field("ports");
        let at = at.key(name);
        if ports.is_some_and(|ports| !ports.iter().any(|p| p.name == *name)) {
            out.error(&at, "the service has no port of this name");
        }
        out.check(&at, scalar::port_name(name));
        out.check(&at, scalar::port(*number));
    }
}

impl Validate for WorkloadGroup {
    fn validate(&self, _: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        // What the template leaves out, a workload that registers itself fills in.
        if self.template.is_none() {
            return out.error(&spec.field("template"), "is missing; it may be empty");
        }
        if let Some(metadata) = &self.metadata {
            labels::labels(&spec.field("metadata").field("labels"), &metadata.labels, out);
        }
        if let Some(probe) = &self.probe {
            self::probe(&spec.field("probe"), probe, out);
        }
    }
}

fn probe(at: &At<'_>, probe: &ReadinessProbe, out: &mut Findings) {
    for (field, value) in [
        ("periodSeconds", probe.period_seconds),
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        not_negative(&at.field(field), value, out);
    }
    match &probe.health_check_method {
        Some(HealthCheckMethod::HttpGet(http)) => {
            let at = at.field("httpGet");
            out.check(&at.field("port"), scalar::port(http.port));
            if !matches!(http.scheme.as_str(), "" | "HTTP" | "HTTPS") {
                out.error(&at.field("scheme"), format!("{:?} is neither HTTP nor HTTPS", http.scheme));
            }
            for (i, header) in http.http_headers.iter().enumerate() {
                let name = &header.name;
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                    let at = at.field("httpHeaders");
                    out.error(&at.index(i).field("name"), format!("{name:?}: write letters, digits and '-'"));
                }
            }
        }
        Some(HealthCheckMethod::TcpSocket(tcp)) => {
            out.check(&at.field("tcpSocket").field("port"), scalar::port(tcp.port));
        }
        Some(HealthCheckMethod::Exec(exec)) if exec.command.is_empty() => {
            out.error(&at.field("exec").field("command"), "is missing; give the command");
        }
        Some(HealthCheckMethod::Exec(_)) => {}
        // Refused by istiod, too.
        Some(HealthCheckMethod::Grpc(_)) => {
            out.error(&at.field("grpc"), "is not supported; write httpGet, tcpSocket or exec");
        }
        None => out.error(at, "says not what to do; give it httpGet, tcpSocket or exec"),
    }
}

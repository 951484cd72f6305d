//! Names of statistics that MeshConfig shapes (`outboundClusterStatName`, `inboundClusterStatName`).
//!
//! Source: Istio `pilot/pkg/networking/telemetry` (`BuildStatPrefix`), `util.DelimitedStatsPrefix`.

use meltemi_world::service::Registry;
use meltemi_world::{Port, Service};

/// What ends a prefix, so that Istio's rules for stats tags find where it ends.
const DELIMITER: char = ';';

/// What the names are of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The host.
    pub host: &'a str,
    /// Name and namespace of a Kubernetes Service; anything else is named by its host.
    pub kube: Option<(&'a str, &'a str)>,
}

impl<'a> From<&'a Service> for Subject<'a> {
    fn from(service: &'a Service) -> Self {
        let kube = service.registry == Registry::Kubernetes;
        Self { host: &service.hostname, kube: kube.then_some((&service.name, &service.namespace)) }
    }
}

/// A prefix with its delimiter.
pub fn delimited(prefix: &str) -> String {
    format!("{prefix}{DELIMITER}")
}

/// A pattern filled in. `target_port`: the port of the workload; 0 for outbound.
pub fn fill(pattern: &str, subject: Subject<'_>, port: &Port, subset: &str, target_port: u32) -> String {
    let short =
        subject.kube.map_or(subject.host.to_owned(), |(name, namespace)| format!("{name}.{namespace}"));
    let name = subject.kube.map_or(subject.host, |(name, _)| name);
    pattern
        .replace("%SERVICE%", &short)
        .replace("%SERVICE_NAME%", name)
        .replace("%SERVICE_FQDN%", subject.host)
        .replace("%SUBSET_NAME%", subset)
        .replace("%TARGET_PORT%", &target_port.to_string())
        .replace("%SERVICE_PORT%", &port.port.to_string())
        .replace("%SERVICE_PORT_NAME%", &port.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_world::Protocol;
    use meltemi_world::service::TargetPort;

    #[test]
    fn a_service_outside_kubernetes_is_named_by_its_host() {
        let port = Port {
            name: "http".into(),
            port: 80,
            protocol: Protocol::Http,
            target: TargetPort::Number(8080),
        };
        let fill =
            |kube| fill("%SERVICE%/%SERVICE_NAME%_%SERVICE_PORT%", Subject { host: "h", kube }, &port, "", 0);
        assert_eq!(fill(Some(("a", "ns"))), "a.ns/a_80");
        assert_eq!(fill(None), "h/h_80");
    }
}

//! The services that an egress listener shows on one port.

use crate::route::http::Backend;
use crate::scope::Egress;
use meltemi_world::{Port, Service};
use std::collections::BTreeMap;

/// A service with those of its ports that count.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    /// The service.
    pub(super) service: &'a Service,
    /// Its host, in lower case.
    pub(super) hostname: String,
    /// Its ports.
    pub(super) ports: &'a [Port],
}

/// Services by host.
pub(super) type Services<'a> = BTreeMap<String, Seen<'a>>;

/// The services of an egress listener that have `port`, with that port only. With port 0 (HTTP proxy, Unix sockets)
/// all of them, with all their ports.
pub(super) fn on_port(egress: &Egress, port: u32) -> Services<'_> {
    let mut out = Services::new();
    for service in &egress.services {
        let ports = match service.ports.iter().position(|p| p.port == port) {
            _ if port == 0 => &service.ports[..],
            Some(at) => &service.ports[at..=at],
            None => continue,
        };
        let hostname =
            if port == 0 { service.hostname.to_string() } else { service.hostname.to_ascii_lowercase() };
        out.insert(hostname.clone(), Seen { service, hostname, ports });
    }
    out
}

/// The service behind a destination's host.
pub(super) fn backend<'a>(services: &Services<'a>, hostname: &str) -> Option<Backend<'a>> {
    let seen = services.get(hostname)?;
    let only_port = match seen.ports {
        [only] => Some(only.port),
        _ => None,
    };
    Some(Backend { service: seen.service, only_port })
}

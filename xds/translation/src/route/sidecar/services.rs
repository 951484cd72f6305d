//! The services that an egress listener shows on one port.

use crate::route::http::Backend;
use crate::scope::Egress;
use meltemi_world::{Port, Service, Str};
use std::sync::Arc;

/// A service with those of its ports that count.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    /// The service.
    pub(super) service: &'a Service,
    /// Its host, in lower case.
    pub(super) hostname: Str,
    /// Its ports.
    pub(super) ports: &'a [Port],
}

/// The services of an egress listener that have a port, with that port only. With port 0 (HTTP proxy, Unix sockets)
/// all of them, with all their ports.
#[derive(Clone, Copy)]
pub(super) struct Services<'a> {
    /// The listener.
    pub(super) egress: &'a Egress,
    /// The port.
    pub(super) port: u32,
}

impl<'a> Services<'a> {
    /// The service of a host, which must be in lower case.
    pub(super) fn get(&self, hostname: &str) -> Option<Seen<'a>> {
        let service = self.egress.service(hostname)?;
        self.seen(hostname.into(), service)
    }

    /// All of them, ordered by host.
    pub(super) fn iter(&self) -> impl Iterator<Item = Seen<'a>> {
        let services = *self;
        self.egress.by_host().filter_map(move |(hostname, service)| services.seen(hostname.clone(), service))
    }

    /// Those whose own host has a wildcard.
    pub(super) fn wildcards(&self) -> impl Iterator<Item = Seen<'a>> {
        let services = *self;
        self.egress
            .wildcards()
            .filter_map(move |(hostname, service)| services.seen(hostname.clone(), service))
    }

    /// Those that have an alias of this name.
    pub(super) fn with_alias(&self, alias: &str) -> impl Iterator<Item = Seen<'a>> {
        let aliased =
            self.egress.by_host().filter(move |(_, s)| s.aliases.iter().any(|a| *a.hostname == *alias));
        aliased.filter_map(|(hostname, service)| self.seen(hostname.clone(), service))
    }

    /// The service behind a destination's host.
    pub(super) fn backend(&self, hostname: &str) -> Option<Backend<'a>> {
        let seen = self.get(hostname)?;
        let only_port = match seen.ports {
            [only] => Some(only.port),
            _ => None,
        };
        Some(Backend { service: seen.service, only_port })
    }

    fn seen(&self, hostname: Str, service: &'a Arc<Service>) -> Option<Seen<'a>> {
        let ports = match service.ports.iter().position(|p| p.port == self.port) {
            _ if self.port == 0 => &service.ports[..],
            Some(at) => &service.ports[at..=at],
            None => return None,
        };
        Some(Seen { service, hostname, ports })
    }
}

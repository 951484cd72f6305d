//! The hosts of an egress listener (`NAMESPACE/HOST`), and what they match.

use meltemi_world::host;
use std::collections::{BTreeMap, BTreeSet};

/// The hosts of one egress listener, by namespace; `*` is any namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(BTreeMap<String, Classified>);

/// The hosts of one namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Classified {
    exact: BTreeSet<String>,
    wildcards: Vec<String>,
    excluded: Vec<String>,
    all: Vec<String>,
}

impl Hosts {
    /// Reads the entries; one that is not of the form `NAMESPACE/HOST` is skipped, as validation has said.
    pub(super) fn parse(entries: &[String], own: &str) -> Self {
        let mut out = Self::default();
        for entry in entries {
            let Some((namespace, name)) = entry.split_once('/') else { continue };
            if name.contains('/') {
                continue;
            }
            let (excluded, namespace) = match namespace.strip_prefix('~') {
                Some("") => (true, "*"),
                Some(rest) => (true, rest),
                None => (false, namespace),
            };
            let namespace = if namespace == "." { own } else { namespace };
            out.0.entry(namespace.to_owned()).or_default().insert(name, excluded);
        }
        out
    }

    /// The hosts imported from one namespace by name.
    pub(super) fn of(&self, namespace: &str) -> Option<&Classified> {
        self.0.get(namespace)
    }

    /// The hosts imported from any namespace.
    pub(super) fn of_any(&self) -> Option<&Classified> {
        self.0.get("*")
    }

    /// Whether a host of this namespace is excluded.
    pub(super) fn excludes(&self, namespace: &str, hostname: &str) -> bool {
        [self.of(namespace), self.of_any()].into_iter().flatten().any(|c| c.excludes(hostname))
    }
}

impl Classified {
    fn insert(&mut self, name: &str, excluded: bool) {
        if excluded {
            self.excluded.push(name.to_owned());
            return;
        }
        if host::is_wildcard(name) {
            self.wildcards.push(name.to_owned());
        } else {
            self.exact.insert(name.to_owned());
        }
        self.all.push(name.to_owned());
    }

    fn excludes(&self, hostname: &str) -> bool {
        self.excluded.iter().any(|e| host::subset_of(hostname, e))
    }

    /// Whether a service's host is imported.
    pub(super) fn imports_service(&self, hostname: &str) -> bool {
        self.exact.contains(hostname) || self.candidates(hostname).any(|h| host::subset_of(hostname, h))
    }

    /// Whether a VirtualService's host is imported. Those of the Gateway API must lie within the import; Istio's
    /// own need only have a name in common with it.
    pub(super) fn imports_route(&self, hostname: &str, gateway_semantics: bool) -> bool {
        self.exact.contains(hostname)
            || self.candidates(hostname).any(|h| {
                if gateway_semantics { host::subset_of(hostname, h) } else { host::matches(hostname, h) }
            })
    }

    /// Imported hosts that can match otherwise than by being equal.
    fn candidates(&self, hostname: &str) -> impl Iterator<Item = &String> {
        if host::is_wildcard(hostname) { self.all.iter() } else { self.wildcards.iter() }
    }
}

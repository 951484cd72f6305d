//! The registry: services and their endpoints, whatever object they come from.

use crate::{Endpoint, Service, ServiceKey, Str};
use imbl::{OrdMap, OrdSet};
use std::sync::Arc;

/// Services and endpoints, indexed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    /// All services.
    services: OrdMap<ServiceKey, Arc<Service>>,
    /// The namespaces that define a host.
    by_host: OrdMap<Str, OrdSet<Str>>,
    /// The endpoints of each service that has some.
    endpoints: OrdMap<ServiceKey, Arc<Vec<Endpoint>>>,
}

impl Registry {
    /// All services, ordered by namespace, then host.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// One service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The services of one host, one for each namespace that defines it.
    pub fn by_host<'a>(&'a self, hostname: &'a str) -> impl Iterator<Item = &'a Arc<Service>> {
        self.by_host
            .get(hostname)
            .into_iter()
            .flatten()
            .filter_map(move |ns| self.services.get(&ServiceKey::new(ns.clone(), hostname)))
    }

    /// The services that `namespace` defines.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Service>> {
        self.services
            .range(ServiceKey::new(namespace, "")..)
            .take_while(move |(k, _)| &*k.namespace == namespace)
            .map(|(_, s)| s)
    }

    /// The endpoints of a service, of all its ports.
    pub fn endpoints(&self, key: &ServiceKey) -> &[Endpoint] {
        self.endpoints.get(key).map_or(&[], |e| e.as_slice())
    }

    /// The endpoints of a service as a shared list.
    pub fn shared_endpoints(&self, key: &ServiceKey) -> Option<&Arc<Vec<Endpoint>>> {
        self.endpoints.get(key)
    }

    /// How many services there are.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there are no services.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Puts, changes or removes a service. Returns whether anything differs.
    pub(crate) fn set_service(&mut self, key: &ServiceKey, service: Option<Service>) -> bool {
        let old = self.services.get(key).map(|s| &**s);
        if old == service.as_ref() {
            return false;
        }
        let spaces = self.by_host.entry(key.hostname.clone()).or_default();
        match service {
            Some(service) => {
                spaces.insert(key.namespace.clone());
                self.services.insert(key.clone(), Arc::new(service));
            }
            None => {
                spaces.remove(&key.namespace);
                if spaces.is_empty() {
                    self.by_host.remove(&key.hostname);
                }
                self.services.remove(key);
            }
        }
        true
    }

    /// Sets the endpoints of a service. Returns whether anything differs.
    pub(crate) fn set_endpoints(&mut self, key: &ServiceKey, endpoints: Vec<Endpoint>) -> bool {
        if self.endpoints(key) == endpoints.as_slice() {
            return false;
        }
        if endpoints.is_empty() {
            self.endpoints.remove(key);
        } else {
            self.endpoints.insert(key.clone(), Arc::new(endpoints));
        }
        true
    }
}

/// A service port that a proxy's own workload stands behind.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceTarget {
    /// The service.
    pub service: Arc<Service>,
    /// The service's port.
    pub port: crate::Port,
    /// The port that the workload listens on.
    pub target_port: u32,
}

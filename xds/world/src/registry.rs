//! The registry: services, their endpoints and the workloads behind them, whatever object they come from.

use crate::convert::workload_entry::Instance;
use crate::endpoint::EndpointWorkload;
use crate::service::Registry as Source;
use crate::{Endpoint, NsName, Service, ServiceKey, Str};
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
    /// What the endpoints of each Pod have in common.
    pods: OrdMap<NsName, Arc<EndpointWorkload>>,
    /// The WorkloadEntries that may be sent traffic.
    instances: OrdMap<NsName, Arc<Instance>>,
    /// Those by their address.
    instances_at: OrdMap<Str, OrdSet<NsName>>,
    /// The services of ServiceEntries by the first addresses of their endpoints.
    external_at: OrdMap<Str, OrdSet<ServiceKey>>,
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

    /// What the endpoints of a Pod have in common.
    pub fn pod(&self, id: &NsName) -> Option<&Arc<EndpointWorkload>> {
        self.pods.get(id)
    }

    /// The WorkloadEntries of a namespace that may be sent traffic, ordered by name.
    pub fn instances<'a>(&'a self, namespace: &'a Str) -> impl Iterator<Item = &'a Arc<Instance>> + Clone {
        let first = NsName::new(namespace.clone(), "");
        self.instances.range(first..).take_while(move |(id, _)| id.namespace == *namespace).map(|(_, i)| i)
    }

    /// The WorkloadEntries with an address, ordered by namespace and name.
    pub fn instances_at<'a>(&'a self, address: &str) -> impl Iterator<Item = &'a Arc<Instance>> {
        self.instances_at.get(address).into_iter().flatten().filter_map(|id| self.instances.get(id))
    }

    /// The services of ServiceEntries that have an endpoint with this address, ordered by namespace and host.
    pub fn external_at<'a>(&'a self, address: &str) -> impl Iterator<Item = &'a Arc<Service>> {
        self.external_at.get(address).into_iter().flatten().filter_map(|key| self.services.get(key))
    }

    /// Puts, changes or removes a Pod.
    pub(crate) fn set_pod(&mut self, id: &NsName, workload: Option<EndpointWorkload>) {
        match workload {
            Some(workload) => drop(self.pods.insert(id.clone(), Arc::new(workload))),
            None => drop(self.pods.remove(id)),
        }
    }

    /// Puts, changes or removes a WorkloadEntry. Returns the old one if the two differ.
    pub(crate) fn set_instance(
        &mut self,
        id: &NsName,
        new: Option<Arc<Instance>>,
    ) -> Option<Option<Arc<Instance>>> {
        let old = self.instances.get(id).cloned();
        if old == new {
            return None;
        }
        if let Some(old) = &old {
            remove(&mut self.instances_at, old.address(), id);
            self.instances.remove(id);
        }
        if let Some(new) = new {
            self.instances_at.entry(new.address().clone()).or_default().insert(id.clone());
            self.instances.insert(id.clone(), new);
        }
        Some(old)
    }

    /// Puts, changes or removes a service and its endpoints. Returns whether either differs.
    pub(crate) fn set(
        &mut self,
        key: &ServiceKey,
        service: Option<Arc<Service>>,
        endpoints: Vec<Endpoint>,
    ) -> (bool, bool) {
        let old = self.services.get(key);
        let service_differs = old != service.as_ref();
        let endpoints_differ = self.endpoints(key) != endpoints.as_slice();
        if !service_differs && !endpoints_differ {
            return (false, false);
        }
        if old.is_some_and(|s| s.registry == Source::External) {
            for endpoint in self.shared_endpoints(key).cloned().iter().flat_map(|all| all.iter()) {
                remove(&mut self.external_at, &endpoint.addresses[0], key);
            }
        }
        if service.as_ref().is_some_and(|s| s.registry == Source::External) {
            for endpoint in &endpoints {
                self.external_at.entry(endpoint.addresses[0].clone()).or_default().insert(key.clone());
            }
        }
        if service_differs {
            self.set_service(key, service);
        }
        if endpoints.is_empty() {
            self.endpoints.remove(key);
        } else if endpoints_differ {
            self.endpoints.insert(key.clone(), Arc::new(endpoints));
        }
        (service_differs, endpoints_differ)
    }

    fn set_service(&mut self, key: &ServiceKey, service: Option<Arc<Service>>) {
        match service {
            Some(service) => {
                self.by_host.entry(key.hostname.clone()).or_default().insert(key.namespace.clone());
                self.services.insert(key.clone(), service);
            }
            None => {
                remove(&mut self.by_host, &key.hostname, &key.namespace);
                self.services.remove(key);
            }
        }
    }
}

fn remove<V: Ord + Clone>(map: &mut OrdMap<Str, OrdSet<V>>, key: &Str, value: &V) {
    let Some(values) = map.get_mut(key) else { return };
    values.remove(value);
    if values.is_empty() {
        map.remove(key);
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

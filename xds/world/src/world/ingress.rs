//! Keeps the Gateways and VirtualServices that Ingresses make up to date.

use super::index::Multi;
use super::{Dirty, World};
use crate::convert::ingress::{self, Ingress};
use crate::{ChangeSet, Config, Kind, NsName, Snapshot, Str};
use imbl::OrdMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Which Ingresses refer to what.
#[derive(Debug, Default)]
pub(super) struct References {
    of_host: Multi<Str, NsName>,
    of_class: Multi<Str, NsName>,
    of_service: Multi<NsName, NsName>,
}

impl References {
    /// Notes that an Ingress is there, or no longer.
    pub(super) fn set(&mut self, ingress: &Ingress, there: bool) {
        let id = || ingress.meta.key();
        for host in ingress::hosts(ingress) {
            self.of_host.set(&host, id(), there);
        }
        for service in ingress::services_by_port_name(ingress) {
            self.of_service.set(&service, id(), there);
        }
        if let Some(class) = &ingress.spec.ingress_class_name {
            self.of_class.set(&class.as_str().into(), id(), there);
        }
    }

    /// The Ingresses of a class.
    pub(super) fn of_class(&self, class: &Str) -> impl Iterator<Item = NsName> {
        self.of_class.get(class).cloned()
    }

    /// The Ingresses that name a port of a Service.
    pub(super) fn of_service(&self, service: &NsName) -> impl Iterator<Item = NsName> {
        self.of_service.get(service).cloned()
    }
}

impl World {
    /// Makes anew what changed Ingresses make, and says what of it differs.
    pub(super) fn ingresses(&self, next: &mut Snapshot, dirty: &mut Dirty, set: &mut ChangeSet) {
        if dirty.all {
            dirty.ingresses.extend(next.ingresses.keys().cloned());
        }
        let mut hosts = std::mem::take(&mut dirty.ingress_hosts);
        for id in std::mem::take(&mut dirty.ingresses) {
            let ingress = next.ingresses.get(&id).cloned();
            hosts.extend(ingress.iter().flat_map(|i| ingress::hosts(i).collect::<Vec<_>>()));
            let served = ingress.filter(|ingress| is_served(next, ingress));
            let gateway = served.as_ref().map(|i| ingress::gateway(&next.settings, &next.mesh, i));
            update(&mut next.ingress_gateways, &id, gateway, Kind::Gateway, set);
            let services = |id: &NsName| next.kube_services.get(id).map(|s| &**s);
            let findings = served.map(|ingress| ingress::findings(&ingress, &services)).unwrap_or_default();
            if findings.is_empty() {
                next.diagnostics.remove(&(Kind::Ingress, id));
            } else {
                next.diagnostics.insert((Kind::Ingress, id), Arc::new(findings));
            }
        }
        for host in hosts {
            let route = self.route(next, &host);
            update(&mut next.ingress_routes, &host, route, Kind::VirtualService, set);
        }
    }

    fn route(
        &self,
        next: &Snapshot,
        host: &Str,
    ) -> Option<Config<meltemi_api::istio::networking::v1alpha3::VirtualService>> {
        let ids: BTreeSet<&NsName> = self.index.ingresses.of_host.get(host).collect();
        let ingresses = ids.into_iter().filter_map(|id| next.ingresses.get(id)).map(|i| &**i);
        let services = |id: &NsName| next.kube_services.get(id).map(|s| &**s);
        let served = ingresses.filter(|ingress| is_served(next, ingress));
        ingress::virtual_service(&next.settings, host, served, &services)
    }
}

fn is_served(snapshot: &Snapshot, ingress: &Ingress) -> bool {
    let class = ingress.spec.ingress_class_name.as_deref();
    let class = class.and_then(|name| snapshot.ingress_classes.get(&NsName::new("", name)));
    ingress::is_served(&snapshot.mesh, ingress, class.map(|class| &class.spec))
}

/// Puts or removes a generated object. One that is as before is left in place.
fn update<K: Ord + Clone, T: PartialEq>(
    table: &mut OrdMap<K, Arc<Config<T>>>,
    key: &K,
    new: Option<Config<T>>,
    kind: Kind,
    set: &mut ChangeSet,
) {
    let old = table.get(key).cloned();
    if old.as_deref() == new.as_ref() {
        return;
    }
    let named = old.iter().map(|old| old.meta.key()).chain(new.iter().map(|new| new.meta.key()));
    set.objects.extend(named.map(|name| (kind, name)));
    match new {
        Some(new) => drop(table.insert(key.clone(), Arc::new(new))),
        None => drop(table.remove(key)),
    }
}

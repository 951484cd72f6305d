//! What the proxies of one namespace, or of one Sidecar resource, see of the mesh.
//!
//! Source: Istio `pilot/pkg/model/sidecar.go` (`SidecarScope`).

mod egress;
mod hosts;
mod import;

use crate::index::Index;
use crate::index::destination_rules::MergedRule;
use crate::names::MESH_GATEWAY;
pub use egress::Egress;
use import::Imports;
use meltemi_api::istio::networking::v1alpha3 as networking;
use meltemi_world::labels::Labels;
use meltemi_world::{Config, NsName, Proxy, Service, Snapshot, Str};
use networking::outbound_traffic_policy::Mode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The identity of a scope: proxies with equal keys share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeKey {
    /// The proxies' namespace.
    pub namespace: Str,
    /// The Sidecar resource that applies, if any.
    pub sidecar: Option<NsName>,
    /// Whether the proxies are gateways: they see everything, whatever Sidecar resources say.
    pub gateway: bool,
}

/// What the proxies of a scope see.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The proxies' namespace.
    pub namespace: Str,
    /// The Sidecar resource that applies.
    pub sidecar: Option<Arc<Config<networking::Sidecar>>>,
    /// Its egress listeners; one that imports everything where it names none.
    pub egress: Vec<Egress>,
    /// What happens to traffic to unknown destinations.
    pub outbound_traffic_policy: networking::OutboundTrafficPolicy,
    services: Vec<Arc<Service>>,
    by_host: BTreeMap<Str, Arc<Service>>,
    destination_rules: BTreeMap<Str, Vec<Arc<MergedRule>>>,
    /// VirtualServices that this scope depends on.
    virtual_services: BTreeSet<NsName>,
}

impl Scope {
    /// Which scope a proxy belongs to.
    pub fn key(index: &Index, proxy: &Proxy) -> ScopeKey {
        let gateway = !proxy.is_sidecar();
        let sidecar = if gateway { None } else { index.sidecars.of(&proxy.namespace, &proxy.labels) };
        ScopeKey { namespace: proxy.namespace.clone(), sidecar: sidecar.map(|s| s.meta.key()), gateway }
    }

    /// Builds the scope of `key`.
    pub fn build(snapshot: &Snapshot, index: &Index, key: &ScopeKey) -> Self {
        if key.gateway {
            Self::for_gateway(snapshot, index, key)
        } else {
            Self::for_sidecar(snapshot, index, key)
        }
    }

    fn for_gateway(snapshot: &Snapshot, index: &Index, key: &ScopeKey) -> Self {
        let mut imports = Imports::default();
        for service in index.services.visible(&key.namespace) {
            imports.add(service.clone());
        }
        let everything = networking::IstioEgressListener { hosts: vec!["*/*".into()], ..Default::default() };
        let routes = index.virtual_services.visible(&key.namespace, MESH_GATEWAY);
        let egress = Egress::new(everything, Vec::new(), routes, BTreeMap::new());
        Self::assemble(snapshot, index, key, None, vec![egress], imports)
    }

    fn for_sidecar(snapshot: &Snapshot, index: &Index, key: &ScopeKey) -> Self {
        let sidecar = key.sidecar.as_ref().and_then(|name| snapshot.sidecars.get(name)).cloned();
        let mut listeners = sidecar.as_ref().map_or_else(Vec::new, |s| s.spec.egress.clone());
        if listeners.is_empty() {
            listeners
                .push(networking::IstioEgressListener { hosts: vec!["*/*".into()], ..Default::default() });
        }
        let egress: Vec<_> =
            listeners.into_iter().map(|l| import::egress_listener(index, &key.namespace, l)).collect();
        let mut imports = Imports::default();
        for listener in &egress {
            imports.add_listener(snapshot, index, &key.namespace, listener);
        }
        Self::assemble(snapshot, index, key, sidecar, egress, imports)
    }

    fn assemble(
        snapshot: &Snapshot,
        index: &Index,
        key: &ScopeKey,
        sidecar: Option<Arc<Config<networking::Sidecar>>>,
        egress: Vec<Egress>,
        imports: Imports,
    ) -> Self {
        let (services, by_host) = imports.finish();
        let destination_rules = services
            .iter()
            .map(|s| (s.hostname.clone(), index.destination_rules.for_service(&key.namespace, s)))
            .filter(|(_, rules)| !rules.is_empty())
            .collect();
        let outbound_traffic_policy = sidecar
            .as_ref()
            .and_then(|s| s.spec.outbound_traffic_policy.clone())
            .unwrap_or_else(|| mesh_policy(snapshot));
        let mut virtual_services = BTreeSet::new();
        for key in egress.iter().flat_map(|e| &e.virtual_services).map(|v| v.meta.key()) {
            virtual_services.extend(index.virtual_services.delegates_of(&key).iter().cloned());
            virtual_services.insert(key);
        }
        Self {
            namespace: key.namespace.clone(),
            sidecar,
            egress,
            outbound_traffic_policy,
            services,
            by_host,
            destination_rules,
            virtual_services,
        }
    }

    /// All services that are seen, through whichever egress listener.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// The service that is seen under a host name.
    pub fn service(&self, hostname: &str) -> Option<&Arc<Service>> {
        self.by_host.get(hostname)
    }

    /// The services whose host falls under `hostname`, which may be a wildcard.
    pub fn services_under<'a>(&'a self, hostname: &'a str) -> Vec<&'a Arc<Service>> {
        if meltemi_world::host::is_wildcard(hostname) {
            self.services.iter().filter(|s| meltemi_world::host::matches(hostname, &s.hostname)).collect()
        } else {
            self.service(hostname).into_iter().collect()
        }
    }

    /// The DestinationRule that applies to `hostname` for a client with these labels, outbound: one that selects the
    /// client's workload wins over one that selects none.
    pub fn destination_rule(&self, labels: &Labels, hostname: &str) -> Option<&Arc<MergedRule>> {
        let rules = self.destination_rules.get(hostname)?;
        let selects = |rule: &MergedRule| match &rule.rule.spec.workload_selector {
            Some(s) => rule.rule.meta.namespace == self.namespace && labels.matches(&s.match_labels),
            None => false,
        };
        rules.iter().find(|r| selects(r)).or_else(|| self.inbound_rule_in(rules))
    }

    /// The DestinationRule that applies to `hostname` where the workload is the server: selectors do not count.
    pub fn inbound_destination_rule(&self, hostname: &str) -> Option<&Arc<MergedRule>> {
        self.inbound_rule_in(self.destination_rules.get(hostname)?)
    }

    fn inbound_rule_in<'a>(&self, rules: &'a [Arc<MergedRule>]) -> Option<&'a Arc<MergedRule>> {
        rules.iter().rev().find(|r| r.rule.spec.workload_selector.is_none())
    }

    /// All DestinationRules that this scope depends on.
    pub fn depends_on_rules(&self) -> impl Iterator<Item = &NsName> {
        self.destination_rules.values().flatten().flat_map(|r| &r.from)
    }

    /// Whether this scope depends on a VirtualService.
    pub fn depends_on_virtual_service(&self, name: &NsName) -> bool {
        self.virtual_services.contains(name)
    }

    /// The egress listener that serves routes for a port, or for the Unix socket `bind`.
    pub fn egress_for_routes(&self, port: u32, bind: &str) -> Option<&Egress> {
        self.egress.iter().find(|e| match &e.listener.port {
            None => true,
            Some(p) if p.number != port => false,
            Some(_) => port != 0 || e.listener.bind == bind,
        })
    }

    /// Whether traffic to unknown destinations may pass (`ALLOW_ANY`).
    pub fn allows_any(&self) -> bool {
        self.outbound_traffic_policy.mode() == Mode::AllowAny
    }

    /// The Sidecar's ingress listeners; empty where it names none.
    pub fn ingress(&self) -> &[networking::IstioIngressListener] {
        self.sidecar.as_ref().map_or(&[], |s| s.spec.ingress.as_slice())
    }

    /// The connection pool of an inbound port: of the ingress listener, else of the Sidecar.
    pub fn inbound_connection_pool(&self, port: u32) -> Option<&networking::ConnectionPoolSettings> {
        let sidecar = &self.sidecar.as_ref()?.spec;
        let of_port = sidecar.ingress.iter().find(|i| i.port.as_ref().is_some_and(|p| p.number == port));
        of_port.and_then(|i| i.connection_pool.as_ref()).or(sidecar.inbound_connection_pool.as_ref())
    }
}

fn mesh_policy(snapshot: &Snapshot) -> networking::OutboundTrafficPolicy {
    let mode = snapshot.mesh.outbound_traffic_policy.as_ref().map_or(0, |p| p.mode);
    networking::OutboundTrafficPolicy { mode, ..Default::default() }
}

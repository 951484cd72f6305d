//! Which resources of a proxy a change can touch.
//!
//! The table follows Istio's (`pilot/pkg/xds/{cds,eds,lds,rds,proxy_dependencies}.go`) where that is right, and
//! errs towards regenerating: what comes out equal is not sent. The oracle is regenerating everything.

use super::ResourceType;
use meltemi_translation::{Scope, extension_provider};
use meltemi_world::features::JwksFetch;
use meltemi_world::jwks;
use meltemi_world::{ChangeSet, Kind, NsName, Proxy, Resolution, Service, ServiceKey, Snapshot};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What must be generated anew for one type of resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stale {
    /// Nothing.
    #[default]
    No,
    /// Only what belongs to these services.
    Services(Arc<BTreeSet<ServiceKey>>),
    /// Only what is made of these objects.
    Objects(BTreeSet<(Kind, NsName)>),
    /// Everything of the type.
    All,
}

impl Stale {
    /// Both together.
    pub(crate) fn merge(&mut self, other: Stale) {
        match (&mut *self, other) {
            (Self::All, _) | (_, Self::No) => {}
            (Self::Services(a), Self::Services(b)) => Arc::make_mut(a).extend(b.iter().cloned()),
            (Self::Objects(a), Self::Objects(b)) => a.extend(b),
            (this @ Self::No, other) => *this = other,
            (this, _) => *this = Self::All,
        }
    }
}

/// What a proxy depends on, for [`stale`].
pub(crate) struct Dependencies<'a> {
    /// The proxy.
    pub(crate) proxy: &'a Proxy,
    /// What it saw before the change.
    pub(crate) before: &'a Scope,
    /// What it sees now.
    pub(crate) after: &'a Scope,
    /// The world now.
    pub(crate) snapshot: &'a Snapshot,
    /// Whether the services that the proxy stands behind, or its labels, changed.
    pub(crate) own_changed: bool,
}

impl Dependencies<'_> {
    fn sees(&self, key: &ServiceKey) -> bool {
        let seen = |scope: &Scope| scope.service(&key.hostname).is_some_and(|s| s.namespace == key.namespace);
        seen(self.before) || seen(self.after)
    }

    fn sees_host_of(&self, key: &ServiceKey) -> bool {
        self.before.service(&key.hostname).is_some() || self.after.service(&key.hostname).is_some()
    }

    /// Whether an object of a kind that applies to its own namespace, or from the root namespace to all, is for us.
    fn in_reach(&self, name: &NsName) -> bool {
        name.namespace == self.proxy.namespace || &*name.namespace == self.snapshot.root_namespace()
    }

    fn any_in_reach(&self, changes: &ChangeSet, kind: Kind) -> bool {
        changes.of(kind).any(|n| self.in_reach(n))
    }

    fn routes_changed(&self, changes: &ChangeSet) -> bool {
        // A gateway's routes come from VirtualServices of any namespace; a sidecar's from those in its scope.
        let gateway = !self.proxy.is_sidecar();
        changes.of(Kind::VirtualService).any(|n| {
            gateway || self.before.depends_on_virtual_service(n) || self.after.depends_on_virtual_service(n)
        })
    }

    /// Whether endpoints changed that have listeners of their own, as those of services without an address have.
    fn own_listeners_changed(&self, changes: &ChangeSet) -> bool {
        self.proxy.is_sidecar() && self.headless_endpoints_changed(changes)
    }

    /// Whether endpoints changed of services whose address they are.
    fn headless_endpoints_changed(&self, changes: &ChangeSet) -> bool {
        let headless = |scope: &Scope, key: &ServiceKey| {
            scope.service(&key.hostname).is_some_and(|s| s.namespace == key.namespace && s.is_headless())
        };
        changes.endpoints.iter().any(|k| headless(self.before, k) || headless(self.after, k))
    }

    /// Whether services changed where Envoy may fetch the keys of JWT issuers from: any service may be such a server.
    fn key_servers_changed(&self, changes: &ChangeSet) -> bool {
        let fetched = self.snapshot.settings.features.jwks_fetch != JwksFetch::ControlPlane;
        fetched && !changes.services.is_empty() && !self.snapshot.request_authentications.is_empty()
    }

    /// Whether keys were fetched anew that a policy in reach verifies tokens with.
    fn keys_changed(&self, changes: &ChangeSet) -> bool {
        let mode = self.snapshot.settings.features.jwks_fetch;
        let mut policies = self.snapshot.request_authentications.iter().filter(|(n, _)| self.in_reach(n));
        changes.has(Kind::Jwks)
            && policies.any(|(_, policy)| {
                let sources = policy.spec.jwt_rules.iter().filter_map(|rule| jwks::Source::of(rule, mode));
                sources.map(|source| source.key()).any(|key| changes.of(Kind::Jwks).any(|n| *n == key))
            })
    }

    /// What changed of what secrets are made of, and of who may have them.
    fn secrets(&self, changes: &ChangeSet) -> Stale {
        let Some(identity) = &self.proxy.verified else { return Stale::No };
        let references = changes.has(Kind::Gateway) || changes.has(Kind::ReferenceGrant);
        if references && !self.proxy.is_sidecar() || changes.of(Kind::SecretAccess).any(|n| n == identity) {
            return Stale::All;
        }
        let of = |kind| changes.of(kind).map(move |name| (kind, name.clone()));
        let objects: BTreeSet<_> = of(Kind::Secret).chain(of(Kind::ConfigMap)).collect();
        if objects.is_empty() { Stale::No } else { Stale::Objects(objects) }
    }

    /// Whether a policy changed beside a service whose names the proxy resolves itself: its connections are checked by
    /// the policies of the service's namespace, too.
    fn service_policies_changed(&self, changes: &ChangeSet) -> bool {
        let in_namespace = |n: &NsName, s: &Arc<Service>| {
            s.resolution == Resolution::DynamicDns && s.namespace == n.namespace
        };
        let services = || self.before.services().iter().chain(self.after.services());
        changes.of(Kind::AuthorizationPolicy).any(|n| services().any(|s| in_namespace(n, s)))
    }

    /// Whether a service changed that an extension provider of the mesh names: it need not be one that the proxy sees.
    fn providers_changed(&self, changes: &ChangeSet) -> bool {
        if changes.services.is_empty() || self.snapshot.mesh.extension_providers.is_empty() {
            return false;
        }
        let hosts = extension_provider::hosts(&self.snapshot.mesh);
        changes.services.iter().any(|k| hosts.contains(&*k.hostname))
    }

    fn rules_changed(&self, changes: &ChangeSet) -> bool {
        if !changes.has(Kind::DestinationRule) {
            return false;
        }
        let before: BTreeSet<_> = self.before.depends_on_rules().collect();
        let after: BTreeSet<_> = self.after.depends_on_rules().collect();
        changes.of(Kind::DestinationRule).any(|n| before.contains(n) || after.contains(n))
    }
}

/// What a change makes stale of each type of a proxy's resources, in the order of [`ResourceType::ALL`].
pub(crate) type Staleness = [Stale; ResourceType::ALL.len()];

/// What a change makes stale of a proxy's resources.
pub(crate) fn staleness(deps: &Dependencies<'_>, changes: &ChangeSet) -> Staleness {
    ResourceType::ALL.map(|kind| stale(deps, changes, kind))
}

/// What a change makes stale of one type of a proxy's resources.
fn stale(deps: &Dependencies<'_>, changes: &ChangeSet, kind: ResourceType) -> Stale {
    if changes.mesh || (deps.own_changed && kind != ResourceType::Endpoints) {
        return Stale::All;
    }
    let services = changes.services.iter().any(|k| deps.sees_host_of(k));
    let scope = changes.has(Kind::Sidecar) && deps.proxy.is_sidecar();
    let filters = deps.any_in_reach(changes, Kind::EnvoyFilter);
    let all = match kind {
        ResourceType::Clusters => {
            services
                || scope
                || filters
                || deps.rules_changed(changes)
                || deps.routes_changed(changes)
                || changes.has(Kind::PeerAuthentication)
                || changes.has(Kind::Gateway) && !deps.proxy.is_sidecar()
                || deps.any_in_reach(changes, Kind::ProxyConfig)
                // A gateway with only the clusters that it needs may need those of JWT issuers.
                || deps.snapshot.settings.features.filter_gateway_clusters
                    && deps.any_in_reach(changes, Kind::RequestAuthentication)
        }
        ResourceType::Endpoints => {
            scope || deps.own_changed || deps.rules_changed(changes) || changes.has(Kind::PeerAuthentication)
        }
        ResourceType::Listeners => {
            services
                || deps.own_listeners_changed(changes)
                || deps.key_servers_changed(changes)
                || deps.keys_changed(changes)
                || deps.providers_changed(changes)
                || scope
                || filters
                || deps.rules_changed(changes)
                || deps.routes_changed(changes)
                || changes.has(Kind::PeerAuthentication)
                || changes.has(Kind::Gateway) && !deps.proxy.is_sidecar()
                || deps.service_policies_changed(changes)
                || POLICY.iter().any(|k| deps.any_in_reach(changes, *k))
        }
        ResourceType::Routes => {
            services
                || scope
                || filters
                || deps.rules_changed(changes)
                || deps.routes_changed(changes)
                || changes.has(Kind::Gateway) && !deps.proxy.is_sidecar()
                || deps.any_in_reach(changes, Kind::ProxyConfig)
        }
        ResourceType::Secrets => return deps.secrets(changes),
        ResourceType::Extensions => {
            let plugins = [Kind::WasmPlugin, Kind::TrafficExtension];
            // Modules are pulled with credentials of Secrets.
            filters || changes.has(Kind::Secret) || plugins.iter().any(|k| deps.any_in_reach(changes, *k))
        }
        // It depends on nothing but the mesh.
        ResourceType::ProxyConfig => false,
        ResourceType::NameTable => services || scope || deps.headless_endpoints_changed(changes),
    };
    if all {
        return Stale::All;
    }
    if kind == ResourceType::Endpoints {
        let touched: BTreeSet<_> =
            changes.endpoints.union(&changes.services).filter(|k| deps.sees(k)).cloned().collect();
        if !touched.is_empty() {
            return Stale::Services(Arc::new(touched));
        }
    }
    Stale::No
}

/// Kinds that shape filters and apply to their own namespace, or from the root namespace to all.
const POLICY: [Kind; 6] = [
    Kind::RequestAuthentication,
    Kind::AuthorizationPolicy,
    Kind::Telemetry,
    Kind::WasmPlugin,
    Kind::TrafficExtension,
    Kind::ProxyConfig,
];

//! One proxy's resources, kept until a change makes them stale.

use super::ResourceType;
use super::affect::{Dependencies, Stale, stale};
use super::attend::Attendant;
use super::generate;
use super::shared::ViewKey;
use super::state::State;
use meltemi_distribution::{Resource, ResourceSet, Resources, Subscription};
use meltemi_translation::gateway::{self, MergedGateway};
use meltemi_translation::names::SELF_DISCOVERY;
use meltemi_translation::sds::reference::Reference;
use meltemi_translation::sds::secret;
use meltemi_translation::{Cx, Scope};
use meltemi_world::registry::ServiceTarget;
use meltemi_world::{Kind, NsName, Proxy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one proxy has, as of the generation that it last caught up with.
pub(crate) struct ProxyView {
    announced: Proxy,
    proxy: Proxy,
    key: ViewKey,
    targets: Vec<ServiceTarget>,
    scope: Arc<Scope>,
    gateway: Option<MergedGateway>,
    state: Arc<State>,
    types: BTreeMap<ResourceType, Kept>,
    attendant: Arc<dyn Attendant>,
}

/// Resources of one type, as they were last generated.
#[derive(Default)]
struct Kept {
    stale: Stale,
    set: Option<Resources>,
    /// For types that are sent by name: what was asked for, and each answer.
    wanted: Subscription,
    named: BTreeMap<Arc<str>, Option<Arc<Resource>>>,
}

impl Kept {
    /// The set of before if `fresh` is equal to it, so that streams see at once that nothing changed; else `fresh`.
    fn same_or(&self, fresh: Resources) -> Resources {
        match &self.set {
            Some(old) if old.version() == fresh.version() && old.len() == fresh.len() => old.clone(),
            _ => fresh,
        }
    }

    /// Drops the answers that must be generated anew.
    fn forget(&mut self, stale: &Stale, namespace: &str) {
        match stale {
            Stale::No => {}
            Stale::All => self.named.clear(),
            Stale::Objects(objects) => {
                let changed = |kind, name: &NsName| objects.contains(&(kind, name.clone()));
                self.named.retain(|name, _| {
                    !Reference::read(name, namespace).is_ok_and(|reference| reference.concerns(&changed))
                });
            }
            // Names of endpoints end with the service's host (`outbound|80||HOST`), but for the proxy's own peers.
            Stale::Services(keys) => {
                self.named.retain(|name, _| {
                    **name != *SELF_DISCOVERY && !keys.iter().any(|k| name.ends_with(&*k.hostname))
                });
            }
        }
    }
}

impl ProxyView {
    /// A proxy that has just announced itself.
    pub(crate) fn new(announced: Proxy, state: Arc<State>, attendant: Arc<dyn Attendant>) -> Self {
        let proxy = state.snapshot.resolve(&announced);
        let targets = state.snapshot.service_targets(&proxy);
        let scope = state.scope(&Scope::key(&state.index, &proxy));
        let key = ViewKey::of(&proxy, &targets);
        let types = BTreeMap::new();
        let mut view = Self { announced, proxy, key, targets, scope, gateway: None, state, types, attendant };
        view.merge_gateways();
        view
    }

    /// Moves on to `state`, marking what the changes since then make stale.
    pub(crate) fn catch_up(&mut self, state: Arc<State>) {
        if state.generation == self.state.generation {
            return;
        }
        let changes = state.since(self.state.generation);
        let own_changed = changes.as_ref().is_none_or(|c| self.concerns_own(c)) && self.refresh(&state);
        let after = state.scope(&Scope::key(&state.index, &self.proxy));
        let before = std::mem::replace(&mut self.scope, after);
        for (kind, kept) in &mut self.types {
            kept.stale.merge(match &changes {
                None => Stale::All,
                Some(changes) => {
                    let deps = Dependencies {
                        proxy: &self.proxy,
                        before: &before,
                        after: &self.scope,
                        snapshot: &state.snapshot,
                        own_changed,
                    };
                    stale(&deps, changes, *kind)
                }
            });
        }
        self.state = state;
        let gateways =
            changes.as_ref().is_none_or(|c| c.mesh || c.has(Kind::Gateway) || c.has(Kind::ReferenceGrant));
        if gateways || own_changed {
            self.merge_gateways();
        }
    }

    fn merge_gateways(&mut self) {
        self.gateway = if self.proxy.is_router() { gateway::merged(&self.cx()) } else { None };
    }

    /// The generation that this view is of.
    pub(crate) fn generation(&self) -> u64 {
        self.state.generation
    }

    /// Whether changes may touch the proxy's own Pod or the services that it stands behind.
    fn concerns_own(&self, changes: &meltemi_world::ChangeSet) -> bool {
        let pod = NsName::new(self.proxy.namespace.clone(), self.proxy.metadata.name.as_str());
        changes.mesh
            || changes.has(Kind::Node)
            || changes.of(Kind::Pod).any(|p| *p == pod)
            || changes.of(Kind::WorkloadEntry).any(|w| w.namespace == self.proxy.namespace)
            || changes.services.iter().chain(&changes.endpoints).any(|s| s.namespace == self.proxy.namespace)
    }

    /// Reads the proxy's own Pod and services anew. Returns whether anything differs.
    fn refresh(&mut self, state: &State) -> bool {
        let proxy = state.snapshot.resolve(&self.announced);
        let targets = state.snapshot.service_targets(&proxy);
        let differs = proxy != self.proxy || targets != self.targets;
        if differs {
            self.key = ViewKey::of(&proxy, &targets);
        }
        self.proxy = proxy;
        self.targets = targets;
        differs
    }

    /// What the proxy has of a type. As long as nothing changes for it, this is the very same set. `None` if it is not
    /// known yet what it may have.
    pub(crate) fn resources(&mut self, kind: ResourceType, wanted: &Subscription) -> Option<Resources> {
        if kind == ResourceType::Secrets
            && let Some(account) = secret::unreviewed(&self.cx(), wanted.names())
        {
            self.attendant.review(account);
            return None;
        }
        let mut kept = self.types.remove(&kind).unwrap_or_default();
        let stale = std::mem::take(&mut kept.stale);
        if kind.is_whole() {
            if stale != Stale::No || kept.set.is_none() {
                let make = || Arc::new(ResourceSet::new(generate::whole(&self.cx(), kind)));
                let fresh = self.state.shared.whole(self.key, kind, &self.proxy, make);
                kept.set = Some(kept.same_or(fresh));
            }
        } else if stale != Stale::No || kept.set.is_none() || kept.wanted != *wanted {
            kept.forget(&stale, &self.proxy.namespace);
            let named =
                wanted.names().iter().map(|name| (name.clone(), self.one(&mut kept, kind, name))).collect();
            kept.named = named;
            kept.wanted = wanted.clone();
            let fresh = Arc::new(ResourceSet::new(kept.named.values().flatten().cloned()));
            kept.set = Some(kept.same_or(fresh));
        }
        let set = kept.set.clone().unwrap_or_default();
        self.types.insert(kind, kept);
        Some(set)
    }

    /// The secrets that the proxy asks for and cannot have, each with the reason.
    pub(crate) fn problems(&self) -> Vec<(Arc<str>, String)> {
        let Some(kept) = self.types.get(&ResourceType::Secrets) else { return Vec::new() };
        let missing = kept.named.iter().filter(|(_, resource)| resource.is_none());
        let reason = |name| secret::secret(&self.cx(), name).err().map(|problem| problem.to_string());
        missing.filter_map(|(name, _)| Some((name.clone(), reason(name)?))).collect()
    }

    fn one(&self, kept: &mut Kept, kind: ResourceType, name: &Arc<str>) -> Option<Arc<Resource>> {
        match kept.named.remove(name) {
            Some(known) => known,
            None => {
                let make = || self.make(kind, name).map(Arc::new);
                self.state.shared.named(self.key, kind, name, &self.proxy, make)
            }
        }
    }

    fn make(&self, kind: ResourceType, name: &str) -> Option<Resource> {
        if kind != ResourceType::Secrets {
            return generate::named(&self.cx(), kind, name);
        }
        let made = generate::secret(&self.cx(), name);
        let outcome = made.as_ref().map(|(_, validity)| *validity);
        self.attendant.secret(self.proxy.verified.as_ref(), name, outcome);
        made.ok().map(|(resource, _)| resource)
    }

    fn cx(&self) -> Cx<'_> {
        Cx {
            snapshot: &self.state.snapshot,
            index: &self.state.index,
            proxy: &self.proxy,
            scope: &self.scope,
            targets: &self.targets,
            gateway: self.gateway.as_ref(),
        }
    }
}

//! One proxy's resources, kept until a change makes them stale.

use super::ResourceType;
use super::affect::{Dependencies, Stale, staleness};
use super::attend::Attendant;
use super::generate;
use super::shared::ViewKey;
use super::state::State;
use meltemi_distribution::{Resource, ResourceSet, Resources, Subscription};
use meltemi_translation::findings::Findings;
use meltemi_translation::gateway::{self, MergedGateway};
use meltemi_translation::names::{SELF_DISCOVERY, parse_outbound};
use meltemi_translation::sds::reference::Reference;
use meltemi_translation::sds::secret;
use meltemi_translation::{Cx, Scope};
use meltemi_world::registry::ServiceTarget;
use meltemi_world::{ChangeSet, Kind, NsName, Proxy};
use rustc_hash::FxHashSet;
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
    findings: Findings,
}

/// Resources of one type, as they were last generated.
#[derive(Default)]
struct Kept {
    stale: Stale,
    set: Option<Resources>,
    /// For types that are sent by name: the names that `set` answers.
    wanted: Subscription,
}

impl Kept {
    /// The set of before if `fresh` is equal to it, so that streams see at once that nothing changed; else `fresh`.
    fn same_or(&self, fresh: Resources) -> Resources {
        match &self.set {
            Some(old) if old.version() == fresh.version() && old.len() == fresh.len() => old.clone(),
            _ => fresh,
        }
    }

    /// The set of before, and which of `wanted` must be generated anew, for a proxy in `namespace`.
    fn outdated<'a>(
        &self,
        stale: &Stale,
        wanted: &'a Subscription,
        namespace: &str,
    ) -> (Resources, Vec<&'a Arc<str>>) {
        let Some(set) = self.set.as_ref().filter(|_| *stale != Stale::All) else {
            return (Resources::default(), wanted.names().iter().collect());
        };
        let concerned = concerned(stale, namespace);
        let same = self.wanted.same_names(wanted);
        let outdated = |name: &&Arc<str>| concerned(name) || !same && !self.wanted.names_it(name);
        (set.clone(), wanted.names().iter().filter(outdated).collect())
    }

    /// The names in `set` that are no longer wanted.
    fn unwanted(&self, set: &ResourceSet, wanted: &Subscription) -> Vec<Arc<str>> {
        if self.wanted.same_names(wanted) {
            return Vec::new();
        }
        set.iter().filter(|r| !wanted.names_it(&r.name)).map(|r| r.name.clone()).collect()
    }
}

/// Tells of a name whether what is stale concerns it, for a proxy in `namespace`.
fn concerned<'a>(stale: &'a Stale, namespace: &'a str) -> Box<dyn Fn(&str) -> bool + 'a> {
    match stale {
        Stale::No => Box::new(|_| false),
        Stale::All => Box::new(|_| true),
        Stale::Objects(objects) => Box::new(|name| {
            let changed = |kind, name: &NsName| objects.contains(&(kind, name.clone()));
            Reference::read(name, namespace).is_ok_and(|reference| reference.concerns(&changed))
        }),
        // The proxy's own peers are endpoints of services, too.
        Stale::Services(keys) => {
            let hosts: FxHashSet<&str> = keys.iter().map(|k| &*k.hostname).collect();
            Box::new(move |name| {
                name == SELF_DISCOVERY || parse_outbound(name).is_some_and(|n| hosts.contains(n.hostname))
            })
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
        let (types, findings) = (BTreeMap::new(), Findings::default());
        let mut view =
            Self { announced, proxy, key, targets, scope, gateway: None, state, types, attendant, findings };
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
        match &changes {
            None => self.types.values_mut().for_each(|kept| kept.stale = Stale::All),
            Some(changes) => self.mark(&state, changes, &before, own_changed),
        }
        self.state = state;
        let gateways =
            changes.as_ref().is_none_or(|c| c.mesh || c.has(Kind::Gateway) || c.has(Kind::ReferenceGrant));
        if gateways || own_changed {
            self.merge_gateways();
        }
    }

    /// Marks what changes make stale.
    fn mark(&mut self, state: &State, changes: &ChangeSet, before: &Scope, own_changed: bool) {
        let find = || {
            let (proxy, after, snapshot) = (&self.proxy, &self.scope, &state.snapshot);
            staleness(&Dependencies { proxy, before, after, snapshot, own_changed }, changes)
        };
        // A proxy that is no longer what it was has nothing in common with others of its view.
        let found = if own_changed {
            Arc::new(find())
        } else {
            state.staleness(self.key, self.state.generation, find)
        };
        for (kind, kept) in &mut self.types {
            kept.stale.merge(found[*kind as usize].clone());
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
    fn concerns_own(&self, changes: &ChangeSet) -> bool {
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
            let make = || self.listed(&kept, kind, &stale, wanted);
            let fresh = self.state.shared.listed(self.key, kind, wanted, &self.proxy, make);
            kept.set = Some(kept.same_or(fresh));
            kept.wanted = wanted.clone();
        }
        let set = kept.set.clone().unwrap_or_default();
        self.types.insert(kind, kept);
        self.report();
        Some(set)
    }

    /// Tells the attendant what could not be done.
    fn report(&self) {
        for finding in self.findings.take() {
            if let Some(filter) = self.state.snapshot.envoy_filters.get(&finding.filter) {
                self.attendant.patch_failed(filter, &finding);
            }
        }
    }

    /// The secrets that the proxy asks for and cannot have, each with the reason.
    pub(crate) fn problems(&self) -> Vec<(Arc<str>, String)> {
        let Some(kept) = self.types.get(&ResourceType::Secrets) else { return Vec::new() };
        let has = |name: &Arc<str>| kept.set.as_ref().is_some_and(|set| set.get(name).is_some());
        let missing = kept.wanted.names().iter().filter(|name| !has(name));
        let reason = |name| secret::secret(&self.cx(), name).err().map(|problem| problem.to_string());
        missing.filter_map(|name| Some((name.clone(), reason(name)?))).collect()
    }

    /// The resources of the names in `wanted`: those of before, but for what is stale or was not asked for then.
    fn listed(&self, kept: &Kept, kind: ResourceType, stale: &Stale, wanted: &Subscription) -> Resources {
        let (before, outdated) = kept.outdated(stale, wanted, &self.proxy.namespace);
        let mut gone = kept.unwanted(&before, wanted);
        let mut made = Vec::with_capacity(outdated.len());
        for name in outdated {
            let make = || self.make(kind, name).map(Arc::new);
            match self.state.shared.named(self.key, kind, name, &self.proxy, make) {
                Some(resource) => made.push(resource),
                None => gone.push(name.clone()),
            }
        }
        Arc::new(before.with(made, &gone))
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
            findings: &self.findings,
        }
    }
}

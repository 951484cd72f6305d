//! Services by who may see them.

use meltemi_api::istio::mesh::v1alpha1::{
    ServiceEntryVisibility,
    service_entry_visibility::{self as setting, match_rule::Matcher},
};
use meltemi_world::labels::Labels;
use meltemi_world::service::Registry;
use meltemi_world::visibility::Visibility;
use meltemi_world::{Service, Snapshot, Str, selector};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Services in order of age, by visibility.
#[derive(Clone, Debug, Default)]
pub struct Services {
    public: Vec<Arc<Service>>,
    exported: BTreeMap<Str, Vec<Arc<Service>>>,
    default_export: Option<Visibility>,
    default_is_own: bool,
    /// The namespaces whose ServiceEntries are seen there at most, or nowhere.
    caps: BTreeMap<Str, Cap>,
}

/// What limits the visibility of a namespace's ServiceEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cap {
    /// They are seen in their own namespace at most.
    Own,
    /// They are seen nowhere.
    Nowhere,
}

impl Services {
    /// Arranges the registry's services. Source: Istio `PushContext.initServiceRegistry`.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut all: Vec<_> = snapshot.registry.services().cloned().collect();
        all.sort_by(|a, b| (a.creation, &a.name, &a.namespace).cmp(&(b.creation, &b.name, &b.namespace)));
        let defaults = &snapshot.mesh.default_service_export_to;
        let mut out = Self {
            default_is_own: defaults.iter().any(|e| e == "."),
            default_export: Visibility::parse(defaults, ""),
            caps: caps(snapshot),
            ..Self::default()
        };
        for service in all {
            match out.visibility(&service) {
                Visibility::Public => out.public.push(service),
                Visibility::Namespaces(spaces) => {
                    for space in spaces {
                        out.exported.entry(space).or_default().push(service.clone());
                    }
                }
            }
        }
        out
    }

    /// The services that `namespace` may see: first those exported to it in particular, then the public ones; each
    /// group by age.
    pub fn visible<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Arc<Service>> {
        self.exported.get(namespace).into_iter().flatten().chain(&self.public)
    }

    /// Whether `namespace` may see `service`.
    pub fn is_visible(&self, service: &Service, namespace: &str) -> bool {
        self.visibility(service).allows(namespace)
    }

    /// What the object or the mesh's default says, as far as the mesh lets it. Source: Istio `serviceExportTo`.
    fn visibility(&self, service: &Service) -> Visibility {
        let said = self.said(service);
        let cap =
            if service.registry == Registry::External { self.caps.get(&service.namespace) } else { None };
        match cap {
            None => said,
            Some(Cap::Own) if said.allows(&service.namespace) => {
                Visibility::Namespaces(BTreeSet::from([service.namespace.clone()]))
            }
            Some(Cap::Own | Cap::Nowhere) => Visibility::Namespaces(BTreeSet::new()),
        }
    }

    fn said(&self, service: &Service) -> Visibility {
        if let Some(own) = &service.export_to {
            return own.clone();
        }
        match &self.default_export {
            None => Visibility::Public,
            Some(Visibility::Namespaces(spaces)) if self.default_is_own => {
                let mut spaces = spaces.clone();
                spaces.remove("");
                spaces.insert(service.namespace.clone());
                Visibility::Namespaces(spaces)
            }
            Some(default) => default.clone(),
        }
    }
}

/// Reads MeshConfig `serviceEntryVisibility` for each namespace that has services.
/// Source: Istio `pilot/pkg/model/serviceentry_visibility.go`.
fn caps(snapshot: &Snapshot) -> BTreeMap<Str, Cap> {
    let Some(setting) = snapshot.mesh.service_entry_visibility.as_ref().filter(|s| s.apply_to_sidecars)
    else {
        return BTreeMap::new();
    };
    let namespaces: BTreeSet<&Str> = snapshot.registry.services().map(|s| &s.namespace).collect();
    let none = Labels::default();
    let labels = |name: &Str| snapshot.namespaces.get(name).map_or(&none, |n| &n.labels);
    namespaces.into_iter().filter_map(|name| Some((name.clone(), cap(setting, labels(name))?))).collect()
}

/// The first policy whose rules all match counts, else the default.
fn cap(setting: &ServiceEntryVisibility, labels: &Labels) -> Option<Cap> {
    let matches = |rule: &setting::MatchRule| match &rule.matcher {
        Some(Matcher::NamespaceSelector(s)) => selector::matches(s, labels) == Some(true),
        None => false,
    };
    let policy = setting.policies.iter().find(|p| p.matching_rules.iter().all(matches));
    match policy.map_or(setting.default_visibility(), |p| p.visibility()) {
        setting::Visibility::Namespace => Some(Cap::Own),
        setting::Visibility::None => Some(Cap::Nowhere),
        _ => None,
    }
}

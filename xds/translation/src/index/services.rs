//! Services by who may see them.

use meltemi_world::visibility::Visibility;
use meltemi_world::{Service, Snapshot, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Services in order of age, by visibility.
#[derive(Clone, Debug, Default)]
pub struct Services {
    public: Vec<Arc<Service>>,
    exported: BTreeMap<Str, Vec<Arc<Service>>>,
    default_export: Option<Visibility>,
    default_is_own: bool,
}

impl Services {
    /// Arranges the registry's services. Source: Istio `PushContext.initServiceRegistry`.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut all: Vec<_> = snapshot.registry.services().cloned().collect();
        all.sort_by(|a, b| (a.creation, &a.name, &a.namespace).cmp(&(b.creation, &b.name, &b.namespace)));
        let mut out = Self::default();
        let defaults = &snapshot.mesh.default_service_export_to;
        out.default_is_own = defaults.iter().any(|e| e == ".");
        out.default_export = Visibility::parse(defaults, "");
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

    fn visibility(&self, service: &Service) -> Visibility {
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

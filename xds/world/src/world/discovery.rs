//! Leaves out the objects of namespaces that MeshConfig `discoverySelectors` do not select.
//!
//! They are kept aside, since a namespace may be selected later. **Invariant:** an object is either in the tables of
//! the snapshot or here, never in both.

use super::tables;
use crate::snapshot::Snapshot;
use crate::{Kind, NsName, Object, Str, selector};
use meltemi_api::istio::mesh::v1alpha1::MeshConfig;
use std::collections::{BTreeMap, BTreeSet};

/// Objects by what identifies them; `None` for one that is gone.
pub(super) type Objects = BTreeMap<(Kind, NsName), Option<Object>>;

/// The objects that are left out.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    hidden: BTreeMap<(Kind, NsName), Object>,
    /// The selected namespaces; `None` where all are.
    selected: Option<BTreeSet<Str>>,
}

impl Discovery {
    /// Turns a batch of changes into what of it may be seen under `mesh`: hides and shows whole namespaces, too.
    /// Source: Istio `pkg/kube/namespace/filter.go`.
    pub(super) fn choose(&mut self, current: &Snapshot, mesh: &MeshConfig, objects: &mut Objects) {
        let selected = selected(current, mesh, objects);
        if selected != self.selected {
            let is_selected = |namespace: &Str| selected.as_ref().is_none_or(|s| s.contains(namespace));
            let shown = std::mem::take(&mut self.hidden);
            let hidden = tables::objects(current).into_iter().filter(|o| !is_cluster_wide(&o.id()));
            let hidden = hidden.filter(|o| !is_selected(&o.id().1.namespace));
            // What the batch says of an object is newer than what is known of it.
            for object in shown.into_values().chain(hidden) {
                objects.entry(object.id()).or_insert(Some(object));
            }
            self.selected = selected;
        }
        let Some(selected) = &self.selected else { return };
        for (id, object) in objects.iter_mut() {
            self.hidden.remove(id);
            if !is_cluster_wide(id)
                && !selected.contains(&id.1.namespace)
                && let Some(object) = object.take()
            {
                self.hidden.insert(id.clone(), object);
            }
        }
    }
}

/// The namespaces that are selected once the changes are made; `None` where all are. Selectors that cannot be read
/// select nothing.
fn selected(current: &Snapshot, mesh: &MeshConfig, objects: &Objects) -> Option<BTreeSet<Str>> {
    let selectors = &mesh.discovery_selectors;
    if selectors.is_empty() {
        return None;
    }
    let mut namespaces = current.namespaces.clone();
    for ((_, name), object) in objects.iter().filter(|((kind, _), _)| *kind == Kind::Namespace) {
        match object {
            Some(Object::Namespace(namespace)) => {
                drop(namespaces.insert(name.name.clone(), namespace.clone()))
            }
            _ => drop(namespaces.remove(&name.name)),
        }
    }
    let matches = |labels| selectors.iter().any(|s| selector::matches(s, labels) == Some(true));
    Some(namespaces.iter().filter(|(_, n)| matches(&n.labels)).map(|(name, _)| name.clone()).collect())
}

/// What the apiserver said of a service account is no object of its namespace.
fn is_cluster_wide((kind, name): &(Kind, NsName)) -> bool {
    name.namespace.is_empty() || *kind == Kind::SecretAccess
}

#[cfg(test)]
mod tests {
    use crate::labels::Labels;
    use crate::snapshot::Settings;
    use crate::workload::Namespace;
    use crate::{Change, Config, Kind, Meta, NsName, Object, Snapshot, World};
    use meltemi_api::istio::mesh::v1alpha1::LabelSelector;
    use std::sync::Arc;

    fn namespace(name: &str, labels: &[(&str, &str)]) -> Change {
        let labels: Labels = labels.iter().copied().collect();
        let annotations = Labels::default();
        Change::Upsert(Object::Namespace(Arc::new(Namespace { name: name.into(), labels, annotations })))
    }

    fn rule(namespace: &str) -> Change {
        let meta = Meta { name: "r".into(), namespace: namespace.into(), ..Default::default() };
        let spec = meltemi_api::istio::networking::v1alpha3::DestinationRule::default();
        Change::Upsert(Object::DestinationRule(Arc::new(Config { meta, spec })))
    }

    fn mesh(label: Option<&str>) -> Change {
        let mut mesh = crate::mesh::defaults();
        let selector = |l: &str| LabelSelector {
            match_labels: [(l.to_owned(), "yes".to_owned())].into(),
            ..Default::default()
        };
        mesh.discovery_selectors = label.map(selector).into_iter().collect();
        Change::Mesh(Arc::new(mesh))
    }

    fn seen(world: &World) -> Vec<String> {
        world.snapshot().destination_rules.keys().map(|k| k.namespace.to_string()).collect()
    }

    #[test]
    fn namespaces_come_and_go_with_their_objects() {
        let mut world = World::new(Snapshot::empty(Settings::default()));
        world.apply(vec![mesh(Some("in")), namespace("a", &[("in", "yes")]), namespace("b", &[])]);
        world.apply(vec![rule("a"), rule("b")]);
        assert_eq!(seen(&world), ["a"]);
        let set = world.apply(vec![namespace("b", &[("in", "yes")])]);
        assert_eq!(seen(&world), ["a", "b"]);
        assert!(set.objects.contains(&(Kind::DestinationRule, NsName::new("b", "r"))));
        world.apply(vec![namespace("a", &[]), Change::Remove(Kind::DestinationRule, NsName::new("b", "r"))]);
        assert!(seen(&world).is_empty());
        world.apply(vec![mesh(None)]);
        assert_eq!(seen(&world), ["a"]);
    }
}

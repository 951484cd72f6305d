//! Which namespaces are looked at (`discoverySelectors` of the mesh).

use meltemi_api::istio::mesh::v1alpha1::{LabelSelector, MeshConfig};
use meltemi_world::Str;
use meltemi_world::labels::Labels;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// The namespaces that are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Selected {
    /// All.
    #[default]
    All,
    /// These.
    These(Arc<BTreeSet<Str>>),
}

impl Selected {
    /// Whether objects of this namespace are looked at. Objects of the cluster always are.
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => namespace.is_empty() || names.contains(namespace),
        }
    }

    /// The namespaces that this one has and `before` had not; `None` if that cannot be told without asking.
    pub fn added_since(&self, before: &Self) -> Option<Vec<Str>> {
        match (before, self) {
            (Self::All, _) => Some(Vec::new()),
            (Self::These(_), Self::All) => None,
            (Self::These(before), Self::These(now)) => Some(now.difference(before).cloned().collect()),
        }
    }
}

/// Finds the namespaces from their labels and the mesh's selectors.
pub(super) struct Selection {
    inputs: Mutex<Inputs>,
    selected: watch::Sender<Selected>,
}

#[derive(Default)]
struct Inputs {
    namespaces: BTreeMap<Str, Labels>,
    selectors: Vec<LabelSelector>,
}

impl Selection {
    pub fn new() -> Self {
        Self { inputs: Mutex::default(), selected: watch::Sender::new(Selected::All) }
    }

    /// Tells of what is selected, now and later.
    pub fn selected(&self) -> watch::Receiver<Selected> {
        self.selected.subscribe()
    }

    /// Takes a namespace's labels, or that it is gone.
    pub fn namespace(&self, name: &Str, labels: Option<Labels>) {
        let mut inputs = self.inputs.lock();
        match labels {
            Some(labels) => inputs.namespaces.insert(name.clone(), labels),
            None => inputs.namespaces.remove(name),
        };
        self.tell(&inputs);
    }

    /// Takes the mesh's configuration.
    pub fn mesh(&self, mesh: &MeshConfig) {
        let mut inputs = self.inputs.lock();
        inputs.selectors.clone_from(&mesh.discovery_selectors);
        self.tell(&inputs);
    }

    fn tell(&self, inputs: &Inputs) {
        let next = inputs.selected();
        self.selected.send_if_modified(|now| {
            let differs = *now != next;
            if differs {
                *now = next;
            }
            differs
        });
    }
}

impl Inputs {
    fn selected(&self) -> Selected {
        if self.selectors.is_empty() {
            return Selected::All;
        }
        let chosen =
            self.namespaces.iter().filter(|(_, labels)| self.selectors.iter().any(|s| matches(s, labels)));
        Selected::These(Arc::new(chosen.map(|(name, _)| name.clone()).collect()))
    }
}

/// Whether a namespace with these labels is looked at.
pub fn selects(mesh: &MeshConfig, labels: &Labels) -> bool {
    let selectors = &mesh.discovery_selectors;
    selectors.is_empty() || selectors.iter().any(|s| matches(s, labels))
}

/// Whether a selector of Kubernetes' kind matches. An operator that does not exist matches nothing.
fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    labels.matches(&selector.match_labels)
        && selector.match_expressions.iter().all(|e| {
            let value = labels.get(&e.key);
            let listed = value.is_some_and(|v| e.values.iter().any(|x| x == v));
            match e.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mesh(selectors: serde_json::Value) -> MeshConfig {
        meltemi_world::mesh::overlay(&json!({ "discoverySelectors": selectors })).unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> Option<Labels> {
        Some(pairs.iter().copied().collect())
    }

    #[test]
    fn selectors_choose_namespaces_by_their_labels() {
        let selection = Selection::new();
        let selected = selection.selected();
        selection.namespace(&"a".into(), labels(&[("team", "x")]));
        selection.namespace(&"b".into(), labels(&[("team", "y")]));
        assert_eq!(*selected.borrow(), Selected::All);
        selection.mesh(&mesh(json!([{"matchLabels": {"team": "x"}},
            {"matchExpressions": [{"key": "team", "operator": "In", "values": ["z"]}]}])));
        let now = selected.borrow().clone();
        assert!(now.has("a") && !now.has("b") && now.has(""));
        selection.namespace(&"b".into(), labels(&[("team", "z")]));
        assert_eq!(selected.borrow().added_since(&now), Some(vec!["b".into()]));
        let before = selected.borrow().clone();
        selection.mesh(&mesh(json!([])));
        assert_eq!(selected.borrow().added_since(&before), None);
    }

    #[test]
    fn expressions_are_those_of_kubernetes() {
        let check = |operator: &str, key: &str| {
            let mesh =
                mesh(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": ["v"]}]}]));
            matches(&mesh.discovery_selectors[0], &labels(&[("k", "v")]).unwrap())
        };
        assert!(check("In", "k") && !check("In", "x"));
        assert!(!check("NotIn", "k") && check("NotIn", "x"));
        assert!(check("Exists", "k") && !check("Exists", "x"));
        assert!(!check("DoesNotExist", "k") && check("DoesNotExist", "x"));
        assert!(!check("Near", "k"));
    }
}

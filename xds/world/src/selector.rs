//! Label selectors as MeshConfig writes them, with Kubernetes' meaning.

use crate::labels::Labels;
use meltemi_api::istio::mesh::v1alpha1::{LabelSelector, LabelSelectorRequirement};

/// Whether a selector matches labels; an empty one matches all. `None` if it cannot be read.
pub fn matches(selector: &LabelSelector, labels: &Labels) -> Option<bool> {
    let met: Option<Vec<bool>> = selector.match_expressions.iter().map(|r| meets(r, labels)).collect();
    Some(met?.into_iter().all(|m| m) && labels.matches(&selector.match_labels))
}

fn meets(requirement: &LabelSelectorRequirement, labels: &Labels) -> Option<bool> {
    let value = labels.get(&requirement.key);
    let values = &requirement.values;
    let listed = value.is_some_and(|v| values.iter().any(|l| l == v));
    match requirement.operator.as_str() {
        "In" if !values.is_empty() => Some(listed),
        "NotIn" if !values.is_empty() => Some(!listed),
        "Exists" if values.is_empty() => Some(value.is_some()),
        "DoesNotExist" if values.is_empty() => Some(value.is_none()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_have_kubernetes_meaning() {
        let labels: Labels = [("a", "1")].into_iter().collect();
        let of = |key: &str, operator: &str, values: &[&str]| {
            let requirement = LabelSelectorRequirement {
                key: key.into(),
                operator: operator.into(),
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            };
            matches(&LabelSelector { match_expressions: vec![requirement], ..Default::default() }, &labels)
        };
        assert_eq!(of("a", "In", &["1", "2"]), Some(true));
        assert_eq!(of("a", "NotIn", &["1"]), Some(false));
        assert_eq!(of("b", "NotIn", &["1"]), Some(true));
        assert_eq!(of("a", "Exists", &[]), Some(true));
        assert_eq!(of("b", "DoesNotExist", &[]), Some(true));
        assert_eq!(of("a", "In", &[]), None);
        assert_eq!(of("a", "Equals", &["1"]), None);
        assert_eq!(matches(&LabelSelector::default(), &labels), Some(true));
    }
}

//! Shares of traffic by locality (`localityLbSetting.distribute`).
//!
//! Source: Istio `applyLocalityWeights`.

use crate::endpoint::Group;
use meltemi_api::istio::networking::v1alpha3::locality_load_balancer_setting::Distribute;
use meltemi_world::Locality;
use std::collections::BTreeSet;

/// Weighs the groups by the first setting for the proxy's locality. Groups that it does not name get nothing.
pub(super) fn apply(own: &Locality, groups: &mut [Group], settings: &[Distribute]) {
    let Some(setting) = settings.iter().find(|s| matches(own, &s.from)) else { return };
    let mut unnamed: BTreeSet<usize> = (0..groups.len()).collect();
    for (to, share) in &setting.to {
        let named: Vec<usize> =
            unnamed.iter().copied().filter(|&i| matches(&groups[i].locality, to)).collect();
        let weight = |i: &usize| f64::from(groups[*i].weight.unwrap_or(1));
        // A pattern that covers several localities shares its weight among them by their own weights.
        let total: f64 = named.iter().map(weight).sum();
        let shares: Vec<f64> = named.iter().map(|i| weight(i) * f64::from(*share) / total).collect();
        for (i, share) in named.into_iter().zip(shares) {
            unnamed.remove(&i);
            if share > 0.0 {
                groups[i].weight = Some(share.ceil() as u32);
            }
        }
    }
    for i in unnamed {
        groups[i].members.clear();
    }
}

/// Whether a locality falls under a pattern such as `region/zone/*`. Source: Istio `LocalityMatch`.
fn matches(locality: &Locality, pattern: &str) -> bool {
    let pattern = Locality::parse(pattern);
    let any = |part: &str| part == "*" || part.is_empty();
    (&*pattern.region == "*" || pattern.region == locality.region)
        && (any(&pattern.zone) || pattern.zone == locality.zone)
        && (any(&pattern.subzone) || pattern.subzone == locality.subzone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(locality: &str, weight: u32) -> Group {
        Group { locality: Locality::parse(locality), members: Vec::new(), weight: Some(weight), priority: 0 }
    }

    fn distribute(from: &str, to: &[(&str, u32)]) -> Distribute {
        Distribute { from: from.into(), to: to.iter().map(|(l, w)| ((*l).to_owned(), *w)).collect() }
    }

    #[test]
    fn a_pattern_shares_its_weight_among_the_localities_that_it_covers() {
        let mut groups = vec![group("r1/a", 1), group("r1/b", 3), group("r2/a", 1)];
        let settings = [distribute("r9/*", &[("*", 1)]), distribute("r1/a/*", &[("r1/*", 80), ("r2/*", 20)])];
        apply(&Locality::parse("r1/a/s"), &mut groups, &settings);
        assert_eq!(groups.iter().map(|g| g.weight.unwrap()).collect::<Vec<_>>(), [20, 60, 20]);
    }
}

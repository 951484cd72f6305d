//! Priorities of localities: near ones first, and contiguous from 0 as Envoy demands.
//!
//! Source: Istio `applyLocalityFailover`, `applyFailoverPriorities`, `applyZoneAwareRegionalFailover`.

use crate::endpoint::{Group, Member};
use meltemi_world::Locality;
use meltemi_world::labels::Labels;
use std::collections::{BTreeMap, BTreeSet};

/// The label of the network: it counts apart from the others where it comes first.
const NETWORK: &str = "topology.istio.io/network";

/// From which region to which traffic fails over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failover<'a> {
    /// The proxy's region.
    pub(crate) from: &'a str,
    /// The region that comes next.
    pub(crate) to: &'a str,
}

/// Same subzone, zone, region, and then the others; those that a failover setting does not name come last.
pub(super) fn by_locality(own: &Locality, groups: &mut [Group], failover: &[Failover<'_>]) {
    let to = failover.iter().find(|f| *f.from == *own.region).map(|f| f.to);
    refine(groups, 5, |locality| match () {
        () if locality.region != own.region => 3 + u32::from(to.is_some_and(|to| *to != *locality.region)),
        () if locality.zone != own.zone => 2,
        () if locality.subzone != own.subzone => 1,
        () => 0,
    });
}

/// The own region, the one that a failover setting names, the others.
pub(super) fn by_region(own: &Locality, groups: &mut [Group], failover: &[Failover<'_>]) {
    let to = failover.iter().find(|f| *f.from == *own.region).map(|f| f.to);
    refine(groups, 3, |locality| match () {
        () if locality.region == own.region => 0,
        () if to.is_some_and(|to| *to == *locality.region) => 1,
        () => 2,
    });
}

/// Ranks groups of equal priority by `rank`, which is below `ranks`.
fn refine(groups: &mut [Group], ranks: u32, rank: impl Fn(&Locality) -> u32) {
    for group in groups.iter_mut() {
        group.priority = group.priority * ranks + rank(&group.locality);
    }
    compact(groups);
}

/// Splits groups by how many of the labels, in order of importance, endpoints have in common with the proxy. A
/// label may name the value to compare with (`LABEL=VALUE`).
pub(super) fn by_labels(own: &Labels, groups: Vec<Group>, labels: &[&str]) -> Vec<Group> {
    if own.is_empty() {
        return groups;
    }
    let wanted = Wanted::new(own, labels);
    let mut out = Vec::new();
    for group in groups {
        let mut ranked: BTreeMap<u32, Vec<Member>> = BTreeMap::new();
        for member in group.members {
            ranked.entry(wanted.rank(&member.labels)).or_default().push(member);
        }
        for (priority, members) in ranked {
            out.push(Group { priority, ..Group::new(group.locality.clone(), members) });
        }
    }
    compact(&mut out);
    out
}

struct Wanted<'a> {
    labels: Vec<(&'a str, &'a str)>,
    network_first: bool,
}

impl<'a> Wanted<'a> {
    fn new(own: &'a Labels, entries: &[&'a str]) -> Self {
        let named: Vec<_> = entries.iter().map(|e| split(e)).collect();
        let overrides: BTreeMap<&str, &str> = named.iter().filter_map(|(k, v)| Some((*k, (*v)?))).collect();
        let value = |key: &str| overrides.get(key).copied().or_else(|| own.get(key)).unwrap_or_default();
        Self {
            labels: named.iter().map(|(key, _)| (*key, value(key))).collect(),
            network_first: entries.first() == Some(&NETWORK),
        }
    }

    /// 0 where all labels agree; the earlier the first difference, the higher. Another network only comes after all
    /// that is in this one.
    fn rank(&self, labels: &Labels) -> u32 {
        let lowest = self.labels.len() as u32;
        let differs = |(key, value): &(&str, &str)| labels.get(key).unwrap_or_default() != *value;
        let other_network = self.network_first && self.labels.first().is_some_and(differs);
        let first = self.labels.iter().skip(usize::from(other_network)).position(differs);
        let rank = first.map_or(0, |at| lowest - (at + usize::from(other_network)) as u32);
        rank + if other_network { lowest } else { 0 }
    }
}

/// `LABEL` or `LABEL=VALUE`.
fn split(entry: &str) -> (&str, Option<&str>) {
    let mut parts = entry.split('=');
    let (key, value, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    (key, if rest.is_some() { None } else { value })
}

/// Renumbers priorities from 0 without gaps.
fn compact(groups: &mut [Group]) {
    let used: BTreeSet<u32> = groups.iter().map(|g| g.priority).collect();
    let order: BTreeMap<u32, u32> = used.into_iter().zip(0..).collect();
    for group in groups {
        group.priority = order.get(&group.priority).copied().unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(locality: &str) -> Group {
        Group { locality: Locality::parse(locality), members: Vec::new(), weight: None, priority: 0 }
    }

    fn priorities(groups: &[Group]) -> Vec<u32> {
        groups.iter().map(|g| g.priority).collect()
    }

    #[test]
    fn near_localities_come_first_without_gaps() {
        let mut groups = ["r1/z1/s1", "r1/z1/s2", "r2/z1", "r3"].map(group);
        by_locality(&Locality::parse("r1/z1/s1"), &mut groups, &[]);
        assert_eq!(priorities(&groups), [0, 1, 2, 2]);
        let mut groups = ["r1/z1/s1", "r1/z1/s2", "r2/z1", "r3"].map(group);
        by_locality(&Locality::parse("r1/z1/s1"), &mut groups, &[Failover { from: "r1", to: "r3" }]);
        assert_eq!(priorities(&groups), [0, 1, 3, 2]);
    }

    #[test]
    fn the_first_label_that_differs_decides() {
        let own: Labels = [("a", "1"), ("b", "1")].into_iter().collect();
        let rank = |labels: &[&str], pairs: &[(&str, &str)]| {
            Wanted::new(&own, labels).rank(&pairs.iter().copied().collect::<Labels>())
        };
        assert_eq!(rank(&["a", "b"], &[("a", "1"), ("b", "1")]), 0);
        assert_eq!(rank(&["a", "b"], &[("a", "1")]), 1);
        assert_eq!(rank(&["a", "b"], &[("b", "1")]), 2);
        assert_eq!(rank(&["a=2", "b"], &[("a", "2"), ("b", "1")]), 0);
    }

    #[test]
    fn another_network_comes_after_everything_in_this_one() {
        let own: Labels = [(NETWORK, "n1"), ("a", "1")].into_iter().collect();
        let wanted = Wanted::new(&own, &[NETWORK, "a"]);
        assert_eq!(wanted.rank(&[(NETWORK, "n1")].into_iter().collect()), 1);
        assert_eq!(wanted.rank(&[(NETWORK, "n2"), ("a", "1")].into_iter().collect()), 2);
        assert_eq!(wanted.rank(&[(NETWORK, "n2")].into_iter().collect()), 3);
    }
}

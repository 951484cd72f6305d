//! Which ServiceEntries need addresses written into their status, or taken out of it.
//!
//! Source: Istio `pilot/pkg/controllers/ipallocate`.

use super::range::Range;
use ipnet::IpNet;
use meltemi_api::istio::networking::v1alpha3::{ServiceEntry, service_entry::Resolution};
use meltemi_world::convert::service_entry::auto_allocates;
use meltemi_world::{Config, NsName, Snapshot, Str, host};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

type Entry = Config<ServiceEntry>;

/// What to write into the status of one ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    /// The ServiceEntry.
    pub(super) name: NsName,
    /// Its version when it was looked at.
    pub(super) version: Str,
    /// Each host with an address; all of them.
    pub(super) addresses: Vec<(String, IpAddr)>,
    /// Those of the addresses that are new.
    pub(super) fresh: Vec<IpAddr>,
}

/// Chooses addresses, one of each range for each host.
#[derive(Debug)]
pub(super) struct Allocator {
    ranges: Vec<Range>,
}

impl Allocator {
    pub(super) fn new(ranges: impl IntoIterator<Item = IpNet>) -> Self {
        Self { ranges: ranges.into_iter().map(Range::new).collect() }
    }

    /// What to write, the oldest ServiceEntry first. Of two that have one address the older one keeps it, unless somebody
    /// chose it: those are kept in any case.
    pub(super) fn plan(&mut self, snapshot: &Snapshot) -> Vec<Update> {
        let mut entries: Vec<&Entry> = snapshot.service_entries.values().map(|e| &**e).collect();
        entries.sort_by(|a, b| a.meta.by_age(&b.meta));
        let mut owners = BTreeMap::new();
        for entry in &entries {
            let chosen = entry.spec.addresses.iter().filter_map(|a| a.parse().ok());
            self.claim(&mut owners, entry, chosen.collect());
        }
        let (wanting, others): (Vec<&Entry>, Vec<&Entry>) =
            entries.into_iter().partition(|e| auto_allocates(&snapshot.settings.features, e));
        let conflicts: Vec<bool> = wanting
            .iter()
            .map(|e| !self.claim(&mut owners, e, allocated(e).into_iter().map(|(_, a)| a).collect()))
            .collect();
        let stale =
            others.into_iter().filter(|e| e.meta.status.as_ref().is_some_and(|s| !s.addresses.is_empty()));
        let mut updates: Vec<Update> = stale.map(|e| update(e, Vec::new(), Vec::new())).collect();
        for (entry, conflict) in wanting.into_iter().zip(conflicts) {
            updates.extend(self.allocate(entry, conflict));
        }
        updates
    }

    /// Takes back addresses that could not be written.
    pub(super) fn give_back(&mut self, addresses: &[IpAddr]) {
        for range in &mut self.ranges {
            addresses.iter().for_each(|a| range.give_back(*a));
        }
    }

    /// Notes whose the addresses are; false if one is somebody else's already. Addresses outside the ranges are nobody's.
    fn claim<'a>(
        &mut self,
        owners: &mut BTreeMap<IpAddr, &'a Entry>,
        entry: &'a Entry,
        addresses: Vec<IpAddr>,
    ) -> bool {
        let mut free = true;
        for address in addresses {
            let Some(range) = self.ranges.iter_mut().find(|r| r.contains(address)) else { continue };
            range.take(address);
            free &= std::ptr::eq(*owners.entry(address).or_insert(entry), entry);
        }
        free
    }

    fn allocate(&mut self, entry: &Entry, conflict: bool) -> Option<Update> {
        let before = allocated(entry);
        let known = if conflict { Vec::new() } else { before.clone() };
        let hosts = hosts(entry);
        let with_address: BTreeSet<&str> = known.iter().map(|(h, _)| h.as_str()).collect();
        if !conflict && with_address == hosts.iter().copied().collect() {
            return None;
        }
        let (mut addresses, mut fresh) = (Vec::new(), Vec::new());
        for name in hosts {
            let own: Vec<IpAddr> = known.iter().filter(|(h, _)| h == name).map(|(_, a)| *a).collect();
            if own.is_empty() {
                let next: Vec<IpAddr> = self.ranges.iter_mut().filter_map(Range::next).collect();
                fresh.extend(&next);
                addresses.extend(next.into_iter().map(|a| (name.to_owned(), a)));
            } else {
                addresses.extend(own.into_iter().map(|a| (name.to_owned(), a)));
            }
        }
        if addresses == before {
            tracing::warn!("ServiceEntry {}: no address is left for its hosts", entry.meta.key());
            return None;
        }
        Some(update(entry, addresses, fresh))
    }
}

fn update(entry: &Entry, addresses: Vec<(String, IpAddr)>, fresh: Vec<IpAddr>) -> Update {
    Update { name: entry.meta.key(), version: entry.meta.resource_version.clone(), addresses, fresh }
}

/// The hosts that want an address, each once. One with a wildcard has no address of its own, unless the proxy finds
/// that by the name that a client asks for.
fn hosts(entry: &Entry) -> Vec<&str> {
    let dynamic = entry.spec.resolution() == Resolution::DynamicDns;
    let mut found: Vec<&str> = Vec::new();
    for name in entry.spec.hosts.iter().filter(|h| dynamic || !host::is_wildcard(h)) {
        if !found.contains(&name.as_str()) {
            found.push(name);
        }
    }
    found
}

/// The hosts with the addresses that the status has.
fn allocated(entry: &Entry) -> Vec<(String, IpAddr)> {
    let status = entry.meta.status.iter().flat_map(|s| &s.addresses);
    status.filter_map(|(host, address)| Some((host.to_string(), address.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_world::config::Status;
    use meltemi_world::snapshot::Settings;
    use meltemi_world::{Change, Meta, Object, World};
    use std::sync::Arc;

    fn entry(name: &str, hosts: &[&str], status: &[(&str, &str)]) -> Entry {
        let addresses = status.iter().map(|(h, a)| ((*h).into(), (*a).into())).collect();
        let status = (!status.is_empty()).then(|| Arc::new(Status { addresses, healthy: None }));
        let meta = Meta { name: name.into(), namespace: "ns".into(), status, ..Default::default() };
        let hosts = hosts.iter().map(ToString::to_string).collect();
        let resolution = Resolution::Dns as i32;
        Config { meta, spec: ServiceEntry { hosts, resolution, ..Default::default() } }
    }

    /// `NAME: HOST=ADDRESS,…` of each update.
    fn plan(entries: Vec<Entry>) -> Vec<String> {
        let mut world = World::new(Snapshot::empty(Settings::default()));
        world.apply(entries.into_iter().map(|e| Change::Upsert(Object::ServiceEntry(Arc::new(e)))).collect());
        let mut allocator = Allocator::new(["10.0.0.0/24".parse().unwrap()]);
        let text = |u: Update| {
            let addresses: Vec<_> = u.addresses.iter().map(|(h, a)| format!("{h}={a}")).collect();
            format!("{}: {}", u.name.name, addresses.join(","))
        };
        allocator.plan(world.snapshot()).into_iter().map(text).collect()
    }

    #[test]
    fn each_host_gets_an_address_and_keeps_it() {
        assert_eq!(plan(vec![entry("a", &["h", "i", "h"], &[])]), ["a: h=10.0.0.1,i=10.0.0.2"]);
        assert_eq!(plan(vec![entry("a", &["h"], &[("h", "10.0.0.1")])]), [""; 0]);
        assert_eq!(plan(vec![entry("a", &["h", "i"], &[("h", "10.0.0.1")])]), ["a: h=10.0.0.1,i=10.0.0.2"]);
        assert_eq!(plan(vec![entry("a", &["i"], &[("h", "10.0.0.1")])]), ["a: i=10.0.0.2"]);
        assert_eq!(plan(vec![entry("a", &["*.h"], &[])]), [""; 0]);
    }

    #[test]
    fn of_two_with_one_address_the_older_one_keeps_it() {
        let mut younger = entry("a", &["h"], &[("h", "10.0.0.1")]);
        younger.meta.creation = 2;
        let older = entry("b", &["i"], &[("i", "10.0.0.1")]);
        assert_eq!(plan(vec![younger.clone(), older]), ["a: h=10.0.0.2"]);
        let mut chosen = entry("c", &["j"], &[]);
        chosen.spec.addresses = vec!["10.0.0.1".into()];
        chosen.meta.creation = 3;
        assert_eq!(plan(vec![younger, chosen]), ["a: h=10.0.0.2"]);
    }

    #[test]
    fn where_nothing_is_left_nothing_is_written() {
        let mut world = World::new(Snapshot::empty(Settings::default()));
        let entry = entry("a", &["h"], &[]);
        world.apply(vec![Change::Upsert(Object::ServiceEntry(Arc::new(entry)))]);
        let mut allocator = Allocator::new(["10.0.0.0/32".parse().unwrap()]);
        assert_eq!(allocator.plan(world.snapshot()), []);
    }

    #[test]
    fn what_wants_no_address_loses_it() {
        let with = |change: &dyn Fn(&mut Entry)| {
            let mut entry = entry("a", &["h"], &[("h", "10.0.0.1")]);
            change(&mut entry);
            plan(vec![entry])
        };
        let expected = ["a: "];
        assert_eq!(with(&|e| e.spec.addresses = vec!["1.1.1.1".into()]), expected);
        assert_eq!(with(&|e| e.spec.resolution = Resolution::None as i32), expected);
        let label = "networking.istio.io/enable-autoallocate-ip";
        assert_eq!(with(&|e| e.meta.labels = [(label, "false")].into_iter().collect()), expected);
    }
}

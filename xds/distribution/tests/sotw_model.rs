//! Whatever happens on a state-of-the-world stream, in the end the client has what the source has.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use common::{CDS, EDS, Op, TYPES, World, by_name, ops, request, strings};
use meltemi_distribution::{Ask, Protocol, Response, Stream};
use proptest::prelude::*;

type Key = (&'static str, String);

/// A client, and what the test knows of it.
struct Client {
    stream: Stream,
    streams: u64,
    has: BTreeMap<Key, u64>,
    asked: BTreeMap<&'static str, BTreeSet<&'static str>>,
    nonces: BTreeMap<&'static str, String>,
    responses: VecDeque<Response>,
    /// What the server may take the client to have, and what it may send again.
    told: BTreeMap<Key, u64>,
    excused: BTreeMap<Key, usize>,
    whole: BTreeMap<&'static str, u64>,
    rejected: BTreeSet<Key>,
    /// Clusters that were accepted and wait for endpoints.
    warming: BTreeSet<String>,
    lenient: bool,
}

impl Client {
    fn new() -> Self {
        let mut client = Self {
            stream: Stream::new(Protocol::Sotw, 0),
            streams: 0,
            has: BTreeMap::new(),
            asked: BTreeMap::new(),
            nonces: BTreeMap::new(),
            responses: VecDeque::new(),
            told: BTreeMap::new(),
            excused: BTreeMap::new(),
            whole: BTreeMap::new(),
            rejected: BTreeSet::new(),
            warming: BTreeSet::new(),
            lenient: false,
        };
        client.connect(&World::default(), false, false);
        client
    }

    fn connect(&mut self, world: &World, endpoints_first: bool, eager: bool) {
        self.streams += 1;
        self.stream = Stream::new(Protocol::Sotw, self.streams);
        self.responses.clear();
        self.told.clear();
        self.excused.clear();
        self.lenient = false;
        self.whole.clear();
        let mut order = TYPES;
        if endpoints_first {
            order.reverse();
        }
        // Nonces are those of the stream before, as Envoy sends them.
        for url in order {
            if !by_name(url) || !self.names(url).is_empty() {
                self.ask(url, false);
            }
            if eager {
                self.deliver(world);
            }
        }
    }

    /// Allows that something is told once more.
    fn excuse(&mut self, key: Key) {
        *self.excused.entry(key).or_default() += 1;
    }

    /// Whether it may be told once more.
    fn excused(&mut self, key: &Key) -> bool {
        self.excused.get_mut(key).is_some_and(|n| n.checked_sub(1).map(|rest| *n = rest).is_some())
    }

    fn names(&self, url: &str) -> BTreeSet<&'static str> {
        self.asked.get(url).cloned().unwrap_or_default()
    }

    fn ask(&mut self, url: &'static str, error: bool) {
        let nonce = self.nonces.get(url).cloned().unwrap_or_default();
        if nonce.is_empty() {
            self.names(url).iter().for_each(|n| self.excuse((url, (*n).to_owned())));
        }
        let ask = Ask::Sotw { names: strings(&self.names(url)) };
        self.stream.request(request(url, &nonce, error, ask)).unwrap();
    }

    fn deliver(&mut self, world: &World) -> bool {
        let Some(response) = self.stream.next(world, Instant::now()) else { return false };
        let url = TYPES.into_iter().find(|t| **t == *response.type_url).unwrap();
        assert!(response.removed.is_empty());
        let before = self.told.clone();
        let mut fresh = false;
        for resource in &response.resources {
            let name = resource.name.to_string();
            let key = (url, name.clone());
            let again = before.get(&key) == Some(&resource.version);
            self.told.insert(key.clone(), resource.version);
            if by_name(url) {
                // After a rejection of clusters it is not known which endpoints are waited for.
                let lenient = url == EDS && self.lenient;
                assert!(!again || self.excused(&key) || lenient, "{url} {name} was sent again");
            }
            if url == CDS && !again {
                self.excuse((EDS, name));
            }
            fresh |= !again;
        }
        if !by_name(url) {
            let all = common::NAMES.iter().filter(|n| world.version(url, n).is_some()).count();
            assert_eq!(response.resources.len(), all, "{url} is not whole");
            let changed = self.whole.insert(url, response.version) != Some(response.version);
            assert!(changed || fresh, "{url} was sent again");
            self.told.retain(|(t, n), _| *t != url || response.resources.iter().any(|r| *r.name == **n));
        }
        self.responses.push_back(response);
        true
    }

    fn answer(&mut self, accept: bool) {
        let Some(response) = self.responses.pop_front() else { return };
        let url = TYPES.into_iter().find(|t| **t == *response.type_url).unwrap();
        self.nonces.insert(url, response.nonce.to_string());
        if accept && !by_name(url) {
            let waiting: Vec<_> = response
                .resources
                .iter()
                .filter(|r| url == CDS && self.has.get(&(url, r.name.to_string())) != Some(&r.version))
                .map(|r| r.name.to_string())
                .filter(|n| self.names(EDS).contains(n.as_str()))
                .collect();
            self.warming.extend(waiting);
            self.has.retain(|(t, _), _| *t != url);
            self.rejected.retain(|(t, _)| *t != url);
        }
        for resource in &response.resources {
            let key = (url, resource.name.to_string());
            if accept && url == EDS {
                self.warming.remove(&key.1);
            }
            if accept {
                self.rejected.remove(&key);
                self.has.insert(key, resource.version);
            } else {
                self.excuse(key.clone());
                if response.resources.len() == 1 || !by_name(url) {
                    self.rejected.insert(key);
                }
            }
        }
        self.lenient |= !accept && url == CDS;
        if !accept && !by_name(url) {
            self.rejected.extend(common::NAMES.map(|n| (url, n.to_owned())));
        }
        self.ask(url, !accept);
    }

    fn subscribe(&mut self, url: &'static str, names: &[&'static str]) {
        self.asked.entry(url).or_default().extend(names);
        names.iter().for_each(|n| self.excuse((url, (*n).to_owned())));
        self.ask(url, false);
    }

    fn unsubscribe(&mut self, url: &'static str, names: &[&'static str]) {
        self.asked.entry(url).or_default().retain(|n| !names.contains(n));
        self.warming.retain(|n| url != EDS || !names.contains(&n.as_str()));
        if self.nonces.contains_key(url) {
            self.ask(url, false);
        }
    }

    fn rest(&mut self, world: &World) {
        for _ in 0..100 {
            let mut busy = false;
            while self.deliver(world) {
                busy = true;
            }
            while !self.responses.is_empty() {
                self.answer(true);
                busy = true;
            }
            if !busy {
                return;
            }
        }
        panic!("the stream never comes to rest");
    }

    fn check(&self, world: &World) {
        for url in TYPES {
            for name in common::NAMES {
                let key = (url, name.to_owned());
                let want = world.version(url, name);
                // This protocol does not tell that a named resource is gone.
                let covered = !by_name(url) || (self.names(url).contains(name) && want.is_some());
                if covered && !self.rejected.contains(&key) {
                    assert_eq!(self.has.get(&key).copied(), want, "{url} {name}");
                }
            }
        }
        let waiting = self
            .warming
            .iter()
            .find(|n| world.version(EDS, n).is_some() && !self.rejected.contains(&(EDS, (*n).clone())));
        assert_eq!(waiting, None, "a cluster waits for endpoints");
    }
}

proptest! {
    #![proptest_config(common::config())]

    #[test]
    fn the_client_ends_with_what_the_source_has(ops in ops()) {
        let mut world = World::default();
        let mut client = Client::new();
        for op in ops {
            match op {
                Op::Change(edits) => {
                    world.edit(&edits);
                    // What comes back is sent again: that it was away could not be told.
                    client.told.retain(|(t, n), _| world.version(t, n).is_some());
                }
                Op::Subscribe(url, names) => client.subscribe(url, &names),
                Op::Unsubscribe(url, names) => client.unsubscribe(url, &names),
                Op::Deliver(count) => {
                    for _ in 0..count {
                        client.deliver(&world);
                    }
                }
                Op::Answer { accept } => client.answer(accept),
                Op::Reconnect { endpoints_first, eager } => client.connect(&world, endpoints_first, eager),
            }
        }
        client.rest(&world);
        client.check(&world);
    }
}

//! Whatever happens on a delta stream, in the end the client has what the source has, and was told nothing twice.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use common::{CDS, EDS, LDS, Op, RDS, TYPES, World, by_name, ops, request, strings};
use meltemi_distribution::{Ask, HOLD, Protocol, Response, Stream, version_text};
use proptest::prelude::*;

type Key = (&'static str, String);

/// What the client never accepts.
fn poison(name: &str, version: u64) -> bool {
    name == "f" && version == 3
}

/// A client, and what the test knows of it.
struct Client {
    stream: Stream,
    streams: u64,
    now: Instant,
    has: BTreeMap<Key, u64>,
    subscribed: BTreeSet<Key>,
    responses: VecDeque<Response>,
    /// Clusters that were accepted and wait for endpoints.
    warming: BTreeSet<String>,
    /// What the server may take the client to have.
    told: BTreeMap<Key, u64>,
    /// What may be told again.
    excused: BTreeMap<Key, usize>,
    /// What the client last rejected: there it may differ from the source.
    rejected: BTreeSet<Key>,
    open: BTreeSet<&'static str>,
}

impl Client {
    fn new() -> Self {
        let mut client = Self {
            stream: Stream::new(Protocol::Delta, 0),
            streams: 0,
            now: Instant::now(),
            has: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            responses: VecDeque::new(),
            warming: BTreeSet::new(),
            told: BTreeMap::new(),
            excused: BTreeMap::new(),
            rejected: BTreeSet::new(),
            open: BTreeSet::new(),
        };
        client.connect(&World::default(), false, false);
        client
    }

    fn connect(&mut self, world: &World, endpoints_first: bool, eager: bool) {
        self.streams += 1;
        self.stream = Stream::new(Protocol::Delta, self.streams);
        self.responses.clear();
        self.excused.clear();
        self.open.clear();
        self.told = self.has.clone();
        let mut order = [CDS, LDS, EDS, RDS];
        // Envoy asks for no clusters while one waits for endpoints.
        if endpoints_first || !self.warming.is_empty() {
            order = [EDS, RDS, LDS, CDS];
        }
        // A client that asks for endpoints first or has no cluster is not believed to have endpoints.
        if order[0] == EDS || !self.has.keys().any(|(t, _)| *t == CDS) {
            let endpoints: Vec<_> = self.subscribed.iter().filter(|(t, _)| *t == EDS).cloned().collect();
            endpoints.into_iter().for_each(|key| self.excuse(key));
        }
        for url in order {
            let names: Vec<_> =
                self.subscribed.iter().filter(|(t, _)| *t == url).map(|(_, n)| n.clone()).collect();
            if by_name(url) && names.is_empty() {
                continue;
            }
            let known = self.has.iter().filter(|((t, _), _)| *t == url);
            let known = known.map(|((_, n), v)| (n.clone(), version_text(*v))).collect();
            self.open.insert(url);
            self.send(url, "", false, Ask::Delta { subscribe: names, unsubscribe: Vec::new(), known });
            if eager {
                self.deliver(world);
            }
        }
    }

    fn send(&mut self, url: &str, nonce: &str, error: bool, ask: Ask) {
        self.stream.request(request(url, nonce, error, ask)).unwrap();
    }

    /// Allows that something is told once more.
    fn excuse(&mut self, key: Key) {
        *self.excused.entry(key).or_default() += 1;
    }

    /// Whether it may be told once more.
    fn excused(&mut self, key: &Key) -> bool {
        self.excused.get_mut(key).is_some_and(|n| n.checked_sub(1).map(|rest| *n = rest).is_some())
    }

    fn covers(&self, url: &'static str, name: &str) -> bool {
        !by_name(url) || self.subscribed.contains(&(url, name.to_owned()))
    }

    fn subscribe(&mut self, url: &'static str, names: &[&'static str]) {
        for name in names {
            self.subscribed.insert((url, (*name).to_owned()));
            self.excuse((url, (*name).to_owned()));
        }
        self.open.insert(url);
        self.send(
            url,
            "",
            false,
            Ask::Delta { subscribe: strings(names), unsubscribe: vec![], known: vec![] },
        );
    }

    fn unsubscribe(&mut self, url: &'static str, names: &[&'static str]) {
        if !self.open.contains(url) {
            return;
        }
        for name in names {
            let key = (url, (*name).to_owned());
            self.subscribed.remove(&key);
            self.has.remove(&key);
            self.told.remove(&key);
            self.rejected.remove(&key);
            if url == EDS {
                self.warming.remove(*name);
            }
        }
        self.send(
            url,
            "",
            false,
            Ask::Delta { subscribe: vec![], unsubscribe: strings(names), known: vec![] },
        );
    }

    /// Takes a response off the stream, and checks that it says nothing twice and breaks nothing.
    fn deliver(&mut self, world: &World) -> bool {
        let Some(response) = self.stream.next(world, self.now) else { return false };
        let url = TYPES.into_iter().find(|t| **t == *response.type_url).unwrap();
        let empty = response.resources.is_empty() && response.removed.is_empty();
        assert!(!empty || !self.told.keys().any(|(t, _)| *t == url), "an empty response of {url}");
        let mut names = BTreeSet::new();
        for resource in &response.resources {
            let name = resource.name.to_string();
            assert!(self.covers(url, &name), "{url} {name} was not asked for");
            assert!(names.insert(name.clone()), "{url} {name} is there twice");
            let key = (url, name.clone());
            let again = self.told.insert(key.clone(), resource.version) == Some(resource.version);
            assert!(!again || self.excused(&key), "{url} {name} was sent again");
            if url == CDS {
                self.excuse((EDS, name));
            }
        }
        for name in &response.removed {
            assert!(names.insert(name.to_string()), "{url} {name} is there twice");
            let key = (url, name.to_string());
            let known = self.told.remove(&key).is_some();
            assert!(known || self.excused(&key) || by_name(url), "{url} {name} was removed again");
            assert_eq!(world.version(url, name), None, "{url} {name} exists");
            if url == CDS && known {
                self.no_break();
            }
        }
        self.responses.push_back(response);
        true
    }

    /// A cluster is taken away only once the client has answered listeners and routes.
    fn no_break(&self) {
        let open = self.responses.iter().any(|r| *r.type_url == *LDS || *r.type_url == *RDS);
        assert!(!open, "a cluster is removed before the new routes were accepted");
    }

    /// Takes in the oldest response and answers it. Whatever else it holds, one with poison is rejected.
    fn answer(&mut self, accept: bool) {
        let Some(response) = self.responses.pop_front() else { return };
        let url = TYPES.into_iter().find(|t| **t == *response.type_url).unwrap();
        let poisoned = response.resources.iter().any(|r| poison(&r.name, r.version));
        let accept = accept && !poisoned;
        if !accept {
            // Its content is sent again in parts. What stands alone is not.
            let names = response.resources.iter().map(|r| &r.name).chain(&response.removed);
            names.for_each(|n| self.excuse((url, n.to_string())));
            let removal = response.resources.is_empty() && (url == CDS || url == EDS);
            if removal || response.resources.len() + response.removed.len() == 1 {
                self.rejected.extend(response.resources.iter().map(|r| (url, r.name.to_string())));
                self.rejected.extend(response.removed.iter().map(|n| (url, n.to_string())));
            }
        }
        for resource in &response.resources {
            let key = (url, resource.name.to_string());
            if !self.covers(url, &key.1) {
                continue;
            }
            if accept && url == CDS && self.subscribed.contains(&(EDS, key.1.clone())) {
                self.warming.insert(key.1.clone());
            }
            self.settle(key, accept, Some(resource.version));
        }
        for name in &response.removed {
            self.settle((url, name.to_string()), accept, None);
        }
        let ask = Ask::Delta { subscribe: vec![], unsubscribe: vec![], known: vec![] };
        self.send(url, &response.nonce, !accept, ask);
    }

    fn settle(&mut self, key: Key, accept: bool, version: Option<u64>) {
        if !accept {
            return;
        }
        if key.0 == EDS {
            self.warming.remove(&key.1);
        }
        self.rejected.remove(&key);
        match version {
            Some(version) => self.has.insert(key, version),
            None => self.has.remove(&key),
        };
    }

    /// Lets everything come to rest.
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
            if !busy && self.stream.wake_at().is_none() {
                return;
            }
            self.now += HOLD + Duration::from_millis(1);
        }
        panic!("the stream never comes to rest");
    }

    fn check(&self, world: &World) {
        for url in TYPES {
            for name in common::NAMES {
                let key = (url, name.to_owned());
                if self.rejected.contains(&key) {
                    let bad = self.stream.status(url).is_some_and(|s| s.rejected.contains_key(name));
                    let poisoned = world.version(url, name).is_some_and(|v| poison(name, v));
                    assert!(bad || !poisoned || !self.covers(url, name), "{url} {name} is not named as bad");
                    continue;
                }
                let want = if self.covers(url, name) { world.version(url, name) } else { None };
                assert_eq!(self.has.get(&key).copied(), want, "{url} {name}");
            }
        }
        let waiting = self.warming.iter().find(|n| !self.rejected.contains(&(EDS, (*n).clone())));
        assert_eq!(waiting, None, "clusters wait for endpoints");
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
                Op::Change(edits) => world.edit(&edits),
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

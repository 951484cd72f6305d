//! A source that changes at random, for the model tests.
#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_distribution::{Ask, Request, Resource, ResourceSet, Resources, Subscription, View};
use proptest::prelude::*;

pub use meltemi_distribution::type_url::{CLUSTER as CDS, ENDPOINT as EDS, LISTENER as LDS, ROUTE as RDS};

pub const TYPES: [&str; 4] = [CDS, EDS, LDS, RDS];
pub const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// The types that are asked for by name; the others are asked for as a whole.
pub fn by_name(url: &str) -> bool {
    url == EDS || url == RDS
}

/// A change of one resource: a version, or its end.
pub type Edit = (&'static str, &'static str, Option<u64>);

/// What a source has.
#[derive(Debug)]
pub struct World {
    pub generation: u64,
    types: BTreeMap<&'static str, Resources>,
}

impl Default for World {
    fn default() -> Self {
        Self { generation: 1, types: TYPES.iter().map(|t| (*t, Resources::default())).collect() }
    }
}

impl World {
    pub fn edit(&mut self, edits: &[Edit]) {
        self.generation += 1;
        for (url, name, version) in edits {
            let before = &self.types[url];
            let after = match version {
                None => before.with([], &[Arc::from(*name)]),
                Some(v) if before.get(name).is_some_and(|r| r.version == *v) => continue,
                Some(v) => before.with([resource(name, *v)], &[]),
            };
            check(&after);
            self.types.insert(url, Arc::new(after));
        }
    }

    pub fn version(&self, url: &str, name: &str) -> Option<u64> {
        self.types[url].get(name).map(|r| r.version)
    }
}

/// A set that was made from another must be what it would be made from scratch.
fn check(set: &ResourceSet) {
    let fresh = ResourceSet::new(set.iter().cloned());
    assert_eq!((set.version(), set.bytes(), set.len()), (fresh.version(), fresh.bytes(), fresh.len()));
    assert!(set.iter().zip(fresh.iter()).all(|(a, b)| Arc::ptr_eq(a, b)));
}

pub fn resource(name: &str, version: u64) -> Arc<Resource> {
    Arc::new(Resource { name: name.into(), version, body: vec![0; version as usize].into() })
}

impl View for World {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn resources(&self, url: &str, subscription: &Subscription) -> Option<Resources> {
        let all = self.types.get(url)?;
        // As an engine may do: only what is asked for, or more.
        if self.generation.is_multiple_of(3) && by_name(url) {
            return Some(Arc::new(all.iter().filter(|r| subscription.covers(&r.name)).cloned().collect()));
        }
        Some(Arc::clone(all))
    }
}

/// What happens on a stream.
#[derive(Clone, Debug)]
pub enum Op {
    Change(Vec<Edit>),
    Subscribe(&'static str, Vec<&'static str>),
    Unsubscribe(&'static str, Vec<&'static str>),
    /// The transport takes that many responses.
    Deliver(usize),
    /// The client answers the oldest response that it has not answered.
    Answer {
        accept: bool,
    },
    /// The stream breaks. What was not yet answered is lost.
    Reconnect {
        endpoints_first: bool,
        eager: bool,
    },
}

fn names() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(NAMES.to_vec(), 1..4)
}

fn named_type() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![EDS, RDS])
}

fn edit() -> impl Strategy<Value = Edit> {
    (
        proptest::sample::select(TYPES.to_vec()),
        proptest::sample::select(NAMES.to_vec()),
        proptest::option::of(1..4u64),
    )
}

pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => proptest::collection::vec(edit(), 1..5).prop_map(Op::Change),
        2 => (named_type(), names()).prop_map(|(t, n)| Op::Subscribe(t, n)),
        1 => (named_type(), names()).prop_map(|(t, n)| Op::Unsubscribe(t, n)),
        4 => (1..4usize).prop_map(Op::Deliver),
        5 => proptest::bool::weighted(0.85).prop_map(|accept| Op::Answer { accept }),
        1 => any::<(bool, bool)>().prop_map(|(endpoints_first, eager)| Op::Reconnect { endpoints_first, eager }),
    ];
    proptest::collection::vec(op, 1..60)
}

pub fn request(url: &str, nonce: &str, error: bool, ask: Ask) -> Request {
    Request { type_url: url.into(), nonce: nonce.into(), error: error.then(|| "no".into()), ask }
}

pub fn strings<'a>(names: impl IntoIterator<Item = &'a &'static str>) -> Vec<String> {
    names.into_iter().map(|n| (*n).to_owned()).collect()
}

/// A thousand cases; more by `PROPTEST_CASES`.
pub fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(1000), failure_persistence: None, ..default }
}

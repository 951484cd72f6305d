//! One type on one stream: what the client asks for, what it was sent, and the difference to what there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::isolate::Isolation;
use crate::message::{Protocol, Response, Status, Verdict};
use crate::resource::{Resource, Resources, walk};
use crate::subscription::{ALL, Subscription};
use crate::types::{Removal, Rules, rules};

/// The last response of a type.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) nonce: Arc<str>,
    pub(crate) at: Instant,
    version: u64,
    answered: bool,
}

/// One type on one stream.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) type_url: Arc<str>,
    pub(crate) rules: Rules,
    pub(crate) subscription: Subscription,
    /// The client once named something, after which naming nothing no longer means everything.
    named: bool,
    /// What the client was last given, as far as the subscription covers it. Shared with the view it came from.
    sent: Resources,
    /// What is gone from `sent` but not yet taken from the client, with its version if that is known.
    held: BTreeMap<Arc<str>, Option<u64>>,
    held_since: Option<Instant>,
    /// What the client says it has from an earlier stream; until the first answer. Without a version where it is
    /// not to be believed.
    known: FxHashMap<Arc<str>, Option<u64>>,
    /// The client resumed from an earlier stream.
    pub(crate) resumed: bool,
    /// What a resuming client was sent before it asked for what follows it.
    pub(crate) brought: Vec<Arc<str>>,
    /// Names that must be answered though nothing about them changed.
    wanted: Vec<Arc<str>>,
    /// Nothing was answered since the client (again) asked from scratch.
    fresh: bool,
    /// An answer is owed even if it is empty.
    owed: bool,
    /// There is a view that was not compared yet.
    pub(crate) stale: bool,
    pub(crate) last: Option<Sent>,
    /// Since when the client has to settle resources that were new to it.
    pub(crate) introduced: Option<Instant>,
    acked: Option<Arc<str>>,
    error: Option<Arc<str>>,
    isolation: Isolation,
}

/// A response without its nonce, and the names in it that the client did not have in this version.
pub(crate) struct Answer {
    pub(crate) version: u64,
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) removed: Vec<Arc<str>>,
    pub(crate) changed: Vec<Arc<str>>,
    /// It cannot be sent in parts if it is rejected.
    pub(crate) whole: bool,
    /// Whether any of them is new to the client.
    introduces: bool,
}

impl Watch {
    fn new(type_url: &str) -> Self {
        Self {
            type_url: type_url.into(),
            rules: rules(type_url),
            subscription: Subscription::default(),
            named: false,
            sent: Resources::default(),
            held: BTreeMap::new(),
            held_since: None,
            known: FxHashMap::default(),
            resumed: false,
            brought: Vec::new(),
            wanted: Vec::new(),
            fresh: true,
            owed: false,
            stale: false,
            last: None,
            introduced: None,
            acked: None,
            error: None,
            isolation: Isolation::default(),
        }
    }

    /// The first request of a type on a delta stream. `believe` says whether the versions in `known` are to be believed.
    pub(crate) fn open_delta(
        type_url: &str,
        subscribe: Vec<String>,
        unsubscribe: &[String],
        known: Vec<(String, String)>,
        believe: bool,
    ) -> Self {
        let mut watch = Self::new(type_url);
        let legacy = subscribe.is_empty() && watch.rules.legacy_wildcard;
        watch.named = !subscribe.is_empty();
        watch.resumed = !known.is_empty();
        watch.owed = !watch.resumed;
        for (name, version) in known {
            let version = if believe { crate::parse_version(&version) } else { None };
            watch.known.insert(name.into(), version);
        }
        let mut names: Vec<Arc<str>> = subscribe.into_iter().map(Arc::from).collect();
        let wildcard = legacy || names.iter().any(|n| &**n == ALL);
        names.retain(|n| &**n != ALL);
        if !wildcard {
            names.extend(watch.known.keys().cloned());
        }
        watch.subscription = Subscription::only(names);
        watch.subscription.set_wildcard(wildcard);
        watch.unsubscribe(unsubscribe);
        watch.wanted = watch.subscription.names().to_vec();
        watch.owed &= watch.subscription.wildcard();
        watch.stale = true;
        watch
    }

    /// A later request on a delta stream.
    pub(crate) fn update_delta(&mut self, subscribe: Vec<String>, unsubscribe: &[String]) {
        let mut names: Vec<Arc<str>> = subscribe.into_iter().map(Arc::from).collect();
        let wildcard = names.iter().any(|n| &**n == ALL);
        self.named |= !names.is_empty();
        names.retain(|n| &**n != ALL);
        if wildcard && !self.subscription.wildcard() {
            // What was sent but not asked for is not known to the client.
            let kept = self.sent.iter().filter(|r| self.subscription.names_it(&r.name)).cloned().collect();
            self.sent = Arc::new(kept);
            self.subscription.set_wildcard(true);
            self.owed = true;
        }
        self.subscription.add(&names);
        // "The server must respond with all resources listed in resource_names_subscribe, even if it believes the client
        // has the most recent version of them" (`DeltaDiscoveryRequest`).
        self.want(names);
        self.unsubscribe(unsubscribe);
    }

    fn unsubscribe(&mut self, names: &[String]) {
        if names.is_empty() {
            return;
        }
        if names.iter().any(|n| n == ALL) {
            self.subscription.set_wildcard(false);
        }
        let gone: Vec<Arc<str>> = names.iter().filter(|n| *n != ALL).map(|n| Arc::from(n.as_str())).collect();
        // A client that has a wildcard as well cannot tell whether that covers the name: it must be told.
        let ambiguous: Vec<_> = if self.subscription.wildcard() {
            gone.iter().filter(|n| self.subscription.names_it(n)).cloned().collect()
        } else {
            Vec::new()
        };
        self.subscription.remove(&gone);
        let Self { subscription, wanted, held, known, isolation, .. } = self;
        isolation.retain(|n| subscription.covers(n));
        wanted.retain(|n| subscription.covers(n));
        held.retain(|n, _| subscription.covers(n));
        known.retain(|n, _| subscription.covers(n));
        self.want(ambiguous);
    }

    /// The first request of a type on a state-of-the-world stream, or one without a nonce: asks from scratch.
    pub(crate) fn open_sotw(type_url: &str, before: Option<&Self>, names: Vec<String>) -> Self {
        let mut watch = Self::new(type_url);
        watch.named = before.is_some_and(|w| w.named);
        watch.subscription = watch.sotw_subscription(names);
        watch.owed = true;
        watch.stale = true;
        watch
    }

    /// A later request on a state-of-the-world stream.
    pub(crate) fn update_sotw(&mut self, names: Vec<String>) {
        let next = self.sotw_subscription(names);
        if next == self.subscription {
            return;
        }
        let added: Vec<_> = next.names().iter().filter(|n| !self.subscription.names_it(n)).cloned().collect();
        let broader = next.wildcard() && !self.subscription.wildcard();
        self.subscription = next;
        if broader {
            self.sent = Resources::default();
        }
        // Istio answers a changed list, except one that only shrank where what a response lacks is not deleted
        // (`ShouldRespond`).
        self.owed |= broader || self.rules.whole;
        self.want(added);
    }

    fn sotw_subscription(&mut self, names: Vec<String>) -> Subscription {
        let legacy = names.is_empty() && self.rules.legacy_wildcard && !self.named;
        self.named |= !names.is_empty();
        let wildcard = legacy || names.iter().any(|n| n == ALL);
        let mut subscription = Subscription::only(names.into_iter().filter(|n| n != ALL));
        subscription.set_wildcard(wildcard);
        subscription
    }

    /// Has names answered though nothing about them changed.
    pub(crate) fn want(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        for name in names {
            if self.subscription.covers(&name) {
                self.known.remove(&name);
                self.wanted.push(name);
            }
        }
    }

    /// Takes note of what the client said of a response, if it is about the last one.
    pub(crate) fn judge(&mut self, nonce: &str, error: Option<String>) -> Verdict {
        let Some(last) = &mut self.last else {
            return if nonce.is_empty() { Verdict::None } else { Verdict::Expired };
        };
        if *last.nonce != *nonce && error.is_none() {
            return if nonce.is_empty() { Verdict::None } else { Verdict::Expired };
        }
        if *last.nonce == *nonce {
            last.answered = true;
            self.introduced = None;
        }
        self.error = error.map(Arc::from);
        self.isolation.answered(nonce, self.error.as_ref());
        if self.error.is_some() {
            return Verdict::Rejected;
        }
        self.acked = Some(last.nonce.clone());
        Verdict::Acked
    }

    /// Whether there is something to compare or to answer.
    pub(crate) fn due(&self) -> bool {
        self.stale || self.owed || !self.wanted.is_empty() || self.repeats()
    }

    /// Whether something of a rejected response is to be sent again. That waits for the answer to the response before,
    /// and does not help where a response must hold everything.
    fn repeats(&self) -> bool {
        self.isolation.pending() && self.last.as_ref().is_some_and(|l| l.answered)
    }

    /// Whether what is due is a change of what the client has and goes on with, rather than something it waits for.
    pub(crate) fn can_wait(&self) -> bool {
        if self.fresh { self.resumed } else { !self.owed && self.wanted.is_empty() }
    }

    /// Whether the client has nothing left to say about what it was sent.
    pub(crate) fn settled(&self) -> bool {
        self.held.is_empty() && !self.isolation.pending() && self.last.as_ref().is_none_or(|l| l.answered)
    }

    /// Leaves a type alone that is not served, or not yet.
    pub(crate) fn skip(&mut self) {
        self.stale = false;
        self.owed = false;
        self.wanted.clear();
    }

    /// Compares with what there is now.
    pub(crate) fn answer(&mut self, protocol: Protocol, now: &Resources, at: Instant) -> Option<Answer> {
        if !self.stale && !self.owed && self.wanted.is_empty() {
            return self.repeat(protocol, now);
        }
        let difference = self.difference(now);
        let introduces = difference.introduces;
        let owed = std::mem::take(&mut self.owed);
        let version = now.version();
        self.stale = false;
        self.fresh = false;
        self.known = FxHashMap::default();
        self.sent = Arc::clone(now);
        let changed = difference.changed.iter().map(|r| Arc::clone(&r.name)).collect();
        let (resources, removed) = match protocol {
            Protocol::Delta => {
                let removed = self.remove(difference.gone, difference.missing, at);
                (difference.changed, removed)
            }
            Protocol::Sotw => {
                let whole = self.rules.whole || self.subscription.wildcard();
                if whole && (owed || !difference.changed.is_empty() || !difference.gone.is_empty()) {
                    return Some(Answer { introduces, ..self.whole(version, changed) });
                }
                (difference.changed, Vec::new())
            }
        };
        if resources.is_empty() && removed.is_empty() && !owed {
            return None;
        }
        Some(Answer { version, resources, removed, changed, whole: false, introduces })
    }

    /// Sends a part of a rejected response again.
    fn repeat(&mut self, protocol: Protocol, now: &Resources) -> Option<Answer> {
        while let Some(mut names) = self.isolation.next() {
            names.retain(|n| self.subscription.covers(n));
            let resources: Vec<_> = names.iter().filter_map(|n| now.get(n)).cloned().collect();
            names.retain(|n| protocol == Protocol::Delta && now.get(n).is_none());
            names.retain(|n| match self.held.get_mut(n) {
                // The removal is told in its time. Until then the client may lack it, if it comes back.
                Some(version) => {
                    *version = None;
                    false
                }
                None => true,
            });
            if !resources.is_empty() || !names.is_empty() {
                let changed = resources.iter().map(|r| r.name.clone()).collect();
                let introduces = !resources.is_empty();
                return Some(Answer {
                    version: now.version(),
                    resources,
                    removed: names,
                    changed,
                    whole: false,
                    introduces,
                });
            }
        }
        None
    }

    /// All that the client asks for.
    fn whole(&self, version: u64, changed: Vec<Arc<str>>) -> Answer {
        let resources: Vec<_> =
            self.sent.iter().filter(|r| self.subscription.covers(&r.name)).cloned().collect();
        // What was rejected is sent again with the rest, and may be accepted now.
        let changed = if self.error.is_none() { changed } else { self.names_sent().collect() };
        Answer { version, resources, removed: Vec::new(), changed, whole: true, introduces: false }
    }

    /// What the client has or was sent, and perhaps more.
    pub(crate) fn sent(&self) -> &Resources {
        &self.sent
    }

    /// The names of what the client has or was sent.
    pub(crate) fn names_sent(&self) -> impl Iterator<Item = Arc<str>> {
        self.sent.iter().filter(|r| self.subscription.covers(&r.name)).map(|r| r.name.clone())
    }

    /// Which names a delta response says to be removed now; holds the others back.
    fn remove(
        &mut self,
        gone: Vec<(Arc<str>, Option<u64>)>,
        missing: Vec<Arc<str>>,
        at: Instant,
    ) -> Vec<Arc<str>> {
        // What never existed can be told at once: nothing refers to it, and the client may be waiting to hear so
        // ("xDS protocol", *Knowing when a requested resource does not exist*).
        let mut removed = missing;
        match self.rules.removal {
            Removal::AtOnce => removed.extend(gone.into_iter().map(|(name, _)| name)),
            Removal::Last if !gone.is_empty() => {
                self.held.extend(gone);
                self.held_since.get_or_insert(at);
            }
            Removal::Last => {}
            Removal::Never => removed.clear(),
        }
        removed.sort_unstable();
        removed.dedup();
        removed
    }

    /// What is held back, and when that began.
    pub(crate) fn held_since(&self) -> Option<Instant> {
        if self.held.is_empty() { None } else { self.held_since }
    }

    /// Tells the client of what was held back.
    pub(crate) fn release(&mut self) -> Answer {
        self.held_since = None;
        let removed = std::mem::take(&mut self.held).into_keys().collect();
        let version = self.sent.version();
        // Not to be sent in parts if it is rejected: what a client does not want to lose, it keeps.
        Answer {
            version,
            resources: Vec::new(),
            removed,
            changed: Vec::new(),
            whole: true,
            introduces: false,
        }
    }

    /// Makes an answer a response.
    pub(crate) fn stamp(&mut self, answer: Answer, nonce: Arc<str>, at: Instant) -> Response {
        if answer.introduces {
            self.introduced.get_or_insert(at);
        }
        if !answer.whole {
            let names = answer.resources.iter().map(|r| &r.name).chain(&answer.removed).cloned().collect();
            self.isolation.sent(nonce.clone(), names);
        }
        self.last = Some(Sent { nonce: nonce.clone(), at, version: answer.version, answered: false });
        Response {
            type_url: self.type_url.clone(),
            version: answer.version,
            nonce,
            resources: answer.resources,
            removed: answer.removed,
        }
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            type_url: self.type_url.clone(),
            subscription: self.subscription.clone(),
            nonce_sent: self.last.as_ref().map(|l| l.nonce.clone()),
            nonce_acked: self.acked.clone(),
            version: self.last.as_ref().map_or(0, |l| l.version),
            error: self.error.clone(),
            sent: Arc::clone(&self.sent),
            rejected: self.isolation.bad().clone(),
            held: self.held.len(),
        }
    }
}

/// The difference between what a client has and what there is.
#[derive(Default)]
struct Difference {
    /// New or other than before, by name.
    changed: Vec<Arc<Resource>>,
    /// No longer there, with the version that the client has.
    gone: Vec<(Arc<str>, Option<u64>)>,
    /// Asked for, not there, and not known to the client either.
    missing: Vec<Arc<str>>,
    /// Whether something in `changed` is new to the client.
    introduces: bool,
}

impl Watch {
    fn difference(&mut self, now: &Resources) -> Difference {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = Difference::default();
        if self.fresh && !self.subscription.wildcard() {
            // The set may be far larger than what is asked for: look up instead of walking.
            now.find_each(self.subscription.names(), |name, resource| match resource {
                Some(r) if self.known.get(name).copied().flatten() == Some(r.version) => {}
                Some(r) => found.changed.push(Arc::clone(r)),
                None => match self.known.get(name) {
                    Some(version) => found.gone.push((name.clone(), *version)),
                    None => found.missing.push(name.clone()),
                },
            });
            return found;
        }
        if !Arc::ptr_eq(&self.sent, now) {
            let Self { sent, subscription, held, known, .. } = self;
            walk(sent, now, |old, new| match (old, new) {
                (Some(old), Some(new)) if Arc::ptr_eq(old, new) || old.version == new.version => {}
                (old, Some(new)) if subscription.covers(&new.name) => {
                    let has = held.remove(&new.name).or_else(|| known.remove(&new.name));
                    found.introduces |= old.is_none() && has.is_none();
                    if has.flatten() != Some(new.version) {
                        found.changed.push(Arc::clone(new));
                    }
                }
                (Some(old), None) if subscription.covers(&old.name) => {
                    found.gone.push((old.name.clone(), Some(old.version)));
                }
                _ => {}
            });
        }
        // What the client announced and the walk did not meet.
        found.gone.extend(self.known.iter().map(|(name, version)| (name.clone(), *version)));
        if !wanted.is_empty() {
            let changed = found.changed.len();
            now.find_each(&wanted, |name, resource| match resource {
                // The walk met it, and knew what the client announced.
                Some(_) if self.fresh => {}
                Some(r) => {
                    if found.changed[..changed].binary_search_by(|c| c.name.cmp(&r.name)).is_err() {
                        found.changed.push(Arc::clone(r));
                    }
                }
                None if self.known.contains_key(name) => {}
                None => {
                    self.held.remove(name);
                    found.missing.push(name.clone());
                }
            });
            found.changed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            // Told at once because asked for: not to be told again later.
            found.gone.retain(|(name, _)| found.missing.binary_search(name).is_err());
        }
        found
    }
}

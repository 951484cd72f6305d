//! One stream: all types that a client asks for, and what to send next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::View;
use crate::message::{Ask, Protocol, Refusal, Request, Response, Status, Verdict};
use crate::subscription::NameLists;
use crate::watch::Watch;

/// How many names a stream may ask for, over all types. Ten thousand clusters with their endpoints, routes and secrets
/// stay well below.
pub const MAX_NAMES: usize = 100_000;

/// How many types a stream may ask for. Envoy and pilot-agent together ask for fewer than ten.
pub const MAX_TYPES: usize = 64;

/// How long removals wait for a client that answers nothing. istioctl and other readers never answer.
pub const HOLD: Duration = Duration::from_secs(5);

/// How long changes wait for a client to settle the clusters that they may refer to. One that waits for a name to
/// resolve takes longer, and would delay all changes to other routes.
pub const SETTLE: Duration = Duration::from_secs(1);

/// One stream.
///
/// Feed it requests with [`Stream::request`], and whenever the transport can take something, ask [`Stream::next`] until
/// it has nothing more. What is pending is not a queue of responses but the difference between two sets, found when it
/// is asked for: a client that reads slowly has at most one push pending, merged from all that happened meanwhile.
#[derive(Debug)]
pub struct Stream {
    protocol: Protocol,
    /// Sets the nonces of this stream apart from those of a stream before it.
    id: u64,
    responses: u64,
    generation: Option<u64>,
    /// In the order in which types are pushed.
    watches: Vec<Watch>,
    lists: Arc<NameLists>,
}

impl Stream {
    /// A stream on which nothing was asked yet. `id` tells it from the client's other streams.
    pub fn new(protocol: Protocol, id: u64) -> Self {
        Self { protocol, id, responses: 0, generation: None, watches: Vec::new(), lists: Arc::default() }
    }

    /// The same stream, having lists of names in common with others.
    #[must_use]
    pub fn sharing(self, lists: Arc<NameLists>) -> Self {
        Self { lists, ..self }
    }

    /// The variant of the protocol that the client speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Takes in a request. What it asks for is due from then on.
    ///
    /// # Errors
    /// If the client asks for more than any proxy can need.
    pub fn request(&mut self, request: Request) -> Result<Verdict, Refusal> {
        let Request { type_url, nonce, error, ask } = request;
        let known = self.find(&type_url);
        if known.is_none() && self.watches.len() >= MAX_TYPES {
            return Err(Refusal::TooManyTypes { limit: MAX_TYPES });
        }
        self.check_names(known, &ask)?;
        match ask {
            Ask::Delta { subscribe, unsubscribe, known: versions } => {
                let Some(i) = known else {
                    self.open_delta(&type_url, subscribe, &unsubscribe, versions);
                    self.share_names(&type_url);
                    return Ok(Verdict::None);
                };
                let watch = &mut self.watches[i];
                let verdict = watch.judge(&nonce, error);
                // Changes to the subscription count even in an answer to a response that was overtaken: the client will
                // not repeat them. (istiod drops them.)
                let changes = !subscribe.is_empty() || !unsubscribe.is_empty();
                watch.update_delta(subscribe, &unsubscribe);
                if changes {
                    self.share_names(&type_url);
                }
                Ok(verdict)
            }
            Ask::Sotw { names } => {
                let before = known.map(|i| self.watches[i].subscription.names().as_ptr());
                let verdict = self.request_sotw(&type_url, known, &nonce, error, names);
                let after = self.find(&type_url).map(|i| self.watches[i].subscription.names().as_ptr());
                if before != after {
                    self.share_names(&type_url);
                }
                Ok(verdict)
            }
        }
    }

    /// The rules of Istio's `ShouldRespond` (`pkg/xds/server.go`).
    fn request_sotw(
        &mut self,
        type_url: &str,
        known: Option<usize>,
        nonce: &str,
        error: Option<String>,
        names: Vec<String>,
    ) -> Verdict {
        let verdict = known.map_or(Verdict::None, |i| self.watches[i].judge(nonce, error));
        if verdict == Verdict::Expired {
            // The client will answer the newer response too, and say then what it asks for.
            return verdict;
        }
        if let (Verdict::Rejected, Some(i)) = (verdict, known)
            && self.watches[i].last.as_ref().is_some_and(|l| *l.nonce != *nonce)
        {
            // A newer response is on its way that has what was rejected once more.
            let names: Vec<_> = self.watches[i].names_sent().collect();
            self.follow(type_url, &names);
            return verdict;
        }
        match known {
            Some(i) if !nonce.is_empty() => self.watches[i].update_sotw(names),
            Some(i) => self.watches[i] = Watch::open_sotw(type_url, Some(&self.watches[i]), names),
            None => self.open(Watch::open_sotw(type_url, None, names)),
        }
        // Of a type that cannot be deleted by leaving it out, an empty list ends the subscription.
        self.watches.retain(|w| !w.subscription.is_empty() || w.rules.whole);
        verdict
    }

    /// Opens a type, and decides which of the versions that a reconnecting client announces are to be believed.
    ///
    /// Envoy announces the endpoints that it has even for a cluster that it updated just before the connection broke and
    /// that still waits for endpoints. But as long as a cluster waits, it sends no request for clusters
    /// (`ClusterManagerImpl::updateClusterCounts` pauses CDS). So if it asks for endpoints first, it needs all of them;
    /// if it asked for clusters first, it needs those of the clusters that it was sent since.
    fn open_delta(
        &mut self,
        type_url: &str,
        subscribe: Vec<String>,
        unsubscribe: &[String],
        versions: Vec<(String, String)>,
    ) {
        let follows = crate::types::rules(type_url).follows;
        let mut leader = follows.and_then(|url| self.find(url)).map(|i| &mut self.watches[i]);
        let believe = follows.is_none() || leader.as_ref().is_some_and(|l| l.resumed);
        let mut watch = Watch::open_delta(type_url, subscribe, unsubscribe, versions, believe);
        if let Some(leader) = &mut leader {
            watch.want(std::mem::take(&mut leader.brought));
        }
        self.open(watch);
    }

    fn check_names(&self, known: Option<usize>, ask: &Ask) -> Result<(), Refusal> {
        let before: usize = self.watches.iter().map(|w| w.subscription.names().len()).sum();
        let this = known.map(|i| &self.watches[i].subscription);
        let (asked, kept) = match ask {
            Ask::Delta { subscribe, known, .. } => (subscribe.len().max(known.len()), before),
            Ask::Sotw { names } => (names.len(), before - this.map_or(0, |s| s.names().len())),
        };
        if kept + asked <= MAX_NAMES {
            return Ok(());
        }
        let asked = match (ask, this) {
            (Ask::Delta { subscribe, .. }, Some(this)) => {
                subscribe.iter().filter(|n| !this.names_it(n)).count()
            }
            _ => asked,
        };
        let asked = kept + asked;
        if asked > MAX_NAMES { Err(Refusal::TooManyNames { asked, limit: MAX_NAMES }) } else { Ok(()) }
    }

    /// Has the names that a type is asked for by in common with what leads it, as clusters lead endpoints, and with other
    /// streams: ten thousand names on each of a thousand streams are worth having once.
    fn share_names(&mut self, type_url: &str) {
        let Some(i) = self.find(type_url) else { return };
        let leader = self.watches[i].rules.follows.and_then(|url| self.find(url));
        let leader = leader.map(|l| Arc::clone(self.watches[l].sent()));
        let subscription = &mut self.watches[i].subscription;
        if let Some(leader) = leader {
            subscription.share_names(&leader);
        }
        self.lists.share(subscription);
    }

    fn find(&self, type_url: &str) -> Option<usize> {
        self.watches.iter().position(|w| *w.type_url == *type_url)
    }

    fn open(&mut self, watch: Watch) {
        let at = self.watches.partition_point(|w| w.rules.order <= watch.rules.order);
        self.watches.insert(at, watch);
    }

    /// What to send next, if anything. Ask with one view until there is nothing more, and only then with a newer one:
    /// then what is sent of one type fits what was sent of the others.
    ///
    /// Types go in the order of a push even if a client asks for a later one meanwhile, so that it is never sent a route
    /// to a cluster that it was not sent.
    pub fn next(&mut self, view: &dyn View, now: Instant) -> Option<Response> {
        if self.generation != Some(view.generation()) {
            self.generation = Some(view.generation());
            self.watches.iter_mut().for_each(|w| w.stale = true);
        }
        while let Some(i) = self.due_at(now) {
            let watch = &mut self.watches[i];
            let Some(resources) = view.resources(&watch.type_url, &watch.subscription) else {
                watch.skip();
                continue;
            };
            let Some(answer) = watch.answer(self.protocol, &resources, now) else { continue };
            let leader = watch.type_url.clone();
            if !self.follow(&leader, &answer.changed) && self.watches[i].resumed {
                self.watches[i].brought.extend(answer.changed.iter().cloned());
            }
            return Some(self.stamp(i, answer, now));
        }
        let free = self.held().find(|(_, until)| until.is_none_or(|until| until <= now))?.0;
        let answer = self.watches[free].release();
        Some(self.stamp(free, answer, now))
    }

    /// Has the type that follows `leader` answered for these names. Returns whether the client asks for that type.
    fn follow(&mut self, leader: &str, names: &[Arc<str>]) -> bool {
        let follower = self.watches.iter_mut().find(|w| w.rules.follows == Some(leader));
        follower.map(|f| f.want(names.iter().cloned())).is_some()
    }

    /// When to ask [`Stream::next`] again even if nothing happens.
    pub fn wake_at(&self) -> Option<Instant> {
        self.held().chain(self.due()).filter_map(|(_, until)| until).min()
    }

    /// The first type with something to compare or to answer that waits no longer.
    fn due_at(&self, now: Instant) -> Option<usize> {
        let mut due = self.due();
        due.find(|(_, until)| until.is_none_or(|until| until <= now)).map(|(i, _)| i)
    }

    /// The types with something to compare or to answer, each with the time until which it waits, if it does.
    fn due(&self) -> impl Iterator<Item = (usize, Option<Instant>)> {
        self.watches.iter().enumerate().filter(|(_, watch)| watch.due()).map(|(i, watch)| {
            let leader = watch.rules.waits_for.filter(|_| watch.can_wait()).and_then(|t| self.find(t));
            (i, leader.and_then(|l| self.watches[l].introduced).map(|since| since + SETTLE))
        })
    }

    /// The types with removals held back, each with the time until which it waits, if it does.
    ///
    /// A listener that is updated keeps serving in its old form, with the old routes, until the new form has all it
    /// needs; it asks for new routes before it accepts the update. Hence the wait for the client's answers and not just
    /// for the responses to be sent.
    fn held(&self) -> impl Iterator<Item = (usize, Option<Instant>)> {
        self.watches.iter().enumerate().filter_map(|(i, watch)| {
            let since = watch.held_since()?;
            let unsettled = watch.rules.removal_waits_for.iter().filter_map(|t| self.find(t));
            let unsettled = unsettled.map(|i| &self.watches[i]).filter(|w| !w.settled() || w.due());
            let until = unsettled.map(|w| w.last.as_ref().map_or(since, |l| l.at.max(since)) + HOLD).max();
            Some((i, until))
        })
    }

    fn stamp(&mut self, i: usize, answer: crate::watch::Answer, now: Instant) -> Response {
        self.responses += 1;
        let generation = self.generation.unwrap_or_default();
        let nonce = format!("{:x}.{generation:x}.{:x}", self.id, self.responses);
        self.watches[i].stamp(answer, nonce.into(), now)
    }

    /// The state of one type.
    pub fn status(&self, type_url: &str) -> Option<Status> {
        self.find(type_url).map(|i| self.watches[i].status())
    }

    /// The state of all types, in the order of a push.
    pub fn statuses(&self) -> impl Iterator<Item = Status> {
        self.watches.iter().map(Watch::status)
    }

    /// The generation of the view that was last compared with.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }
}

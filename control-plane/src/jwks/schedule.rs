//! When keys are fetched, and what is kept of what came of it. No IO.
//!
//! **Invariant:** keys that were good once stay in force while fetching fails, for [`STALE`] at most.

use meltemi_world::jwks::{Jwks, Source, Wanted};
use meltemi_world::{Change, Kind, NsName, Object, Str};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::document;

/// For how many places keys are fetched. Each holds a megabyte at most.
pub(super) const MOST: usize = 1000;
/// After what time keys that cannot be fetched again are given up (Istio `JwtPubKeyEvictionDuration`).
const STALE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// For how long keys are kept that nothing refers to: an object may be deleted and made again.
const UNWANTED: Duration = Duration::from_secs(10 * 60);
/// How soon fetching is tried again where there are no keys yet, and where there are; doubled each time.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// Up to what it is doubled (the second is Istio `JwtPubKeyRefreshIntervalOnFailureResetThreshold`).
const RETRY_MOST: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(60 * 60)];

/// All places that keys are fetched from.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    entries: BTreeMap<Source, Entry>,
    left_out: Vec<(Source, NsName)>,
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    unwanted_since: Option<Instant>,
    keys: Option<Str>,
    fetched_at: Instant,
    /// When to fetch next; `None` while that is under way.
    due: Option<Instant>,
    failures: u32,
    problem: Option<String>,
    tried: bool,
}

impl Schedule {
    /// A schedule that fetches anew after `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, entries: BTreeMap::new(), left_out: Vec::new() }
    }

    /// Takes over what is wanted now.
    pub fn want(&mut self, wanted: BTreeMap<Source, Wanted>, now: Instant) {
        for (source, entry) in &mut self.entries {
            if !wanted.contains_key(source) {
                entry.unwanted_since.get_or_insert(now);
            }
        }
        self.left_out.clear();
        for (source, wanted) in wanted {
            if let Some(entry) = self.entries.get_mut(&source) {
                entry.wanted = wanted;
                entry.unwanted_since = None;
            } else if self.entries.len() < MOST {
                let entry = Entry {
                    wanted,
                    unwanted_since: None,
                    keys: None,
                    fetched_at: now,
                    due: Some(now),
                    failures: 0,
                    problem: None,
                    tried: false,
                };
                self.entries.insert(source, entry);
            } else {
                self.left_out.push((source, wanted.policy));
            }
        }
    }

    /// The next place to fetch from, and how long that may take. It counts as under way from then on.
    pub fn start(&mut self, now: Instant) -> Option<(Source, Duration)> {
        let due = |e: &Entry| e.unwanted_since.is_none() && e.due.is_some_and(|due| due <= now);
        let (source, entry) = self.entries.iter_mut().find(|(_, e)| due(e))?;
        entry.due = None;
        Some((source.clone(), entry.wanted.time))
    }

    /// Takes what came of fetching. Returns what that changes in the world.
    pub fn done(&mut self, source: &Source, outcome: Result<String, String>, now: Instant) -> Option<Change> {
        let entry = self.entries.get_mut(source)?;
        entry.tried = true;
        match outcome {
            Ok(keys) => {
                entry.due = Some(now + self.interval);
                entry.fetched_at = now;
                entry.failures = 0;
                entry.problem = None;
                if entry.keys.as_deref().is_some_and(|known| document::same(known, &keys)) {
                    return None;
                }
                let keys = Str::from(keys);
                entry.keys = Some(keys.clone());
                Some(Change::Upsert(Object::Jwks(Arc::new(Jwks { source: source.clone(), keys }))))
            }
            Err(problem) => {
                let has = usize::from(entry.keys.is_some());
                let wait = RETRY[has].saturating_mul(1 << entry.failures.min(10)).min(RETRY_MOST[has]);
                entry.due = Some(now + wait.min(self.interval.max(RETRY[0])));
                entry.failures += 1;
                entry.problem = Some(problem);
                let given_up = entry.keys.is_some() && now.duration_since(entry.fetched_at) >= STALE;
                given_up.then(|| {
                    entry.keys = None;
                    Change::Remove(Kind::Jwks, source.key())
                })
            }
        }
    }

    /// Drops what nothing has referred to for long. Returns what that changes in the world.
    pub fn prune(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        self.entries.retain(|source, entry| {
            let stays = entry.unwanted_since.is_none_or(|since| now.duration_since(since) < UNWANTED);
            if !stays && entry.keys.is_some() {
                changes.push(Change::Remove(Kind::Jwks, source.key()));
            }
            stays
        });
        changes
    }

    /// When there is something to do next.
    pub fn next_at(&self) -> Option<Instant> {
        let at = |e: &Entry| match e.unwanted_since {
            Some(since) => Some(since + UNWANTED),
            None => e.due,
        };
        self.entries.values().filter_map(at).min()
    }

    /// Whether each place was tried at least once.
    pub fn all_tried(&self) -> bool {
        self.entries.values().all(|e| e.tried || e.unwanted_since.is_some())
    }

    /// What is wrong, by a policy that refers to the place.
    pub fn problems(&self) -> Vec<(NsName, String)> {
        let of = |(source, entry): (&Source, &Entry)| {
            let problem = entry.problem.as_ref().filter(|_| entry.unwanted_since.is_none())?;
            let consequence = match entry.keys {
                Some(_) => "the keys of before stay in force",
                None => "requests with tokens of this issuer are refused",
            };
            let url = source.url();
            Some((
                entry.wanted.policy.clone(),
                format!("keys cannot be fetched from {url}: {problem}; {consequence}"),
            ))
        };
        let left_out = self.left_out.iter().map(|(source, policy)| {
            let url = source.url();
            (
                policy.clone(),
                format!("keys are not fetched from {url}: there are more than {MOST} such places"),
            )
        });
        self.entries.iter().filter_map(of).chain(left_out).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(20 * 60);

    fn source(url: &str) -> Source {
        Source::Keys(url.into())
    }

    fn wanted(urls: &[&str]) -> BTreeMap<Source, Wanted> {
        let one = || Wanted { time: Duration::from_secs(5), policy: NsName::new("ns", "jwt") };
        urls.iter().map(|url| (source(url), one())).collect()
    }

    fn keys(kid: &str) -> Result<String, String> {
        Ok(format!(r#"{{"keys": [{{"kid": "{kid}"}}]}}"#))
    }

    fn failed() -> Result<String, String> {
        Err("no route".to_owned())
    }

    #[test]
    fn good_keys_stay_while_fetching_fails_and_are_given_up_in_the_end() {
        let (mut schedule, start) = (Schedule::new(INTERVAL), Instant::now());
        schedule.want(wanted(&["u"]), start);
        assert!(!schedule.all_tried());
        assert_eq!(schedule.start(start), Some((source("u"), Duration::from_secs(5))));
        assert_eq!(schedule.start(start), None, "it is under way");
        assert!(matches!(schedule.done(&source("u"), keys("a"), start), Some(Change::Upsert(_))));
        assert!(schedule.all_tried());
        let mut now = start + INTERVAL;
        assert_eq!(schedule.next_at(), Some(now));
        assert!(schedule.done(&source("u"), keys("a"), now).is_none(), "the same keys");
        let mut waits = Vec::new();
        for _ in 0..3 {
            assert!(schedule.done(&source("u"), failed(), now).is_none());
            let next = schedule.next_at().unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [60, 120, 240]);
        assert!(schedule.problems()[0].1.ends_with("the keys of before stay in force"));
        let late = now + STALE;
        assert_eq!(
            schedule.done(&source("u"), failed(), late),
            Some(Change::Remove(Kind::Jwks, source("u").key()))
        );
        assert!(schedule.problems()[0].1.ends_with("are refused"));
        assert!(schedule.done(&source("u"), keys("b"), late).is_some());
        assert!(schedule.problems().is_empty());
    }

    #[test]
    fn a_place_that_never_answered_is_tried_again_soon() {
        let (mut schedule, now) = (Schedule::new(INTERVAL), Instant::now());
        schedule.want(wanted(&["u"]), now);
        let wait = |schedule: &mut Schedule| {
            schedule.done(&source("u"), failed(), now);
            (schedule.next_at().unwrap() - now).as_secs()
        };
        let waits: Vec<_> = (0..8).map(|_| wait(&mut schedule)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_nothing_refers_to_is_kept_for_a_while() {
        let (mut schedule, now) = (Schedule::new(INTERVAL), Instant::now());
        schedule.want(wanted(&["u"]), now);
        schedule.done(&source("u"), keys("a"), now);
        schedule.want(wanted(&[]), now);
        assert_eq!(schedule.prune(now + UNWANTED / 2), []);
        assert_eq!(schedule.start(now + UNWANTED), None);
        let gone = schedule.prune(now + UNWANTED);
        assert_eq!(gone, [Change::Remove(Kind::Jwks, source("u").key())]);
        assert_eq!(schedule.next_at(), None);
        assert!(schedule.done(&source("u"), keys("a"), now).is_none(), "it is no longer known");
    }

    #[test]
    fn there_are_only_so_many() {
        let (mut schedule, now) = (Schedule::new(INTERVAL), Instant::now());
        let urls: Vec<String> = (0..=MOST).map(|i| format!("u{i}")).collect();
        schedule.want(wanted(&urls.iter().map(String::as_str).collect::<Vec<_>>()), now);
        assert_eq!(schedule.entries.len(), MOST);
        assert_eq!(schedule.problems().len(), 1);
    }
}

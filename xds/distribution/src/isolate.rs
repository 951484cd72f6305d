//! Isolates what a client rejects.
//!
//! Envoy rejects a response as a whole if one resource in it cannot be decoded or violates a constraint of its definition,
//! and then has none of the others either. They would be missing until they change the next time. So the content of a
//! rejected response is sent again in halves until what is bad stands alone; all else gets through.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many responses the search for what is bad may take. One bad resource among ten thousand takes 28.
const BUDGET: usize = 256;

/// How many responses, and how many names in those before the last, are remembered for a client that does not answer.
const IN_FLIGHT: (usize, usize) = (64, 20_000);

/// The responses that were not answered, and what is sought in those that were rejected.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    in_flight: VecDeque<(Arc<str>, Vec<Arc<str>>)>,
    /// To be sent again, each in a response of its own. The last is next.
    batches: Vec<Vec<Arc<str>>>,
    spent: usize,
    /// What is known to be bad, and why.
    bad: BTreeMap<Arc<str>, Arc<str>>,
}

impl Isolation {
    /// Takes note of a response: its nonce, and the names in it.
    pub(crate) fn sent(&mut self, nonce: Arc<str>, names: Vec<Arc<str>>) {
        let (responses, limit) = IN_FLIGHT;
        while self.in_flight.len() >= responses
            || self.in_flight.iter().map(|(_, names)| names.len()).sum::<usize>() > limit
        {
            self.in_flight.pop_front();
        }
        self.in_flight.push_back((nonce, names));
    }

    /// Takes note of a client's answer to a response.
    pub(crate) fn answered(&mut self, nonce: &str, error: Option<&Arc<str>>) {
        // Answers come in the order of the responses; one that was passed over is never answered.
        while let Some((next, mut names)) = self.in_flight.pop_front() {
            if *next != *nonce {
                if self.in_flight.iter().any(|(n, _)| **n == *nonce) {
                    continue;
                }
                self.in_flight.push_front((next, names));
                return;
            }
            match error {
                None => names.iter().for_each(|n| {
                    self.bad.remove(n);
                }),
                // Here Envoy took in the rest, and the message names what is bad (`CdsApiHelper`, `LdsApiImpl`).
                Some(error) if error.starts_with("Error adding/updating") => {}
                Some(error) if names.len() == 1 => {
                    self.bad.insert(names.remove(0), Arc::clone(error));
                }
                Some(_) => {
                    let rest = names.split_off(names.len().div_ceil(2));
                    self.batches.extend([rest, names].into_iter().filter(|b| !b.is_empty()));
                }
            }
            break;
        }
        if self.batches.is_empty() {
            self.spent = 0;
        }
    }

    /// Whether something is to be sent again.
    pub(crate) fn pending(&self) -> bool {
        !self.batches.is_empty()
    }

    /// What to send again next.
    pub(crate) fn next(&mut self) -> Option<Vec<Arc<str>>> {
        self.spent += 1;
        if self.spent > BUDGET {
            self.batches.clear();
        }
        self.batches.pop()
    }

    /// What is known to be bad, and why.
    pub(crate) fn bad(&self) -> &BTreeMap<Arc<str>, Arc<str>> {
        &self.bad
    }

    /// Forgets names that the client no longer asks for.
    pub(crate) fn retain(&mut self, asked: impl Fn(&str) -> bool) {
        self.bad.retain(|name, _| asked(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a client that rejects every response with something of `bad` in it. Returns how many responses it took.
    fn play(all: usize, bad: &[usize]) -> (usize, Vec<String>) {
        let bad: Vec<String> = bad.iter().map(|i| format!("{i:05}")).collect();
        let mut isolation = Isolation::default();
        let mut missing: Vec<Arc<str>> = (0..all).map(|i| format!("{i:05}").into()).collect();
        let mut batch = missing.clone();
        for count in 1.. {
            let nonce: Arc<str> = count.to_string().into();
            isolation.sent(nonce.clone(), batch.clone());
            if batch.iter().any(|n| bad.iter().any(|b| **b == **n)) {
                isolation.answered(&nonce, Some(&"no".into()));
            } else {
                missing.retain(|n| !batch.contains(n));
                isolation.answered(&nonce, None);
            }
            match isolation.next() {
                Some(next) => batch = next,
                None => {
                    assert_eq!(
                        isolation.bad().keys().collect::<Vec<_>>(),
                        missing.iter().collect::<Vec<_>>()
                    );
                    return (count, missing.iter().map(ToString::to_string).collect());
                }
            }
        }
        unreachable!()
    }

    #[test]
    fn one_bad_among_many_is_found() {
        let (count, missing) = play(1000, &[617]);
        assert_eq!(missing, ["00617"]);
        assert!(count <= 2 * 10 + 2, "{count} responses");
    }

    #[test]
    fn several_bad_are_found() {
        assert_eq!(play(100, &[0, 1, 57, 99]).1, ["00000", "00001", "00057", "00099"]);
        assert_eq!(play(2, &[0, 1]).1, ["00000", "00001"]);
        assert_eq!(play(1, &[0]).1, ["00000"]);
    }

    #[test]
    fn a_client_that_rejects_everything_is_left_alone() {
        let mut isolation = Isolation::default();
        let mut batch: Vec<Arc<str>> = (0..10_000).map(|i: i32| i.to_string().into()).collect();
        for count in 0..=BUDGET {
            isolation.sent("n".into(), std::mem::take(&mut batch));
            isolation.answered("n", Some(&"no".into()));
            match isolation.next() {
                Some(next) => batch = next,
                None => {
                    assert_eq!(count, BUDGET);
                    return;
                }
            }
        }
        panic!("never ends");
    }
}

//! How long to wait before the next attempt.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// An apiserver that was away for long must not be waited for much longer than it takes to come back: what changed
/// meanwhile reaches no proxy until then.
const LONGEST: Duration = Duration::from_secs(2);

/// Waits that double, each somewhere between half and the whole of that, so that many watches that broke together do not
/// come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait now.
    pub fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        // A hasher of the standard library is seeded at random.
        let random = RandomState::new().build_hasher().finish() % 1000;
        full / 2 + full.mul_f64(random as f64 / 2000.0)
    }

    /// How many attempts have failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes that it works again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        let last = (0..1000).map(|_| backoff.next()).last().unwrap();
        assert!(last >= LONGEST / 2 && last <= LONGEST, "{last:?}");
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}

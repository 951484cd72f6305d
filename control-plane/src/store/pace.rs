//! How soon the next snapshot may follow the last.
//!
//! After quiet at once. While changes keep coming, snapshots keep a distance that grows to a tenth of a second, so that
//! each proxy gets what belongs together in one go. A change never waits for others to stop: istiod's debounce does, up to
//! ten seconds.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(100);

/// The distance between snapshots.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    distance: Duration,
}

impl Pace {
    /// How long a change that is known `now` has to wait.
    pub fn wait(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| (last + self.distance).saturating_duration_since(now))
    }

    /// Notes that a snapshot was published.
    pub fn published(&mut self, now: Instant) {
        let busy = self.last.is_some_and(|last| now - last < LONGEST.max(self.distance * 2));
        self.distance = if busy { (self.distance * 2).clamp(FIRST, LONGEST) } else { FIRST };
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When snapshots are published, in milliseconds, if there is a change at each of these times.
    fn publish(changes: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (start, mut pace, mut out) = (Instant::now(), Pace::default(), Vec::<u64>::new());
        for change in changes {
            if out.last().is_some_and(|last| change <= *last) {
                continue;
            }
            let now = start + Duration::from_millis(change);
            let at = now + pace.wait(now);
            pace.published(at);
            out.push((at - start).as_millis() as u64);
        }
        out
    }

    #[test]
    fn after_quiet_a_change_goes_out_at_once() {
        assert_eq!(publish([0, 200, 1000, 5000]), [0, 200, 1000, 5000]);
    }

    #[test]
    fn two_in_a_row_hardly_wait() {
        assert_eq!(publish([0, 1]), [0, 5]);
    }

    #[test]
    fn a_stream_of_changes_is_published_ten_times_a_second() {
        let published = publish((0..250).map(|n| n * 20));
        assert_eq!(published[..6], [0, 20, 40, 60, 100, 180]);
        let distances = published[6..].windows(2).map(|w| w[1] - w[0]);
        assert!(distances.clone().all(|d| (100..=120).contains(&d)), "{published:?}");
    }

    #[test]
    fn once_it_is_quiet_again_nothing_waits() {
        let published = publish((0..100).map(|n| n * 10).chain([2000, 2001]));
        assert_eq!(published[published.len() - 2..], [2000, 2005]);
    }
}

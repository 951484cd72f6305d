//! How fast new streams are let in.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;

/// How long a new stream waits for its turn at most (Istio `WaitForRequestLimit`).
const PATIENCE: Duration = Duration::from_secs(1);

/// Lets in so many streams a second, one after the other.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits for its turn.
    ///
    /// # Errors
    /// If that is too far off.
    pub(crate) async fn turn(&self) -> Result<(), Status> {
        let now = Instant::now();
        let turn = {
            let mut next = self.next.lock();
            let turn = (*next).max(now);
            if turn > now + PATIENCE {
                return Err(Status::resource_exhausted("request rate limit exceeded: too many new streams"));
            }
            *next = turn + self.interval;
            turn
        };
        tokio::time::sleep_until(turn).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crowd_is_let_in_one_by_one_and_its_tail_turned_away() {
        let pace = Pace::new(100);
        let started = Instant::now();
        let turns = futures::future::join_all((0..300).map(|_| pace.turn())).await;
        let let_in = turns.iter().filter(|t| t.is_ok()).count();
        assert!((100..=110).contains(&let_in), "{let_in} let in");
        assert!(started.elapsed() >= Duration::from_millis(990));
    }
}

//! When to renew, and when to try again.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// Random numbers, so that a mesh's agents don't all ask at once.
#[derive(Clone)]
pub struct Random(fn() -> f64);

impl Random {
    /// From the cryptographic provider.
    pub fn system() -> Self {
        Self(|| {
            let mut bytes = [0; 4];
            let filled = rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut bytes);
            // Without randomness nothing is lost but the spread.
            filled.map_or(0.5, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
        })
    }

    /// A fixed one.
    pub fn fixed(number: fn() -> f64) -> Self {
        Self(number)
    }

    /// From 0 to 1.
    pub fn unit(&self) -> f64 {
        (self.0)()
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

/// When to renew a certificate that was received at `from` and ends at `until`: when `ratio` of its life is left, give or
/// take `jitter` of it. Never before `from`.
pub fn renew_at(from: SystemTime, until: SystemTime, ratio: f64, jitter: f64, random: &Random) -> SystemTime {
    // The clocks of the CA and this machine may differ; what counts is the time that is left here.
    let life = until.duration_since(from).unwrap_or_default();
    let left = (ratio + jitter * (2.0 * random.unit() - 1.0)).clamp(0.0, 1.0);
    from + life.mul_f64(1.0 - left)
}

/// The times between tries that fail: they double, and stay well below what is left of the certificate's life.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    random: Random,
}

const FIRST: Duration = Duration::from_millis(250);
const LAST: Duration = Duration::from_secs(30);

impl Backoff {
    /// Before the first failure.
    pub fn new(random: Random) -> Self {
        Self { next: FIRST, random }
    }

    /// How long to wait after a failure, while a certificate is good for `left`.
    pub fn after_failure(&mut self, left: Duration) -> Duration {
        let wait = self.next.min((left / 10).max(FIRST)).min(LAST);
        self.next = (self.next * 2).min(LAST);
        wait.mul_f64(0.5 + self.random.unit() / 2.0)
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn renewal_is_half_way_give_or_take() {
        let when = |random: fn() -> f64| renew_at(at(1000), at(2000), 0.5, 0.01, &Random::fixed(random));
        assert_eq!(when(|| 0.5), at(1500));
        assert_eq!(when(|| 0.0), at(1510));
        assert_eq!(when(|| 1.0), at(1490));
        let ended = renew_at(at(1000), at(900), 0.5, 0.0, &Random::fixed(|| 0.5));
        assert_eq!(ended, at(1000), "one that has ended is renewed at once");
    }

    #[test]
    fn tries_become_rarer_but_not_too_rare_for_the_certificate() {
        let mut backoff = Backoff::new(Random::fixed(|| 1.0));
        let long = Duration::from_secs(3600);
        let waits: Vec<_> = (0..9).map(|_| backoff.after_failure(long).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(backoff.after_failure(Duration::from_secs(20)), Duration::from_secs(2));
        assert_eq!(backoff.after_failure(Duration::ZERO), Duration::from_millis(250));
        backoff.reset();
        assert_eq!(backoff.after_failure(long), Duration::from_millis(250));
    }
}

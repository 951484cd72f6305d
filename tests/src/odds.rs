//! What chance allows: whether a count agrees with the probability that was configured.

use anyhow::{Result, ensure};

/// How far a count of successes in `trials` may be from its expectation: three standard deviations of the binomial
/// distribution.
pub fn tolerance(trials: u64, probability: f64) -> f64 {
    3.0 * (trials as f64 * probability * (1.0 - probability)).sqrt()
}

/// Whether a count of successes is within [`tolerance`].
pub fn agrees(count: u64, trials: u64, probability: f64) -> bool {
    (count as f64 - trials as f64 * probability).abs() <= tolerance(trials, probability)
}

/// Takes a sample of `trials` and requires that its count [`agrees`]; if it does not, a second and fresh one must.
///
/// Chance alone puts 0.27 % of right samples outside, which over all tests of a run would be too many false alarms; it puts
/// both samples outside 7 times in a million. A share that is wrong by twice the tolerance is still found by both.
pub async fn hold(
    what: &str,
    trials: u64,
    probability: f64,
    mut sample: impl AsyncFnMut() -> Result<u64>,
) -> Result<()> {
    let first = sample().await?;
    if agrees(first, trials, probability) {
        return Ok(());
    }
    let second = sample().await?;
    ensure!(
        agrees(second, trials, probability),
        "{what}: {first}, then {second} of {trials}; expected {:.0} ± {:.0} of them",
        trials as f64 * probability,
        tolerance(trials, probability)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_standard_deviations_are_allowed_and_no_more() {
        // 3 * sqrt(2000 * 0.1 * 0.9) = 40.2...
        for (count, agreed) in [(159, false), (160, true), (200, true), (240, true), (241, false)] {
            assert_eq!(agrees(count, 2000, 0.1), agreed, "{count}");
        }
        assert!(agrees(0, 100, 0.0) && !agrees(1, 100, 0.0));
    }
}

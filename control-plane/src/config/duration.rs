//! Durations as Go writes them (`1h5m`, `100ms`), since flags and environment variables of istiod use that form.

use std::time::Duration;

/// Reads a Go duration. Istiod's "infinity" (`math.MaxInt64` nanoseconds) is read like any other.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let problem = || format!("{text:?} is not a duration: write it like 30s, 100ms or 1h30m");
    let mut rest = text.trim().trim_start_matches('+');
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(problem());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(problem)?;
        let number: f64 = rest[..digits].parse().map_err(|_| problem())?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..unit_len] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(problem()),
        };
        total += number * unit;
        rest = &rest[unit_len..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| problem())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_forms_are_read() {
        assert_eq!(parse("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse("1h5m30s"), Ok(Duration::from_secs(3930)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        assert!(parse("2562047h47m16.854775807s").is_ok());
    }

    #[test]
    fn what_is_no_duration_says_how_to_write_one() {
        for text in ["", "10", "s", "1x", "-1s", "1.2.3s"] {
            assert!(parse(text).unwrap_err().contains("write it like"), "{text}");
        }
    }
}

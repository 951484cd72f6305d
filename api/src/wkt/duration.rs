//! Durations: the one of Istio's API with its text form, and conversions.

use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use serde::de::{Error as _, Visitor};

const NANOS: i128 = 1_000_000_000;

/// `google.protobuf.Duration` of Istio's API: seconds and nanoseconds of one sign.
///
/// Its text is what Go's `time.ParseDuration` reads (`1h30m`, `1.5s`, `250ms`), since that is what Istio reads
/// resources with; proto3 JSON alone would know only seconds. It prints as proto3 JSON: `5400s`, `1.500s`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest in nanoseconds, of the sign of `seconds`.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// It is not a number with a unit, or several of them.
    #[error("invalid duration {0:?}")]
    Invalid(String),
    /// A number has no unit.
    #[error("missing unit in duration {0:?}")]
    NoUnit(String),
    /// A number has a unit that is none of `ns`, `us`, `ms`, `s`, `m`, `h`.
    #[error("unknown unit {1:?} in duration {0:?}")]
    Unit(String, String),
    /// It is longer than 64 bits of nanoseconds, about 292 years.
    #[error("duration {0:?} is out of range")]
    Range(String),
}

impl Duration {
    fn from_nanos(value: i128) -> Self {
        Self { seconds: (value / NANOS) as i64, nanos: (value % NANOS) as i32 }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.seconds == 0 && self.nanos == 0
    }
}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseDurationError::Invalid(text.to_owned());
        let (sign, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (-1, &text[1..]),
            Some(b'+') => (1, &text[1..]),
            _ => (1, text),
        };
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
            let (unit, after) = split_while(after, |c| !c.is_ascii_digit() && c != '.');
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
                return Err(invalid());
            }
            let scale = match unit {
                "ns" => 1,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
                "ms" => 1_000_000,
                "s" => NANOS,
                "m" => 60 * NANOS,
                "h" => 3600 * NANOS,
                "" => return Err(ParseDurationError::NoUnit(text.to_owned())),
                other => return Err(ParseDurationError::Unit(text.to_owned(), other.to_owned())),
            };
            total = scaled(whole, fraction, scale)
                .and_then(|part| total.checked_add(part))
                .filter(|sum| *sum <= i128::from(i64::MAX))
                .ok_or_else(|| ParseDurationError::Range(text.to_owned()))?;
            rest = after;
        }
        Ok(Self::from_nanos(sign * total))
    }
}

/// `whole.fraction` times `scale`, cut to whole nanoseconds; `None` if it is far out of range.
fn scaled(whole: &str, fraction: &str, scale: i128) -> Option<i128> {
    // Eighteen digits are finer than a nanosecond in every unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let digits =
        |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i64>().ok().map(i128::from) };
    let part = digits(fraction)? * scale / 10_i128.pow(fraction.len() as u32);
    digits(whole)?.checked_mul(scale)?.checked_add(part)
}

fn split_while(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.seconds < 0 || self.nanos < 0 { "-" } else { "" };
        let (seconds, nanos) = (self.seconds.unsigned_abs(), self.nanos.unsigned_abs());
        match (nanos, nanos % 1_000_000, nanos % 1_000) {
            (0, ..) => write!(f, "{sign}{seconds}s"),
            (_, 0, _) => write!(f, "{sign}{seconds}.{:03}s", nanos / 1_000_000),
            (_, _, 0) => write!(f, "{sign}{seconds}.{:06}s", nanos / 1_000),
            _ => write!(f, "{sign}{seconds}.{nanos:09}s"),
        }
    }
}

impl serde::Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"1.5s\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text).map_err(D::Error::custom)
    }
}

impl From<Duration> for prost_types::Duration {
    fn from(value: Duration) -> Self {
        to_prost_duration(&value)
    }
}

impl From<StdDuration> for Duration {
    /// One longer than protobuf can hold becomes the longest.
    fn from(value: StdDuration) -> Self {
        let prost_types::Duration { seconds, nanos } = duration(value);
        Self { seconds, nanos }
    }
}

/// A duration for an Envoy message. One longer than protobuf can hold becomes the longest.
pub fn duration(value: StdDuration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: value.subsec_nanos() as i32,
    }
}

/// Whole seconds for an Envoy message.
pub fn seconds(value: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: value, nanos: 0 }
}

/// Milliseconds for an Envoy message.
pub fn millis(value: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: value / 1000, nanos: (value % 1000) as i32 * 1_000_000 }
}

/// A duration of Istio's API for an Envoy message, unchanged.
pub fn to_prost_duration(value: &Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: value.seconds, nanos: value.nanos }
}

/// A duration of Istio's API as the standard library's; a negative one is `None`.
pub fn to_std_duration(value: &Duration) -> Option<StdDuration> {
    let seconds = u64::try_from(value.seconds).ok()?;
    let nanos = u64::try_from(value.nanos).ok()?;
    StdDuration::from_secs(seconds).checked_add(StdDuration::from_nanos(nanos))
}

/// A duration of an Envoy message as the standard library's; a negative one is `None`.
pub fn prost_to_std_duration(value: &prost_types::Duration) -> Option<StdDuration> {
    to_std_duration(&Duration { seconds: value.seconds, nanos: value.nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Result<i128, ParseDurationError> {
        text.parse::<Duration>().map(|d| i128::from(d.seconds) * NANOS + i128::from(d.nanos))
    }

    #[test]
    fn reads_what_go_reads() {
        assert_eq!(nanos("0"), Ok(0));
        assert_eq!(nanos("1h30m"), Ok(5400 * NANOS));
        assert_eq!(nanos("-1.5s"), Ok(-1_500_000_000));
        assert_eq!(nanos(".5ms"), Ok(500_000));
        assert_eq!(nanos("1.s"), Ok(NANOS));
        assert_eq!(nanos("+3\u{b5}s2ns"), Ok(3_002));
        assert_eq!(nanos("0.123456789123456789123s"), Ok(123_456_789));
    }

    #[test]
    fn refuses_what_go_refuses() {
        use ParseDurationError::*;
        assert!(matches!(nanos(""), Err(Invalid(_))));
        assert!(matches!(nanos("-"), Err(Invalid(_))));
        assert!(matches!(nanos("s"), Err(Invalid(_))));
        assert!(matches!(nanos(".s"), Err(Invalid(_))));
        assert!(matches!(nanos("1.2.3s"), Err(Invalid(_))));
        assert!(matches!(nanos("10"), Err(NoUnit(_))));
        assert!(matches!(nanos("1d"), Err(Unit(..))));
        assert!(matches!(nanos("9999999h"), Err(Range(_))));
        assert!(matches!(nanos("99999999999999999999s"), Err(Range(_))));
    }

    #[test]
    fn prints_as_proto3_json() {
        for (from, to) in
            [("1h", "3600s"), ("1.5s", "1.500s"), ("-3us", "-0.000003s"), ("7ns", "0.000000007s")]
        {
            assert_eq!(from.parse::<Duration>().unwrap().to_string(), to);
        }
    }

    #[test]
    fn converts() {
        assert_eq!(millis(1500), duration(StdDuration::from_millis(1500)));
        assert_eq!(to_std_duration(&Duration { seconds: 1, nanos: 5 }), Some(StdDuration::new(1, 5)));
        assert_eq!(to_std_duration(&Duration { seconds: -1, nanos: 0 }), None);
    }
}

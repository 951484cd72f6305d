//! Ports, durations, percentages, and who may see an object.

use super::host::is_label;
use super::{At, Findings};
use crate::wkt::Duration;

const MILLISECOND: i128 = 1_000_000;

/// A port's number.
pub fn port(number: u32) -> Option<String> {
    (!(1..=65_535).contains(&number)).then(|| format!("port {number} is not in the range 1 to 65535"))
}

/// A port's name.
pub fn port_name(name: &str) -> Option<String> {
    (!is_label(name))
        .then(|| format!("{name:?} is no port's name: letters, digits and inner '-', at most 63"))
}

/// What a protocol is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// HTTP in the clear.
    Http,
    /// TLS, with or without HTTP in it.
    Tls,
    /// Other TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The family of a protocol's name, in any case; `None` if Istio does not know it.
pub fn family(protocol: &str) -> Option<Family> {
    const NAMES: [(&str, Family); 12] = [
        ("http", Family::Http),
        ("http2", Family::Http),
        ("http_proxy", Family::Http),
        ("grpc", Family::Http),
        ("grpc-web", Family::Http),
        ("https", Family::Tls),
        ("tls", Family::Tls),
        ("tcp", Family::Tcp),
        ("mongo", Family::Tcp),
        ("redis", Family::Tcp),
        ("mysql", Family::Tcp),
        ("udp", Family::Udp),
    ];
    NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(protocol)).map(|(_, family)| *family)
}

/// A protocol, or none, which means that it is found out.
pub fn protocol(name: &str) -> Option<String> {
    (!name.is_empty() && family(name).is_none()).then(|| unknown_protocol(name))
}

/// What to say of a protocol that Istio does not know.
pub fn unknown_protocol(name: &str) -> String {
    format!(
        "{name:?} is no protocol; write HTTP, HTTP2, HTTPS, GRPC, GRPC-WEB, TLS, TCP, MONGO, MYSQL, REDIS or UDP"
    )
}

/// A duration of whole milliseconds, at least one.
pub fn duration(value: &Duration) -> Option<String> {
    let nanos = i128::from(value.seconds) * 1_000_000_000 + i128::from(value.nanos);
    if nanos < MILLISECOND {
        return Some(format!("{value} is too short; a duration is at least 1ms"));
    }
    (nanos % MILLISECOND != 0).then(|| format!("{value} is too exact; write whole milliseconds"))
}

/// Checks a duration, if there is one.
pub fn duration_at(at: &At<'_>, value: Option<&Duration>, out: &mut Findings) {
    out.check(at, value.and_then(duration));
}

/// Checks that a number is not negative.
pub fn not_negative(at: &At<'_>, value: i32, out: &mut Findings) {
    if value < 0 {
        out.error(at, format!("{value} is negative; write 0 or more"));
    }
}

/// A percentage in whole numbers.
pub fn percent(value: i32) -> Option<String> {
    (!(0..=100).contains(&value)).then(|| format!("{value} is not in the range 0 to 100"))
}

/// Whose `exportTo` it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportOf {
    /// One that may be seen by its own workloads only, with `~`.
    ServiceEntry,
    /// A DestinationRule for certain workloads, which never leaves its namespace.
    SelectingRule,
    /// Any other.
    Other,
}

/// Checks to which namespaces an object of `namespace` is shown.
pub fn export_to(at: &At<'_>, namespace: &str, entries: &[String], of: ExportOf, out: &mut Findings) {
    for (i, entry) in entries.iter().enumerate() {
        let same = |other: &String| own(namespace, other) == own(namespace, entry);
        if entries[..i].iter().any(same) {
            out.error(&at.index(i), format!("{} is named twice; name it once", own(namespace, entry)));
        } else if entry == "~" && of != ExportOf::ServiceEntry {
            out.error(&at.index(i), "~ (nobody) is for ServiceEntries only; write '.' for this namespace");
        } else if !matches!(entry.as_str(), "." | "*" | "~") && !is_label(entry) {
            out.error(&at.index(i), format!("{entry:?} is no namespace; write its name, '.' or '*'"));
        }
    }
    let has = |wanted: &str| entries.len() > 1 && entries.iter().any(|e| e == wanted);
    if has("*") {
        out.error(at, "* (everybody) stands beside others; leave only one of them");
    }
    if has("~") && of == ExportOf::ServiceEntry {
        out.error(at, "~ (nobody) stands beside others; leave only one of them");
    }
    if of == ExportOf::SelectingRule && entries.iter().any(|e| own(namespace, e) != namespace) {
        out.error(at, "a rule with a workloadSelector stays in its namespace; write only '.'");
    }
}

fn own<'a>(namespace: &'a str, entry: &'a str) -> &'a str {
    if entry == "." { namespace } else { entry }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_milliseconds() {
        for (text, valid) in [
            ("1ms", true),
            ("1h", true),
            ("1.5s", true),
            ("0s", false),
            ("-1s", false),
            ("0.5ms", false),
            ("1.0005ms", false),
        ] {
            assert_eq!(duration(&text.parse().unwrap()).is_none(), valid, "{text}");
        }
    }

    #[test]
    fn protocols_are_known_in_any_case() {
        for (name, found) in [
            ("http", Some(Family::Http)),
            ("Grpc-Web", Some(Family::Http)),
            ("HTTPS", Some(Family::Tls)),
            ("Mongo", Some(Family::Tcp)),
            ("UDP", Some(Family::Udp)),
            ("hbone", None),
            ("", None),
        ] {
            assert_eq!(family(name), found, "{name}");
        }
        assert_eq!(protocol(""), None);
        assert!(protocol("sctp").is_some());
        assert!(port(0).is_some() && port(65_536).is_some() && port(1).is_none());
        assert!(port_name("http_1").is_some() && port_name("http-1").is_none());
    }

    #[test]
    fn objects_are_exported_to_namespaces() {
        use ExportOf::{Other, SelectingRule, ServiceEntry};
        for (of, entries, valid) in [
            (Other, &[][..], true),
            (Other, &["."], true),
            (Other, &["*"], true),
            (Other, &["a", "b", "."], true),
            (Other, &["~"], false),
            (ServiceEntry, &["~"], true),
            (ServiceEntry, &["~", "a"], false),
            (Other, &["*", "a"], false),
            (Other, &["a", "a"], false),
            (Other, &[".", "own"], false),
            (Other, &["own", "."], false),
            (Other, &["a_b"], false),
            (Other, &["a.b"], false),
            (SelectingRule, &["."], true),
            (SelectingRule, &["own"], true),
            (SelectingRule, &["own", "a"], false),
            (SelectingRule, &["a"], false),
            (SelectingRule, &["*"], false),
        ] {
            let entries: Vec<String> = entries.iter().map(|e| (*e).to_owned()).collect();
            let mut out = Findings::default();
            export_to(&At::root("exportTo"), "own", &entries, of, &mut out);
            assert_eq!(out.is_valid(), valid, "{of:?} {entries:?}: {out:?}");
        }
    }
}

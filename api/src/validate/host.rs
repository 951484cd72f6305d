//! Names of hosts, and addresses.
//!
//! Every rule returns what is wrong, or `None`.

use std::net::IpAddr;

/// The longest label of a name. Source: RFC 1123.
const MAX_LABEL: usize = 63;
/// The longest name.
const MAX_NAME: usize = 255;

/// Whether it is a label by RFC 1123, in either case.
pub fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL && is_bare_label(text)
}

/// A label of any length.
pub(super) fn is_bare_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// A label, `*`, or a label after `*` or `*-`.
fn is_wildcard_label(text: &str) -> bool {
    let rest = text.strip_prefix('*').map_or(text, |rest| rest.strip_prefix('-').unwrap_or(rest));
    text.len() <= MAX_LABEL && (text == "*" || is_bare_label(rest))
}

fn length(name: &str) -> Option<String> {
    match name.len() {
        0 => Some("is empty; give a domain name".to_owned()),
        n if n > MAX_NAME => Some(format!("is {n} bytes long; a domain name has at most {MAX_NAME}")),
        _ => None,
    }
}

fn labels(name: &str, whole: &str) -> Option<String> {
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.parse::<i64>().is_ok() {
        return Some(format!(
            "domain name {whole:?} ends in a number, {last:?}, which no top-level domain is"
        ));
    }
    // The root may be written out, as in `istio.io.`.
    let labels = name.strip_suffix('.').unwrap_or(name);
    let bad = labels.split('.').find(|label| !is_label(label))?;
    Some(bad_label(whole, bad))
}

fn bad_label(name: &str, label: &str) -> String {
    format!(
        "domain name {name:?} has the label {label:?}; a label is 1 to {MAX_LABEL} letters, digits and inner '-'"
    )
}

/// A domain name without wildcards.
pub fn fqdn(name: &str) -> Option<String> {
    length(name).or_else(|| labels(name, name))
}

/// A domain name whose first label may be, or start with, `*`.
pub fn wildcard_domain(name: &str) -> Option<String> {
    if let Some(problem) = length(name) {
        return Some(problem);
    }
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    if !is_wildcard_label(first) {
        return Some(bad_label(name, first));
    }
    rest.and_then(|rest| labels(rest, name))
}

/// A domain name with wildcards, or, where SNI is matched at a gateway, one that Istio made:
/// `outbound_.<port>_._.<host>`.
pub fn domain_at_gateway(sni: bool, name: &str) -> Option<String> {
    if !(sni && name.starts_with("outbound_")) {
        return wildcard_domain(name);
    }
    let mut parts = name.split('_');
    let port = parts.nth(1).unwrap_or_default();
    let host = parts.nth(1);
    let fits = port.contains(|c: char| c.is_ascii_digit())
        && host.is_some_and(|h| h.contains(|c: char| c.is_ascii_alphabetic()));
    length(name).or_else(|| {
        (!fits).then(|| format!("domain name {name:?} should have the form outbound_.<port>_._.<host>"))
    })
}

/// A `*` may only stand for whole labels.
pub fn partial_wildcard(name: &str) -> Option<String> {
    (name.contains('*') && name.len() != 1 && !name.starts_with("*."))
        .then(|| format!("{name:?} has a '*' for part of a label; write '*' or '*.<domain>'"))
}

/// Who writes a host with a namespace before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostOf {
    /// A Sidecar, which needs a namespace.
    Sidecar,
    /// A Gateway.
    Gateway,
    /// A Gateway that the control plane made of one of the Gateway API.
    ConvertedGateway,
}

/// `<namespace>/<host>`.
pub fn namespaced_host(text: &str, of: HostOf) -> Option<String> {
    let Some((namespace, host)) = text.split_once('/') else {
        return match of {
            HostOf::Sidecar => Some(format!("{text:?} should have the form <namespace>/<host>")),
            _ => full_host(text, of),
        };
    };
    if namespace.is_empty() || host.is_empty() {
        return Some(format!("{text:?} should have the form <namespace>/<host>, with both"));
    }
    let valid = match of {
        HostOf::Sidecar => {
            let namespace = namespace.strip_prefix('~').unwrap_or(namespace);
            matches!(namespace, "" | "*" | ".") || is_label(namespace)
        }
        HostOf::Gateway => matches!(namespace, "*" | ".") || is_label(namespace),
        HostOf::ConvertedGateway => matches!(namespace, "*" | "." | "~") || is_label(namespace),
    };
    if !valid {
        return Some(format!(
            "{namespace:?} is no namespace; write its name, '.' for this one or '*' for all"
        ));
    }
    full_host(host, of)
}

fn full_host(host: &str, of: HostOf) -> Option<String> {
    if host != "*" && !host.contains('.') {
        return Some(format!("{host:?} is a short name; write the full name of the host"));
    }
    match wildcard_domain(host) {
        Some(problem) if of == HostOf::Sidecar || !is_ip(host) => Some(problem),
        _ => partial_wildcard(host),
    }
}

/// Whether it is an IP address; one of version 6 may have a zone.
pub fn is_ip(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => !zone.is_empty() && address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => text.parse::<IpAddr>().is_ok(),
    }
}

/// An IP address.
pub fn ip(text: &str) -> Option<String> {
    (!is_ip(text)).then(|| format!("{text:?} is no IP address"))
}

/// An IP address or a range of them, such as `10.0.0.0/8`.
pub fn subnet(text: &str) -> Option<String> {
    let Some((address, bits)) = text.split_once('/').filter(|(_, bits)| !bits.contains('/')) else {
        return ip(text);
    };
    let max = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => Some(32),
        Ok(IpAddr::V6(_)) => Some(128),
        Err(_) => None,
    };
    let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
    let bits = bits.parse::<u8>().ok().filter(|_| plain);
    (!matches!((max, bits), (Some(max), Some(bits)) if bits <= max))
        .then(|| format!("{text:?} is no CIDR block such as 10.0.0.0/8"))
}

/// The path of a Unix domain socket, after `unix://`.
pub fn unix_path(path: &str) -> Option<String> {
    // A name that starts with @ is one of Linux' abstract sockets.
    let valid = path.starts_with('@') || path.starts_with('/') && !path.ends_with('/');
    (!valid).then(|| format!("{path:?} is no absolute path of a file"))
}

/// What addresses of Unix domain sockets start with.
pub const UNIX: &str = "unix://";

/// Whether two names, either with wildcards, can mean one host.
pub fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        (Some(a), None) => b.ends_with(a),
        (None, Some(b)) => a.ends_with(b),
        (None, None) => a == b,
    }
}

/// Whether all hosts that `part` means are among those of `whole`.
pub fn covers(whole: &str, part: &str) -> bool {
    match (whole.strip_prefix('*'), part.strip_prefix('*')) {
        (Some(whole), Some(part)) => part.ends_with(whole),
        (Some(whole), None) => part.ends_with(whole),
        (None, Some(_)) => false,
        (None, None) => whole == part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_names() {
        let long = format!("{}.com", "a".repeat(64));
        for (name, plain, wild) in [
            ("a.example.com", true, true),
            ("A-1.Example.com.", true, true),
            ("a", true, true),
            ("", false, false),
            ("*", false, true),
            ("*.com", false, true),
            ("*-a.com", false, true),
            ("*a.com", false, true),
            ("a*.com", false, false),
            ("a.*.com", false, false),
            ("-a.com", false, false),
            ("a..com", false, false),
            (".com", false, false),
            ("a_b.com", false, false),
            ("a.42", false, false),
            (long.as_str(), false, false),
        ] {
            assert_eq!(fqdn(name).is_none(), plain, "{name}");
            assert_eq!(wildcard_domain(name).is_none(), wild, "{name}");
        }
        assert!(fqdn(&"a.".repeat(128)).is_some());
        assert!(fqdn("42").is_some() && wildcard_domain("42").is_none(), "as in Istio");
    }

    #[test]
    fn names_that_istio_made_are_for_sni_at_gateways() {
        for (sni, name, valid) in [
            (true, "outbound_.80_._.e2e.foobar.mesh", true),
            (false, "outbound_.80_._.e2e.foobar.mesh", false),
            (true, "outbound_.thisIsNotAPort_._.e2e.foobar.mesh", false),
            (true, "outbound_.80_._", false),
            (true, "outbound_.80_e2e", false),
            (true, "*.a.com", true),
        ] {
            assert_eq!(domain_at_gateway(sni, name).is_none(), valid, "{name}");
        }
    }

    #[test]
    fn hosts_with_namespaces() {
        for (text, sidecar, gateway) in [
            ("*/*", true, true),
            ("./a.com", true, true),
            ("ns/*.a.com", true, true),
            ("~ns/a.com", true, false),
            ("~/a.com", true, false),
            ("a.com", false, true),
            ("a", false, false),
            ("ns/a", false, false),
            ("/a.com", false, false),
            ("ns/", false, false),
            ("n_s/a.com", false, false),
            ("ns/*-a.com", false, false),
            ("10.0.0.1", false, true),
            ("*/10.0.0.1", false, true),
        ] {
            assert_eq!(namespaced_host(text, HostOf::Sidecar).is_none(), sidecar, "{text}");
            assert_eq!(namespaced_host(text, HostOf::Gateway).is_none(), gateway, "{text}");
        }
        assert_eq!(namespaced_host("~/*", HostOf::ConvertedGateway), None);
    }

    #[test]
    fn addresses() {
        for (text, address, range) in [
            ("10.0.0.1", true, true),
            ("10.0.0.0/8", false, true),
            ("10.0.0.0/33", false, false),
            ("10.0.0.0/08", false, false),
            ("10.0.0.0/", false, false),
            ("10.0.0.0/8/8", false, false),
            ("2001:1::/64", false, true),
            ("2001:1::1", true, true),
            ("fe80::1%eth0", true, true),
            ("10.0.0", false, false),
            ("a.com", false, false),
        ] {
            assert_eq!(is_ip(text), address, "{text}");
            assert_eq!(subnet(text).is_none(), range, "{text}");
        }
        for (path, valid) in [("/a", true), ("@a", true), ("", false), ("a", false), ("/a/", false)] {
            assert_eq!(unix_path(path).is_none(), valid, "{path}");
        }
    }

    #[test]
    fn names_meet() {
        for (a, b, overlaps, covered) in [
            ("*.com", "*.a.com", true, true),
            ("*.a.com", "*.com", true, false),
            ("*.com", "a.com", true, true),
            ("a.com", "*.com", true, false),
            ("a.com", "b.com", false, false),
        ] {
            assert_eq!((overlap(a, b), covers(a, b)), (overlaps, covered), "{a} {b}");
        }
    }
}

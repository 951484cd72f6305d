//! Hostnames with wildcards, as Istio's `pkg/config/host` compares them.

use std::cmp::Ordering;

/// Whether `name` starts with a wildcard (`*` or `*.example.com`).
pub fn is_wildcard(name: &str) -> bool {
    name.starts_with('*')
}

/// Whether two hosts, either of which may be wildcarded, have a name in common.
pub fn matches(a: &str, b: &str) -> bool {
    match (is_wildcard(a), is_wildcard(b)) {
        (true, true) => {
            let (a, b) = (&a[1..], &b[1..]);
            if a.len() < b.len() { b.ends_with(a) } else { a.ends_with(b) }
        }
        (true, false) => b.ends_with(&a[1..]),
        (false, true) => a.ends_with(&b[1..]),
        (false, false) => a == b,
    }
}

/// Whether every name of `a` is a name of `b`.
pub fn subset_of(a: &str, b: &str) -> bool {
    match (is_wildcard(a), is_wildcard(b)) {
        (true, true) => a.len() >= b.len() && a[1..].ends_with(&b[1..]),
        (true, false) => false,
        (false, true) => a.ends_with(&b[1..]),
        (false, false) => a == b,
    }
}

/// Most specific first: exact before wildcard, longer before shorter, then by name.
pub fn by_specificity(a: &str, b: &str) -> Ordering {
    is_wildcard(a).cmp(&is_wildcard(b)).then(b.len().cmp(&a.len())).then(a.cmp(b))
}

/// A host of a configuration as a fully qualified name: a short name gains the namespace and the mesh's domain
/// (`reviews` in `bookinfo` is `reviews.bookinfo.svc.cluster.local`). Source: Istio `ResolveShortnameToFQDN`.
pub fn resolve_short_name(host: &str, namespace: &str, domain: &str) -> String {
    if host.is_empty() || host == "*" || host.contains('.') || host.parse::<std::net::IpAddr>().is_ok() {
        return host.to_owned();
    }
    if namespace.is_empty() {
        format!("{host}.svc.{domain}")
    } else {
        format!("{host}.{namespace}.svc.{domain}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_by_suffix() {
        assert!(matches("*.example.com", "a.example.com"));
        assert!(matches("*", "anything"));
        assert!(matches("*.com", "*.example.com"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(subset_of("a.example.com", "*.example.com"));
        assert!(!subset_of("*.com", "*.example.com"));
    }

    #[test]
    fn short_names_gain_namespace_and_domain() {
        assert_eq!(resolve_short_name("a", "ns", "cluster.local"), "a.ns.svc.cluster.local");
        assert_eq!(resolve_short_name("a.b", "ns", "cluster.local"), "a.b");
        assert_eq!(resolve_short_name("*", "ns", "cluster.local"), "*");
    }
}

//! The names by which clients call a service: what may stand in a request's `Host`.
//!
//! Source: Istio `generateVirtualHostDomains`, `GenerateAltVirtualHosts` (`httproute.go`).

use std::net::IpAddr;

/// `HOST:PORT`, an IPv6 address in brackets (Go `net.JoinHostPort`).
pub(super) fn with_port(host: &str, port: u32) -> String {
    if host.contains([':', '%']) { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A host as a domain: an IPv6 address in brackets.
pub(super) fn plain(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Adds the domain of a host, and with a port also `HOST:PORT`.
pub(super) fn push(domains: &mut Vec<String>, host: &str, port: Option<u32>) {
    domains.push(plain(host));
    domains.extend(port.map(|port| with_port(host, port)));
}

/// Other names of a host that a proxy of the DNS domain `proxy_domain` can resolve: with a trailing dot (if
/// `absolute`), and shortened by what the two domains have in common.
pub(crate) fn alternatives(host: &str, port: Option<u32>, proxy_domain: &str, absolute: bool) -> Vec<String> {
    let mut out = Vec::new();
    if absolute {
        let dotted = format!("{host}.");
        if host.parse::<IpAddr>().is_err() {
            out.push(dotted.clone());
        }
        out.extend(port.map(|port| with_port(&dotted, port)));
    }
    if proxy_domain.contains(".svc.") {
        // Only Services of the same cluster domain have short names; others might shadow them.
        if host.ends_with(without_namespace(proxy_domain)) {
            for name in of_kubernetes(host, proxy_domain) {
                push(&mut out, name, port);
            }
        }
        return out;
    }
    for name in by_shared_suffix(host, proxy_domain) {
        push(&mut out, &name, port);
    }
    out
}

/// `.svc.DOMAIN` of `NAMESPACE.svc.DOMAIN`.
fn without_namespace(domain: &str) -> &str {
    match domain.find(".svc.") {
        Some(at) if at > 0 => &domain[at..],
        _ => domain,
    }
}

/// The short names of `NAME.NAMESPACE.svc.DOMAIN`; the name alone only within its namespace.
fn of_kubernetes<'a>(host: &'a str, proxy_domain: &str) -> Vec<&'a str> {
    let own = proxy_domain.split_once(".svc.").map_or(proxy_domain, |(namespace, _)| namespace);
    let (Some(svc), Some(dot)) = (host.find(".svc."), host.find('.')) else { return Vec::new() };
    if svc == 0 || dot + 1 > svc {
        return Vec::new();
    }
    let (qualified, with_svc) = (&host[..svc], &host[..svc + ".svc".len()]);
    if host[dot + 1..svc] == *own {
        vec![&host[..dot], with_svc, qualified]
    } else {
        vec![qualified, with_svc]
    }
}

/// Outside Kubernetes: what is left of the host without the suffix that the domains share, and if that is of two
/// parts, also with the next part.
fn by_shared_suffix(host: &str, proxy_domain: &str) -> Vec<String> {
    let parts: Vec<&str> = host.split('.').collect();
    let shared = host.rsplit('.').zip(proxy_domain.rsplit('.')).take_while(|(a, b)| a == b).count();
    if shared == 0 {
        return Vec::new();
    }
    let unique = &parts[..parts.len() - shared];
    let mut out = vec![unique.join(".")];
    if unique.len() == 2 {
        out.push(parts[..3].join("."));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(host: &str, domain: &str) -> Vec<String> {
        alternatives(host, None, domain, false)
    }

    #[test]
    fn services_have_short_names_within_their_cluster() {
        assert_eq!(short("a.x.svc.cluster.local", "x.svc.cluster.local"), ["a", "a.x.svc", "a.x"]);
        assert_eq!(short("a.x.svc.cluster.local", "y.svc.cluster.local"), ["a.x", "a.x.svc"]);
        assert!(short("a.x.svc.other", "x.svc.cluster.local").is_empty());
        assert!(short("example.com", "x.svc.cluster.local").is_empty());
    }

    #[test]
    fn other_hosts_lose_the_shared_suffix() {
        assert_eq!(short("foo.local.campus.net", "local.campus.net"), ["foo"]);
        assert_eq!(short("foo.local.campus.net", "remote.campus.net"), ["foo.local", "foo.local.campus"]);
        assert!(short("foo.com", "campus.net").is_empty());
    }

    #[test]
    fn ports_and_dots_are_added_on_demand() {
        let all = alternatives("a.b", Some(80), "", true);
        assert_eq!(all, ["a.b.", "a.b.:80"]);
        assert_eq!(alternatives("::1", Some(80), "", true), ["[::1.]:80"]);
    }
}

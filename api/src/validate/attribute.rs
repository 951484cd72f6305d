//! What AuthorizationPolicies compare with: values of attributes, and the keys of conditions.
//!
//! Source: Istio `security/v1beta1/authorization_policy.proto`, "Authorization Policy Conditions".

use super::{At, Findings, host};

/// The most accounts of one list.
const MAX_ACCOUNTS: usize = 16;
/// The longest account, in bytes.
const MAX_ACCOUNT: usize = 320;

/// A rule of one value: what is wrong with it.
pub type Rule = fn(&str) -> Option<String>;

/// Checks each value of a list; none may be empty.
pub fn each(at: &At<'_>, values: &[String], rule: Rule, out: &mut Findings) {
    for (i, value) in values.iter().enumerate() {
        let problem = if value.is_empty() { Some("is empty; write a value".to_owned()) } else { rule(value) };
        out.check(&at.index(i), problem);
    }
}

/// Anything.
pub fn any(_: &str) -> Option<String> {
    None
}

/// An address or a range of addresses.
pub fn ip(value: &str) -> Option<String> {
    host::subnet(value)
}

/// A port's number as text; 0 is one.
pub fn port(value: &str) -> Option<String> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let fits = digits && value.parse::<u64>().is_ok_and(|port| port <= 65_535);
    (!fits).then(|| format!("{value:?} is no port; write a number up to 65535"))
}

/// A value with one `*` at most, at its start or end.
pub fn wildcard(value: &str) -> Option<String> {
    let inner = value.strip_prefix('*').or_else(|| value.strip_suffix('*')).unwrap_or(value);
    inner.contains('*').then(|| format!("{value:?} has a '*' too many; write one at its start or its end"))
}

/// A trust domain, with one `*` at most.
pub fn trust_domain(value: &str) -> Option<String> {
    let slash = || value.contains('/').then(|| format!("{value:?} is no trust domain, which has no '/'"));
    wildcard(value).or_else(slash)
}

/// Checks accounts: `<account>` of the policy's namespace, or `<namespace>/<account>`.
pub fn accounts(at: &At<'_>, values: &[String], out: &mut Findings) {
    if values.len() > MAX_ACCOUNTS {
        out.error(at, format!("has {} values; at most {MAX_ACCOUNTS} are allowed", values.len()));
        return;
    }
    each(at, values, account, out);
}

fn account(value: &str) -> Option<String> {
    let parts = value.matches('/').count();
    if value.contains('*') {
        Some(format!("{value:?} has a '*', which is no wildcard here; name the account"))
    } else if parts > 1 || value.starts_with('/') || value.ends_with('/') {
        Some(format!("{value:?} is no account; write <account> or <namespace>/<account>"))
    } else if value.len() > MAX_ACCOUNT {
        Some(format!("{} bytes are too long for an account; at most {MAX_ACCOUNT} are allowed", value.len()))
    } else {
        None
    }
}

/// A path. Segments may be `{*}` (one) and, as the last of these, `{**}` (any); then the rest must be characters of a
/// path by RFC 3986.
pub fn path(value: &str) -> Option<String> {
    let template = value.contains("{*}") || value.contains("{**}");
    let mut ended = false;
    for segment in value.trim_matches('/').split('/') {
        if matches!(segment, "{*}" | "{**}") {
            if ended {
                return Some(format!("{value:?}: nothing that stands for segments may follow {{**}}"));
            }
            ended = segment == "{**}";
        } else if segment.contains(['{', '}']) {
            return Some(format!(
                "{value:?}: braces may only form the segments {{*}} and {{**}}, not {segment:?}"
            ));
        } else if template && !is_literal(segment) {
            return Some(format!("{value:?}: {segment:?} is no segment of a path beside {{*}} and {{**}}"));
        }
    }
    None
}

fn is_literal(segment: &str) -> bool {
    let in_path = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&b);
    !segment.is_empty() && segment.bytes().all(in_path)
}

/// What becomes of a condition's values.
pub enum Key {
    /// Each is checked by itself.
    Values(Rule),
    /// They are accounts.
    Accounts,
    /// The key cannot be used; why, and what to do.
    Bad(String),
}

/// The key of a condition.
pub fn key(key: &str) -> Key {
    let in_brackets = [
        ("request.headers", "request.headers[<name>]"),
        ("request.auth.claims", "request.auth.claims[<name>]"),
        ("experimental.envoy.filters.", "experimental.envoy.filters.<filter>[<name>]"),
    ];
    if let Some((_, form)) = in_brackets.iter().find(|(prefix, _)| key.starts_with(prefix)) {
        return match key.find('[') {
            Some(open) if open > 0 && key.ends_with(']') && open + 2 < key.len() => Key::Values(any),
            _ => Key::Bad(format!("{key:?} lacks a name in brackets; write {form}")),
        };
    }
    match key {
        "source.ip" | "remote.ip" | "destination.ip" => Key::Values(ip),
        "destination.port" => Key::Values(port),
        "source.serviceAccount" => Key::Accounts,
        "source.trustDomain" => Key::Values(wildcard),
        "source.namespace" | "source.principal" | "connection.sni" => Key::Values(any),
        "request.auth.principal" | "request.auth.audiences" | "request.auth.presenter" => Key::Values(any),
        "" => Key::Bad("missing: name an attribute, such as request.headers[x-role]".to_owned()),
        "destination.namespace" => {
            Key::Bad(format!("{key} is the policy's own namespace; remove the condition"))
        }
        "destination.name" | "destination.user" => {
            Key::Bad(format!("{key} is gone; select workloads by the policy's selector"))
        }
        _ if key.starts_with("destination.labels") => {
            Key::Bad(format!("{key} is gone; select workloads by the policy's selector"))
        }
        _ => Key::Bad(format!(
            "{key:?} is no attribute; see \"Authorization Policy Conditions\" in Istio's reference"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let table: &[(Rule, &[&str], &[&str])] = &[
            (
                ip,
                &["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"],
                &["10.0.0", "10.0.0.0/33", "a.com", "10.0.0.0/"],
            ),
            (
                port,
                &["0", "80", "65535", "0080"],
                &["65536", "-1", "+1", "http", "", "99999999999999999999999"],
            ),
            (wildcard, &["a", "a*", "*a", "*"], &["a*b", "*a*", "**"]),
            (trust_domain, &["a.b", "*.b", "*"], &["a/b", "a*b"]),
            (account, &["a", "ns/a"], &["a/b/c", "/a", "a/", "*", "ns/*"]),
            (
                path,
                &["/a", "*", "/a/*", "*.txt", "/a/{*}", "/{*}/b/{**}", "/{**}/b", "/a/{*}/b%20c", "{*}"],
                &["/{a}", "/a{*}", "/{**}/{*}", "/{**}/{**}", "/{*}/*", "/{*}//b", "/a/{", "/{*}/ü"],
            ),
        ];
        for (rule, good, bad) in table {
            good.iter().for_each(|v| assert_eq!(rule(v), None, "{v}"));
            bad.iter().for_each(|v| assert!(rule(v).is_some(), "{v}"));
        }
        assert!(account(&"a".repeat(321)).is_some() && account(&"a".repeat(320)).is_none());
    }

    #[test]
    fn keys() {
        for (name, good) in [
            ("request.headers[x-role]", true),
            ("request.headers", false),
            ("request.headers[]", false),
            ("request.headers[a", false),
            ("request.auth.claims[a][b]", true),
            ("request.auth.claims", false),
            ("request.auth.principal", true),
            ("request.auth.nothing", false),
            ("experimental.envoy.filters.a.b[c]", true),
            ("experimental.envoy.filters.a.b", false),
            ("source.ip", true),
            ("source.trustDomain", true),
            ("source.serviceAccount", true),
            ("source.user", false),
            ("destination.port", true),
            ("destination.labels[app]", false),
            ("destination.name", false),
            ("destination.namespace", false),
            ("connection.sni", true),
            ("", false),
        ] {
            assert_eq!(!matches!(key(name), Key::Bad(_)), good, "{name}");
        }
    }
}

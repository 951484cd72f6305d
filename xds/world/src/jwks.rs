//! Keys that JWTs are verified with, where the control plane fetches them: from where, and what came of it.
//!
//! Source: Istio `pilot/pkg/model/jwks_resolver.go`, `pilot/pkg/security/authn/policy_applier.go`.

use crate::features::JwksFetch;
use crate::{NsName, Snapshot, Str};
use meltemi_api::istio::security::v1beta1::JwtRule;
use meltemi_api::wkt::to_std_duration;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long fetching may take where the rule does not say.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Where an OpenID provider says where its keys are, below its issuer (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A URL of keys.
    Keys(Str),
    /// A URL of a document that names the URL of the keys.
    Discovery(Str),
}

/// Keys that were fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwks {
    /// From where.
    pub source: Source,
    /// The key set (RFC 7517, section 5), as it was served.
    pub keys: Str,
}

impl Source {
    /// Where the keys of a rule come from, should the control plane fetch them; `None` if the rule has them, or Envoy
    /// fetches them in any case, or it says of no place.
    pub fn of(rule: &JwtRule, mode: JwksFetch) -> Option<Self> {
        if rule.jwks_uri.is_empty() {
            let issuer = rule.issuer.strip_suffix('/').unwrap_or(&rule.issuer);
            let silent = !rule.jwks.is_empty() || issuer.is_empty();
            return (!silent).then(|| Self::Discovery(format!("{issuer}{DISCOVERY}").into()));
        }
        let fetched = match mode {
            JwksFetch::ControlPlane => rule.jwks.is_empty(),
            JwksFetch::Hybrid => true,
            JwksFetch::Envoy => false,
        };
        fetched.then(|| Self::Keys(rule.jwks_uri.as_str().into()))
    }

    /// The URL.
    pub fn url(&self) -> &Str {
        match self {
            Self::Keys(url) | Self::Discovery(url) => url,
        }
    }

    /// Under which name the world knows what was fetched.
    pub fn key(&self) -> NsName {
        match self {
            Self::Keys(url) => NsName::new("", url.clone()),
            Self::Discovery(url) => NsName::new("", format!("openid:{url}")),
        }
    }
}

/// That keys are to be fetched from a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How long that may take: the longest time that a rule leaves.
    pub time: Duration,
    /// A RequestAuthentication that says so.
    pub policy: NsName,
}

/// All places that keys are to be fetched from.
pub fn wanted(snapshot: &Snapshot) -> BTreeMap<Source, Wanted> {
    let mode = snapshot.settings.features.jwks_fetch;
    let mut wanted = BTreeMap::new();
    let policies = snapshot.request_authentications.iter();
    for (policy, rule) in policies.flat_map(|(name, p)| p.spec.jwt_rules.iter().map(move |rule| (name, rule)))
    {
        let Some(source) = Source::of(rule, mode) else { continue };
        if mode == JwksFetch::Hybrid && matches!(source, Source::Keys(_)) && is_served(snapshot, source.url())
        {
            continue;
        }
        let time = rule.timeout.as_ref().and_then(to_std_duration).unwrap_or(TIMEOUT);
        let known = wanted.entry(source).or_insert_with(|| Wanted { time, policy: policy.clone() });
        known.time = time.max(known.time);
    }
    wanted
}

/// Whether a host is that of a service of the mesh, as the control plane's resolver may shorten it.
pub fn is_service(snapshot: &Snapshot, host: &str) -> bool {
    let domain = &snapshot.settings.domain;
    let names = [host.to_owned(), format!("{host}.{domain}"), format!("{host}.svc.{domain}")];
    names.iter().any(|name| snapshot.registry.by_host(name).next().is_some())
}

/// Whether the host of a URL is one service of the registry, whose keys Envoy fetches by itself.
fn is_served(snapshot: &Snapshot, url: &str) -> bool {
    host_and_port(url).is_some_and(|(host, _)| snapshot.registry.by_host(host).count() == 1)
}

/// Host and port of an HTTP URL; `None` for other schemes and unreadable ports. Source: Istio `ParseJwksURI`.
pub fn host_and_port(uri: &str) -> Option<(&str, u32)> {
    let (rest, default) = match uri.strip_prefix("https://") {
        Some(rest) => (rest, 443),
        None => (uri.strip_prefix("http://")?, 80),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, a)| a);
    let (host, port) = match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        Some((host, after)) => (host, after.strip_prefix(':')),
        None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    match port {
        Some(port) if !port.is_empty() => Some((host, port.parse().ok()?)),
        _ => Some((host, default)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_and_a_port() {
        assert_eq!(host_and_port("https://a.b/keys"), Some(("a.b", 443)));
        assert_eq!(host_and_port("http://a.b:8080/keys?x=:1"), Some(("a.b", 8080)));
        assert_eq!(host_and_port("http://[::1]:81"), Some(("::1", 81)));
        assert_eq!(host_and_port("ftp://a"), None);
        assert_eq!(host_and_port("http://a:x/"), None);
    }

    #[test]
    fn what_has_no_keys_of_its_own_is_fetched() {
        use JwksFetch::{ControlPlane, Envoy, Hybrid};
        let of = |issuer: &str, jwks_uri: &str, jwks: &str, mode| {
            let (issuer, jwks_uri, jwks) = (issuer.to_owned(), jwks_uri.to_owned(), jwks.to_owned());
            Source::of(&JwtRule { issuer, jwks_uri, jwks, ..JwtRule::default() }, mode).map(|s| s.key().name)
        };
        let table = [
            (("i", "http://u", "", ControlPlane), Some("http://u")),
            (("i", "http://u", "{}", ControlPlane), None),
            (("i", "http://u", "{}", Hybrid), Some("http://u")),
            (("i", "http://u", "", Envoy), None),
            (("https://i/", "", "", Envoy), Some("openid:https://i/.well-known/openid-configuration")),
            (("https://i", "", "{}", ControlPlane), None),
            (("", "", "", ControlPlane), None),
        ];
        for ((issuer, uri, keys, mode), source) in table {
            assert_eq!(of(issuer, uri, keys, mode).as_deref(), source, "{issuer} {uri} {keys} {mode:?}");
        }
    }
}

//! What AuthorizationPolicies may ask about a request, and how Envoy is asked for it.
//!
//! Source: Istio `pilot/pkg/security/authz/model/generator.go`.
#![allow(deprecated)] // Istio asks for `Metadata`, not for its successor `SourcedMetadata`

use super::logic::Logic;
use super::matcher;
use crate::wire;
use meltemi_api::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_api::envoy::config::rbac::v3::{Permission, Principal, permission, principal};
use meltemi_api::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use meltemi_api::envoy::r#type::matcher::v3::{FilterStateMatcher, StringMatcher, filter_state_matcher};

const SPIFFE: &str = "spiffe://";
/// The filter state in which waypoints find the client's identity.
const PEER_PRINCIPAL: &str = "io.istio.peer_principal";

/// Something about the operation that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Host,
    Method,
    Path,
    Port,
    Ip,
    Sni,
    /// Dynamic metadata of an Envoy filter, as `experimental.envoy.filters.FILTER[KEY]`.
    FilterMetadata(String),
}

/// Something about who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Ip,
    RemoteIp,
    Namespace,
    TrustDomain,
    /// Accounts without a namespace are in this one.
    ServiceAccount(String),
    Principal,
    RequestPrincipal,
    Audiences,
    Presenter,
    /// A header, as `[NAME]`.
    Header(String),
    /// A claim of the token, as `[NAME][NAME]`.
    Claim(String),
}

/// How the policy will be enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// On TCP connections, where nothing of HTTP is known.
    pub tcp: bool,
    /// Behind a tunnel: the client's identity is in filter state, not in the connection.
    pub filter_state: bool,
}

/// Why a value cannot be enforced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is known for HTTP only.
    HttpOnly,
    /// It is malformed.
    Invalid(String),
}

/// An attribute of either kind.
pub(super) trait Attribute {
    /// The tree that it belongs to.
    type Node: Logic;

    /// Asks for any of the values. `lenient`: values that cannot be enforced are left out instead of failing.
    fn any_of(&self, values: &[String], to: Target, lenient: bool) -> Result<Option<Self::Node>, Unusable>;
}

impl Attribute for Operation {
    type Node = Permission;

    fn any_of(&self, values: &[String], to: Target, lenient: bool) -> Result<Option<Permission>, Unusable> {
        match self {
            Self::FilterMetadata(key) => together(|| filter_metadata(key, values), lenient),
            _ => each(values, |v| self.one(v, to), lenient),
        }
    }
}

impl Operation {
    fn one(&self, value: &str, to: Target) -> Result<Permission, Unusable> {
        use permission::Rule;
        let rule = match self {
            Self::Host | Self::Method | Self::Path if to.tcp => return Err(Unusable::HttpOnly),
            Self::Host => Rule::Header(matcher::header(":authority", value, true)),
            Self::Method => Rule::Header(matcher::header(":method", value, false)),
            Self::Path if is_template(value) => Rule::UriTemplate(template(value)),
            Self::Path => Rule::UrlPath(matcher::path(value)),
            Self::Port => Rule::DestinationPort(port(value)?),
            Self::Ip => Rule::DestinationIp(matcher::cidr(value).ok_or_else(|| invalid(value))?),
            Self::Sni => Rule::RequestedServerName(matcher::text(value)),
            Self::FilterMetadata(key) => return filter_metadata(key, &[value.to_owned()]),
        };
        Ok(Permission { rule: Some(rule) })
    }
}

impl Attribute for Source {
    type Node = Principal;

    fn any_of(&self, values: &[String], to: Target, lenient: bool) -> Result<Option<Principal>, Unusable> {
        match self {
            Self::RequestPrincipal | Self::Audiences | Self::Presenter | Self::Claim(_) => {
                together(|| self.of_token(values, to), lenient)
            }
            _ => each(values, |v| self.one(v, to), lenient),
        }
    }
}

impl Source {
    fn one(&self, value: &str, to: Target) -> Result<Principal, Unusable> {
        use principal::Identifier;
        let range = || matcher::cidr(value).ok_or_else(|| invalid(value));
        let identifier = match self {
            Self::Ip => Identifier::DirectRemoteIp(range()?),
            Self::RemoteIp => Identifier::RemoteIp(range()?),
            Self::Namespace => {
                let parts: Vec<String> = value.split('*').map(matcher::quote).collect();
                identity(matcher::regex(&format!(".*/ns/{}/.*", parts.join(".*"))), to)
            }
            Self::TrustDomain => identity(trust_domain(value), to),
            Self::ServiceAccount(namespace) => identity(service_account(namespace, value), to),
            Self::Principal => identity(matcher::prefixed(SPIFFE, value), to),
            Self::Header(_) if to.tcp => return Err(Unusable::HttpOnly),
            Self::Header(key) => {
                let name = in_brackets(key).ok_or_else(|| invalid(key))?;
                Identifier::Header(matcher::header(name, value, false))
            }
            Self::RequestPrincipal | Self::Audiences | Self::Presenter | Self::Claim(_) => {
                return self.of_token(&[value.to_owned()], to);
            }
        };
        Ok(Principal { identifier: Some(identifier) })
    }

    fn of_token(&self, values: &[String], to: Target) -> Result<Principal, Unusable> {
        if to.tcp {
            return Err(Unusable::HttpOnly);
        }
        let metadata = match self {
            Self::Audiences => matcher::claim_or_list(&["aud"], values),
            Self::Presenter => matcher::claim_or_list(&["azp"], values),
            Self::Claim(key) => {
                let path = in_nested_brackets(key).ok_or_else(|| invalid(key))?;
                matcher::claim_or_list(&path, values)
            }
            _ => return Ok(request_principals(values)),
        };
        Ok(Principal { identifier: Some(principal::Identifier::Metadata(metadata)) })
    }
}

fn each<N: Logic>(
    values: &[String],
    one: impl Fn(&str) -> Result<N, Unusable>,
    lenient: bool,
) -> Result<Option<N>, Unusable> {
    let mut any = Vec::new();
    for value in values {
        match one(value) {
            Ok(node) => any.push(node),
            Err(_) if lenient => {}
            Err(error) => return Err(error),
        }
    }
    Ok((!any.is_empty()).then(|| N::or(any)))
}

fn together<N: Logic>(
    all: impl FnOnce() -> Result<N, Unusable>,
    lenient: bool,
) -> Result<Option<N>, Unusable> {
    match all() {
        Ok(node) => Ok(Some(node)),
        Err(_) if lenient => Ok(None),
        Err(error) => Err(error),
    }
}

fn invalid(text: &str) -> Unusable {
    Unusable::Invalid(text.to_owned())
}

fn port(value: &str) -> Result<u32, Unusable> {
    value.parse::<u16>().map(u32::from).map_err(|_| invalid(value))
}

/// Whether a path has `{*}` or `{**}` in it.
fn is_template(path: &str) -> bool {
    path.contains("{*}") || path.contains("{**}")
}

fn template(path: &str) -> TypedExtensionConfig {
    let path_template = path.replace("{*}", "*").replace("{**}", "**");
    let config = UriTemplateMatchConfig { path_template };
    TypedExtensionConfig { name: "uri-template".to_owned(), typed_config: Some(wire::any(&config)) }
}

fn filter_metadata(key: &str, values: &[String]) -> Result<Permission, Unusable> {
    let (filter, name) =
        key.strip_prefix("experimental.").unwrap_or(key).split_once('[').ok_or_else(|| invalid(key))?;
    let name = name.strip_suffix(']').unwrap_or(name);
    let value = |v: &String| match v.strip_prefix('[').filter(|rest| rest.ends_with(']')) {
        Some(_) => {
            let inner = v.trim_matches(['[', ']']);
            matcher::list_with(matcher::string(matcher::text(inner)))
        }
        None => matcher::string(matcher::text(v)),
    };
    let value = matcher::one_of(values.iter().map(value).collect());
    let metadata = matcher::metadata(filter, &[name], value);
    Ok(Permission { rule: Some(permission::Rule::Metadata(metadata)) })
}

fn identity(name: StringMatcher, to: Target) -> principal::Identifier {
    if to.filter_state {
        return principal::Identifier::FilterState(FilterStateMatcher {
            key: PEER_PRINCIPAL.to_owned(),
            matcher: Some(filter_state_matcher::Matcher::StringMatch(name)),
        });
    }
    principal::Identifier::Authenticated(principal::Authenticated { principal_name: Some(name) })
}

fn trust_domain(value: &str) -> StringMatcher {
    match value.split_once('*') {
        _ if value == "*" => matcher::prefix(SPIFFE),
        None => matcher::prefix(format!("{SPIFFE}{value}/")),
        Some((before, after)) => {
            let domain = format!("{}[^/]*{}", matcher::quote(before), matcher::quote(after));
            matcher::regex(&format!("{SPIFFE}{domain}/.*"))
        }
    }
}

fn service_account(default_namespace: &str, value: &str) -> StringMatcher {
    let (namespace, account) = value.split_once('/').unwrap_or((default_namespace, value));
    let (namespace, account) = (matcher::quote(namespace), matcher::quote(account));
    matcher::regex(&format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?"))
}

/// Issuer and subject of a token, `ISSUER/SUBJECT`.
fn request_principals(values: &[String]) -> Principal {
    let mut any: Vec<Principal> = values.iter().map(|v| request_principal(v)).collect();
    if any.len() == 1 { any.remove(0) } else { Principal::or(any) }
}

fn request_principal(value: &str) -> Principal {
    use matcher::{exact, prefix, present, suffix};
    // The issuer may be a URL, so the last slash divides.
    let (issuer, subject) = match value.rsplit_once('/') {
        _ if value == "*" => (present(), present()),
        Some((issuer, subject)) => match (issuer.strip_prefix('*'), subject.strip_suffix('*')) {
            (Some(""), _) => (present(), exact(subject)),
            (Some(end), _) => (suffix(end), exact(subject)),
            (None, Some("")) => (exact(issuer), present()),
            (None, Some(start)) => (exact(issuer), prefix(start)),
            (None, None) => (exact(issuer), exact(subject)),
        },
        None => match (value.strip_prefix('*'), value.strip_suffix('*')) {
            (Some(end), _) => (present(), suffix(end)),
            (None, Some(start)) => (prefix(start), present()),
            (None, None) => (exact(value), exact("")),
        },
    };
    let claim = |name: &str, m: StringMatcher| Principal {
        identifier: Some(principal::Identifier::Metadata(matcher::claim(name, m))),
    };
    Principal::and(vec![claim("iss", issuer), claim("sub", subject)])
}

/// `NAME` of `[NAME]`.
fn in_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// The names of `[NAME][NAME]`; one name with brackets in it where they do not pair.
fn in_nested_brackets(text: &str) -> Option<Vec<&str>> {
    let mut rest = text;
    let mut names = Vec::new();
    while !rest.is_empty() {
        let name = rest.strip_prefix('[').and_then(|r| r.split_once(']')).filter(|(n, _)| !n.contains('['));
        let Some((name, after)) = name else {
            return in_brackets(text).map(|name| vec![name]);
        };
        names.push(name);
        rest = after;
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_principals_divide_at_the_last_slash() {
        let parts = |value: &str| {
            let Some(principal::Identifier::AndIds(set)) = request_principal(value).identifier else {
                panic!("{value}")
            };
            set.ids
                .into_iter()
                .map(|id| {
                    let Some(principal::Identifier::Metadata(m)) = id.identifier else { panic!("{value}") };
                    m.value.unwrap()
                })
                .collect::<Vec<_>>()
        };
        use matcher::{exact, prefix, present, string, suffix};
        for (value, issuer, subject) in [
            ("*", present(), present()),
            ("https://a/b/sub", exact("https://a/b"), exact("sub")),
            ("*/sub", present(), exact("sub")),
            ("*.com/sub", suffix(".com"), exact("sub")),
            ("https://a/*", exact("https://a"), present()),
            ("https://a/s*", exact("https://a"), prefix("s")),
            ("*sub", present(), suffix("sub")),
            ("iss*", prefix("iss"), present()),
        ] {
            assert_eq!(parts(value), [string(issuer), string(subject)], "{value}");
        }
    }

    #[test]
    fn nested_claims_are_paths() {
        assert_eq!(in_nested_brackets("[a][b]"), Some(vec!["a", "b"]));
        assert_eq!(in_nested_brackets("[a]"), Some(vec!["a"]));
        assert_eq!(in_nested_brackets("[a[b]"), Some(vec!["a[b"]));
        assert_eq!(in_nested_brackets(".a"), None);
    }
}

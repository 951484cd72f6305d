//! Routes that no request reaches, since one before takes all: warnings.

use crate::istio::networking::v1alpha3::{
    HttpMatchRequest, HttpRoute, StringMatch, TcpRoute, TlsRoute, string_match::MatchType,
};
use crate::validate::{At, Findings};
use prost::Message;
use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

pub(super) fn http(at: &At<'_>, routes: &[HttpRoute], out: &mut Findings) {
    let matches: Vec<&[HttpMatchRequest]> = routes.iter().map(|r| r.r#match.as_slice()).collect();
    let names: Vec<&str> = routes.iter().map(|r| r.name.as_str()).collect();
    let without_name = |m: &HttpMatchRequest| match m.name.as_str() {
        "" => m.encode_to_vec(),
        _ => HttpMatchRequest { name: String::new(), ..m.clone() }.encode_to_vec(),
    };
    let fresh = repeated(at, &matches, &names, without_name, out);
    covered(at, &matches, &names, &fresh, out);
}

pub(super) fn tls(at: &At<'_>, routes: &[TlsRoute], out: &mut Findings) {
    let matches: Vec<_> = routes.iter().map(|r| r.r#match.as_slice()).collect();
    repeated(at, &matches, &[], Message::encode_to_vec, out);
}

pub(super) fn tcp(at: &At<'_>, routes: &[TcpRoute], out: &mut Findings) {
    let matches: Vec<_> = routes.iter().map(|r| r.r#match.as_slice()).collect();
    repeated(at, &matches, &[], Message::encode_to_vec, out);
}

/// Warns of matches that stand in a route before, too. Returns the others, as route and match.
fn repeated<M>(
    at: &At<'_>,
    routes: &[&[M]],
    names: &[&str],
    key: impl Fn(&M) -> Vec<u8>,
    out: &mut Findings,
) -> Vec<(usize, usize)> {
    let mut fresh = Vec::new();
    // The usual: nothing to compare, and nothing to allocate.
    if routes.iter().map(|m| m.len().max(1)).sum::<usize>() < 2 {
        return fresh;
    }
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut catch_all = None;
    for (r, matches) in routes.iter().enumerate() {
        let at = at.index(r);
        if let Some(before) = catch_all {
            let before = of(names, before);
            out.warn(
                &at,
                format!(
                    "is never reached, since route {before} before takes everything; move that to the end"
                ),
            );
            continue;
        }
        if matches.is_empty() {
            catch_all = Some(r);
            continue;
        }
        let mut duplicates = 0;
        for (m, matched) in matches.iter().enumerate() {
            match seen.entry(key(matched)) {
                Entry::Vacant(free) => {
                    free.insert(r);
                    fresh.push((r, m));
                }
                Entry::Occupied(before) => {
                    duplicates += 1;
                    let before = of(names, *before.get());
                    let message = format!("has no effect, since route {before} has the same match");
                    out.warn(&at.field("match").index(m), message);
                }
            }
        }
        if duplicates == matches.len() {
            out.warn(&at, "is never reached, since routes before have all its matches");
        }
    }
    fresh
}

fn of(names: &[&str], index: usize) -> String {
    match names.get(index) {
        Some(name) if !name.is_empty() => format!("{name:?}"),
        _ => format!("#{index}"),
    }
}

/// Warns of prefixes that begin with one before, if the rest of the match is no narrower there.
fn covered(
    at: &At<'_>,
    routes: &[&[HttpMatchRequest]],
    names: &[&str],
    fresh: &[(usize, usize)],
    out: &mut Findings,
) {
    let prefixed = |(r, m): &(usize, usize)| {
        let matched = &routes[*r][*m];
        match matched.uri.as_ref().and_then(|u| u.match_type.as_ref()) {
            Some(MatchType::Prefix(prefix)) if !prefix.is_empty() => Some((*r, *m, prefix.as_str(), matched)),
            _ => None,
        }
    };
    let prefixed: Vec<_> = fresh.iter().filter_map(prefixed).collect();
    for (i, (before, _, shorter, wide)) in prefixed.iter().enumerate() {
        for (r, m, longer, narrow) in &prefixed[i + 1..] {
            if longer != shorter && longer.starts_with(shorter) && takes_all(wide, narrow) {
                out.warn(
                    &at.index(*r).field("match").index(*m),
                    format!("has no effect, since route {} has the prefix {shorter}", of(names, *before)),
                );
            }
        }
    }
}

fn takes_all(wide: &HttpMatchRequest, narrow: &HttpMatchRequest) -> bool {
    let method = |m: &HttpMatchRequest| match shown(m.method.as_ref()) {
        text if text.is_empty() => Cow::Borrowed("exact:GET"),
        text => text,
    };
    wide.port == narrow.port
        && method(wide).starts_with(&*method(narrow))
        && shown(wide.authority.as_ref()).starts_with(&*shown(narrow.authority.as_ref()))
        && all(&wide.headers, &narrow.headers)
        && all(&wide.query_params, &narrow.query_params)
        && all(&wide.without_headers, &narrow.without_headers)
}

fn all(wide: &BTreeMap<String, StringMatch>, narrow: &BTreeMap<String, StringMatch>) -> bool {
    wide.len() == narrow.len()
        && wide.iter().all(|(name, value)| {
            narrow.get(name).is_some_and(|other| shown(Some(value)).starts_with(&*shown(Some(other))))
        })
}

/// A value as Istio compares it: expressions count as nothing.
fn shown(value: Option<&StringMatch>) -> Cow<'static, str> {
    match value.and_then(|v| v.match_type.as_ref()) {
        Some(MatchType::Exact(text)) if !text.is_empty() => format!("exact:{text}").into(),
        Some(MatchType::Prefix(text)) if !text.is_empty() => format!("prefix:{text}").into(),
        _ => "".into(),
    }
}

//! Listener filters: where a connection was going, and what is on it, as far as the chains of its port ask.
//!
//! Source: Istio `populateListenerFilters` (`listener_inbound.go`).

use crate::listener::chain::TLS;
use crate::listener::filters;
use meltemi_api::envoy::config::listener::v3::{
    FilterChain, ListenerFilter, ListenerFilterChainMatchPredicate as Predicate,
    listener_filter_chain_match_predicate::{MatchSet, Rule},
};
use meltemi_api::envoy::r#type::v3::Int32Range;
use std::collections::BTreeMap;

/// What the chains of one port ask; port 0 is every port that no chain names.
#[derive(Clone, Copy, Default)]
struct Needs {
    tls: bool,
    http: bool,
}

/// The listener filters for chains.
pub(super) fn listener_filters(
    chains: &[FilterChain],
    bound: bool,
    transparent: bool,
) -> Vec<ListenerFilter> {
    let mut out = Vec::with_capacity(4);
    if !bound {
        out.push(filters::ORIGINAL_DST.clone());
    }
    if transparent {
        out.push(filters::ORIGINAL_SRC.clone());
    }
    let needs = needs(chains);
    if needs.values().any(|n| n.tls) {
        out.push(ListenerFilter { filter_disabled: not_for_tls(&needs), ..filters::TLS_INSPECTOR.clone() });
    }
    // After the TLS inspector: what it found to be TLS is not looked at again.
    if needs.values().any(|n| n.http) {
        let others = ports(&needs, |n| !n.http);
        out.push(ListenerFilter { filter_disabled: any_of(others), ..filters::HTTP_INSPECTOR.clone() });
    }
    out
}

fn needs(chains: &[FilterChain]) -> BTreeMap<u32, Needs> {
    let mut needs: BTreeMap<u32, Needs> = BTreeMap::new();
    for of_chain in chains.iter().map(|c| c.filter_chain_match.as_ref()) {
        let port = of_chain.and_then(|m| m.destination_port).unwrap_or_default();
        let entry = needs.entry(port).or_default();
        entry.tls |= of_chain.is_some_and(|m| m.transport_protocol == TLS);
        let sniffed = |p: &String| p == "http/1.1" || p == "h2c";
        entry.http |= of_chain.is_some_and(|m| m.application_protocols.iter().any(sniffed));
    }
    needs
}

/// Ports are named one by one: those that do without where the others need it, or else those that need it.
fn not_for_tls(needs: &BTreeMap<u32, Needs>) -> Option<Predicate> {
    if needs.get(&0).is_some_and(|n| n.tls) {
        return any_of(ports(needs, |n| !n.tls));
    }
    let needing = ports(needs, |n| n.tls);
    any_of(needing).map(|ports| Predicate { rule: Some(Rule::NotMatch(Box::new(ports))) })
}

fn ports(needs: &BTreeMap<u32, Needs>, wanted: impl Fn(&Needs) -> bool) -> Vec<u32> {
    needs.iter().filter(|(_, n)| wanted(n)).map(|(port, _)| *port).collect()
}

/// Matches connections to one of the ports; `None` without ports.
fn any_of(ports: Vec<u32>) -> Option<Predicate> {
    let range = |port: u32| {
        let start = i32::try_from(port).unwrap_or(i32::MAX - 1);
        Predicate { rule: Some(Rule::DestinationPortRange(Int32Range { start, end: start + 1 })) }
    };
    let mut rules: Vec<Predicate> = ports.into_iter().map(range).collect();
    match rules.len() {
        0 => None,
        1 => rules.pop(),
        _ => Some(Predicate { rule: Some(Rule::OrMatch(MatchSet { rules })) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_api::envoy::config::listener::v3::FilterChainMatch;

    fn chain(port: u32, transport: &str, alpn: &[&str]) -> FilterChain {
        let matches = FilterChainMatch {
            destination_port: (port > 0).then_some(port),
            transport_protocol: transport.to_owned(),
            application_protocols: alpn.iter().map(|&p| p.to_owned()).collect(),
            ..Default::default()
        };
        FilterChain { filter_chain_match: Some(matches), ..Default::default() }
    }

    fn found(chains: &[FilterChain]) -> Vec<(String, Option<Predicate>)> {
        let all = listener_filters(chains, true, false).into_iter();
        all.map(|f| (f.name.rsplit('.').next().unwrap().to_owned(), f.filter_disabled)).collect()
    }

    #[test]
    fn ports_that_need_no_inspector_are_left_out() {
        let plain = chain(80, "raw_buffer", &[]);
        let all = [chain(0, "tls", &[]), chain(0, "raw_buffer", &["http/1.1"]), plain.clone()];
        let off = any_of(vec![80]);
        assert_eq!(found(&all), [("tls_inspector".into(), off.clone()), ("http_inspector".into(), off)]);
        assert_eq!(found(&[plain]), []);
    }

    #[test]
    fn one_port_that_needs_tls_is_named_where_the_others_do_not() {
        let only = any_of(vec![443]).map(|p| Predicate { rule: Some(Rule::NotMatch(Box::new(p))) });
        assert_eq!(found(&[chain(0, "", &[]), chain(443, "tls", &[])]), [("tls_inspector".into(), only)]);
    }
}

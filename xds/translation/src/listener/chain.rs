//! Filter chains before they are built: what they match, and what they do.
//!
//! Source: Istio `filterChainOpts` (`listener.go`).

use super::http::{self, HttpOptions};
use super::{Side, tls};
use crate::wire;
use ipnet::IpNet;
use meltemi_api::envoy::config::core::v3::Metadata;
use meltemi_api::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use std::collections::BTreeSet;

/// TLS, as the TLS inspector found out.
pub const TLS: &str = "tls";
/// Plain text, as the TLS inspector found out.
pub const RAW_BUFFER: &str = "raw_buffer";
/// The SNI of any server, and the address of any.
const ANY: &str = "*";

/// What a chain does.
#[derive(Clone, Debug)]
pub enum Content<'s> {
    /// It serves HTTP.
    Http(Box<HttpOptions<'s>>),
    /// It forwards TCP, by these filters.
    Network(Vec<Filter>),
}

/// A filter chain.
#[derive(Clone, Debug)]
pub struct Chain<'s> {
    /// The names (SNI) that it is for; empty for all.
    pub sni_hosts: Vec<String>,
    /// The addresses or CIDRs that it is for; empty for all.
    pub destination_cidrs: Vec<String>,
    /// The protocols (ALPN, sniffed or announced) that it is for; empty for all.
    pub application_protocols: Vec<String>,
    /// [`TLS`], [`RAW_BUFFER`], or empty for both.
    pub transport_protocol: &'static str,
    /// The object that it was made from.
    pub metadata: Option<Metadata>,
    /// How TLS is ended, if it is.
    pub tls: Option<DownstreamTlsContext>,
    /// What it does.
    pub content: Content<'s>,
}

impl<'s> Chain<'s> {
    /// A chain for everything.
    pub fn new(content: Content<'s>) -> Self {
        Self {
            sni_hosts: Vec::new(),
            destination_cidrs: Vec::new(),
            application_protocols: Vec::new(),
            transport_protocol: "",
            metadata: None,
            tls: None,
            content,
        }
    }

    /// A chain that serves HTTP.
    pub fn http(options: HttpOptions<'s>) -> Self {
        Self::new(Content::Http(Box::new(options)))
    }

    /// A chain that forwards TCP.
    pub fn network(filters: Vec<Filter>) -> Self {
        Self::new(Content::Network(filters))
    }

    /// Whether it is for everything.
    pub fn is_match_all(&self) -> bool {
        (self.sni_hosts.is_empty() || self.is_any_sni())
            && self.application_protocols.is_empty()
            && self.transport_protocol.is_empty()
            && self.destination_cidrs.is_empty()
    }

    fn is_any_sni(&self) -> bool {
        self.sni_hosts.iter().any(|h| h == ANY)
    }

    /// Whether Envoy has to look at the TLS handshake to choose it.
    pub fn needs_tls_inspector(&self) -> bool {
        let announces = |tls: &DownstreamTlsContext| {
            tls.common_tls_context.as_ref().is_some_and(|c| !c.alpn_protocols.is_empty())
        };
        !self.sni_hosts.is_empty() || self.tls.as_ref().is_some_and(announces)
    }

    /// Whether both match the same connections, so that Envoy would reject them side by side.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.transport_protocol == other.transport_protocol
            && self.application_protocols == other.application_protocols
            && self.sni_set() == other.sni_set()
            && self.cidr_set() == other.cidr_set()
    }

    fn sni_set(&self) -> BTreeSet<&str> {
        self.sni_hosts.iter().map(String::as_str).filter(|h| *h != ANY).collect()
    }

    /// Bits behind a prefix don't count, and the unspecified address is none.
    fn cidr_set(&self) -> BTreeSet<IpNet> {
        let prefixes = self.destination_cidrs.iter().filter_map(|c| wire::prefix(c));
        prefixes.filter(|p| !is_unspecified(p)).map(|p| p.trunc()).collect()
    }

    /// What Envoy matches; `None` for everything.
    pub fn to_match(&self) -> Option<FilterChainMatch> {
        if self.is_match_all() {
            return None;
        }
        let mut server_names = if self.is_any_sni() { Vec::new() } else { self.sni_hosts.clone() };
        server_names.sort();
        let mut cidrs: Vec<&String> = self.destination_cidrs.iter().collect();
        cidrs.sort();
        let prefixes = cidrs.into_iter().filter_map(|c| wire::prefix(c)).filter(|p| !is_unspecified(p));
        Some(FilterChainMatch {
            application_protocols: self.application_protocols.clone(),
            transport_protocol: self.transport_protocol.to_owned(),
            server_names,
            prefix_ranges: prefixes.map(wire::cidr_range).collect(),
            ..Default::default()
        })
    }

    /// The chain as Envoy has it; `stat_prefix` is that of its HTTP connection manager.
    pub fn to_envoy(&self, side: &Side<'_>, stat_prefix: &str) -> FilterChain {
        let filters = match &self.content {
            Content::Network(filters) => filters.clone(),
            Content::Http(options) => {
                let options = HttpOptions { stat_prefix: stat_prefix.to_owned(), ..(**options).clone() };
                vec![http::filter(side, options)]
            }
        };
        FilterChain {
            filter_chain_match: self.to_match(),
            filters,
            metadata: self.metadata.clone(),
            transport_socket: self.tls.as_ref().map(tls::transport_socket),
            transport_socket_connect_timeout: side.transport_timeout(),
            ..Default::default()
        }
    }
}

/// Istio compares with the IPv4 address only.
fn is_unspecified(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V4(v4) if v4.addr().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(sni: &[&str], cidrs: &[&str]) -> Chain<'static> {
        let own = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        Chain { sni_hosts: own(sni), destination_cidrs: own(cidrs), ..Chain::network(Vec::new()) }
    }

    #[test]
    fn equal_matches_conflict_however_they_are_written() {
        assert!(chain(&["*"], &[]).conflicts_with(&chain(&[], &[])));
        assert!(chain(&[], &["1.2.3.4/8"]).conflicts_with(&chain(&[], &["1.5.6.7/8"])));
        assert!(chain(&["a", "b"], &[]).conflicts_with(&chain(&["b", "a"], &[])));
        assert!(!chain(&["a"], &[]).conflicts_with(&chain(&[], &[])));
        assert!(!chain(&[], &["10.0.0.1"]).conflicts_with(&chain(&[], &["10.0.0.2"])));
    }

    #[test]
    fn a_match_is_sorted_and_leaves_out_what_says_nothing() {
        let found = chain(&["b", "a"], &["10.0.0.0/8", "0.0.0.0"]).to_match().unwrap();
        assert_eq!(found.server_names, ["a", "b"]);
        assert_eq!(found.prefix_ranges.len(), 1);
        assert_eq!(chain(&["*"], &[]).to_match(), None);
    }
}

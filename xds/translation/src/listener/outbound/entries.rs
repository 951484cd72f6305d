//! Listeners in the making, by address and port, and what happens where several services want the same.
//!
//! HTTP and TCP on one port make a listener that sniffs; TCP chains go side by side as long as they match different
//! connections; otherwise the first one stays.
//! Source: Istio `buildSidecarOutboundListener`, `buildListenerFromEntry`.

use super::chains;
use super::routes::TcpRoutes;
use crate::address;
use crate::listener::chain::{Chain, Content};
use crate::listener::{Side, catch_all, filters, network};
use crate::{stat_name, wire};
use meltemi_api::envoy::config::core::v3::TrafficDirection;
use meltemi_api::envoy::config::listener::v3::{
    AdditionalAddress, Filter, FilterChain, FilterChainMatch, Listener,
    listener::{ConnectionBalanceConfig, connection_balance_config},
};
use meltemi_api::wkt;
use meltemi_world::service::Registry;
use meltemi_world::{Port, Protocol, Resolution, Service};
use std::collections::BTreeMap;

/// Where a listener binds.
#[derive(Clone, Debug, Default)]
pub(super) struct Bind {
    /// The addresses, the primary one first; none where the service decides.
    pub(super) addresses: Vec<String>,
    /// Whether it has a socket of its own. Otherwise it gets what was redirected to the proxy.
    pub(super) to_port: bool,
}

impl Bind {
    /// The primary address, empty where there is none yet.
    pub(super) fn primary(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }
}

/// A port of a service, and where it is to be listened for.
#[derive(Clone, Debug)]
pub(super) struct Spot<'p, 's> {
    /// The service.
    pub(super) service: &'s Service,
    /// The service's port, or that of a Sidecar's egress listener.
    pub(super) port: &'p Port,
    /// Where the listener binds.
    pub(super) bind: Bind,
    /// The CIDRs of the service, where its listener is that of all addresses.
    pub(super) cidrs: Vec<String>,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
    /// Both: the HTTP inspector tells them apart.
    Sniffed,
}

impl Kind {
    fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Udp => None,
            p if p.is_http() => Some(Self::Http),
            p if p.is_tcp() => Some(Self::Tcp),
            _ => Some(Self::Sniffed),
        }
    }
}

/// What happens where a listener exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conflict {
    /// The old one serves the new one, too.
    Keep,
    /// The new one serves the old one, too.
    Replace,
    /// Their chains go together.
    Merge(Kind),
}

impl Conflict {
    fn of(old: Kind, new: Kind) -> Self {
        match (old, new) {
            (Kind::Tcp | Kind::Sniffed, Kind::Tcp) => Self::Merge(old),
            (Kind::Tcp, Kind::Http | Kind::Sniffed) | (Kind::Http, Kind::Tcp) => Self::Merge(Kind::Sniffed),
            (Kind::Http, Kind::Sniffed) => Self::Replace,
            (Kind::Http | Kind::Sniffed, Kind::Http) | (Kind::Sniffed, Kind::Sniffed) => Self::Keep,
        }
    }
}

struct Entry<'s> {
    bind: Bind,
    port: u32,
    chains: Vec<Chain<'s>>,
    kind: Kind,
    /// What the port of the first service was declared to speak, until another kind joined.
    protocol: Protocol,
    locked: bool,
}

/// All listeners in the making.
pub(super) struct Entries<'a, 's> {
    side: &'a Side<'s>,
    entries: BTreeMap<(String, u32), Entry<'s>>,
}

impl<'a, 's> Entries<'a, 's> {
    /// No listeners yet.
    pub(super) fn new(side: &'a Side<'s>) -> Self {
        Self { side, entries: BTreeMap::new() }
    }

    /// From now on nothing is added to the listeners that exist.
    pub(super) fn lock(&mut self) {
        self.entries.values_mut().for_each(|e| e.locked = true);
    }

    /// Adds a listener, or the chains that an existing one lacks.
    pub(super) fn add(&mut self, mut spot: Spot<'_, 's>, routes: &TcpRoutes<'s>) {
        // An alias has no traffic of its own: its names lead to the concrete service.
        let Some(kind) =
            Kind::of(spot.port.protocol).filter(|_| spot.service.resolution != Resolution::Alias)
        else {
            return;
        };
        self.bind(&mut spot, kind);
        let key = (spot.bind.primary().to_owned(), spot.port.port);
        let Some(old) = self.entries.get(&key) else {
            return self.insert(key, kind, &spot, routes);
        };
        if old.locked {
            return;
        }
        if spot.port.protocol == Protocol::HttpProxy {
            return self.insert(key, kind, &spot, routes);
        }
        let conflict = Conflict::of(old.kind, kind);
        if conflict == Conflict::Keep || server_speaks_first(old.protocol, spot.port.protocol) {
            return;
        }
        let Conflict::Merge(merged) = conflict else {
            return self.insert(key, kind, &spot, routes);
        };
        let chains = self.chains(kind, &spot, routes);
        let Some(old) = self.entries.get_mut(&key) else { return };
        for chain in chains {
            if !old.chains.iter().any(|c| c.conflicts_with(&chain)) {
                old.chains.push(chain);
            }
        }
        if merged != old.kind {
            (old.kind, old.protocol) = (merged, Protocol::Auto);
        }
    }

    fn insert(&mut self, key: (String, u32), kind: Kind, spot: &Spot<'_, 's>, routes: &TcpRoutes<'s>) {
        let chains = self.chains(kind, spot, routes);
        // On the wildcard address, other traffic than HTTP passes through, so the listener sniffs.
        let sniffs = spot.port.protocol != Protocol::HttpProxy && self.is_wildcard(spot);
        let (kind, protocol) = match kind {
            Kind::Http if sniffs => (Kind::Sniffed, Protocol::Auto),
            kind => (kind, spot.port.protocol),
        };
        let entry = Entry { bind: spot.bind.clone(), port: key.1, chains, kind, protocol, locked: false };
        self.entries.insert(key, entry);
    }

    fn is_wildcard(&self, spot: &Spot<'_, '_>) -> bool {
        spot.bind.primary() == self.side.wildcard()
    }

    fn chains(&self, kind: Kind, spot: &Spot<'_, 's>, routes: &TcpRoutes<'s>) -> Vec<Chain<'s>> {
        let wildcard = self.is_wildcard(spot);
        let sniffed = |chain: Chain<'s>| chains::for_plaintext_http(self.side, chain);
        match kind {
            Kind::Http if wildcard && spot.port.protocol != Protocol::HttpProxy => {
                vec![sniffed(chains::http(self.side, spot, false))]
            }
            Kind::Http => vec![chains::http(self.side, spot, false)],
            Kind::Tcp => chains::tcp(self.side, spot, routes),
            Kind::Sniffed => {
                let mut out = chains::tcp(self.side, spot, routes);
                out.push(sniffed(chains::http(self.side, spot, !wildcard)));
                out
            }
        }
    }

    /// Where the service is listened for, unless the Sidecar resource says: HTTP on all addresses; TCP on the addresses
    /// of the service. A CIDR can only be matched by a chain.
    fn bind(&self, spot: &mut Spot<'_, '_>, kind: Kind) {
        if !spot.bind.primary().is_empty() {
            return;
        }
        let proxy = self.side.cx.proxy;
        let all = || address::wildcards(proxy.ip_mode).into_iter().map(str::to_owned).collect();
        if kind == Kind::Http {
            spot.bind.addresses = all();
            return;
        }
        let mut first = address::first(&self.side.cx, spot.service);
        let extra = address::all(&self.side.cx, spot.service).into_iter().skip(1);
        let mut addresses: Vec<String> = extra.map(str::to_owned).collect();
        // The family of a ServiceEntry without addresses is that of the proxy.
        if spot.service.registry == Registry::External && first == Service::UNSPECIFIED {
            if !proxy.supports_v4() {
                first = "::";
            } else if proxy.is_dual_stack() {
                addresses.push("::".to_owned());
            }
        }
        addresses.insert(0, first.to_owned());
        if first.contains('/') {
            spot.bind.addresses = all();
            spot.cidrs = addresses;
        } else {
            spot.bind.addresses = addresses;
        }
    }

    /// The listeners as Envoy has them. `fallback`: what happens to connections that no chain matches.
    pub(super) fn into_listeners(self, fallback: &[Filter]) -> Vec<Listener> {
        self.entries.into_values().map(|e| e.to_envoy(self.side, fallback)).collect()
    }
}

/// Whether one of two different protocols has the server speak first: then sniffing would wait for ever.
fn server_speaks_first(old: Protocol, new: Protocol) -> bool {
    let silent = |p| matches!(p, Protocol::Mongo | Protocol::MySql);
    old != new && (silent(old) || silent(new))
}

impl Entry<'_> {
    fn to_envoy(&self, side: &Side<'_>, fallback: &[Filter]) -> Listener {
        let mut listener = base(side, &self.bind, self.port);
        self.set_inspectors(side, &mut listener);
        let stat_prefix = stat_name::delimited(&format!("outbound_{}", listener.name));
        let mut extensions = network::extensions(side, self.port);
        for chain in &self.chains {
            let mut built = chain.to_envoy(side, &stat_prefix);
            network::extend_first_http(&mut built, chain, &mut extensions);
            // The chain that matches everything must be the last resort, so that a connection that begins to match
            // another one is not lost.
            if chain.is_match_all() {
                listener.default_filter_chain = Some(built);
            } else {
                listener.filter_chains.push(built);
            }
        }
        if listener.filter_chains.is_empty() {
            listener.filter_chains.extend(listener.default_filter_chain.take());
        } else if listener.default_filter_chain.is_none() {
            listener.default_filter_chain = Some(FilterChain {
                filter_chain_match: Some(FilterChainMatch::default()),
                filters: fallback.to_vec(),
                name: catch_all::PASSTHROUGH_CHAIN.to_owned(),
                ..Default::default()
            });
        }
        listener
    }

    fn set_inspectors(&self, side: &Side<'_>, listener: &mut Listener) {
        let by_sni = |chain: &Chain<'_>| match &chain.content {
            Content::Network(filters) => filters.iter().any(|f| f.name == filters::SNI_DYNAMIC_FORWARD_PROXY),
            Content::Http(_) => false,
        };
        if self.chains.iter().any(|c| c.needs_tls_inspector() || by_sni(c)) {
            listener.listener_filters.push(filters::TLS_INSPECTOR.clone());
        }
        listener.listener_filters_timeout = Some(wkt::seconds(0));
        if self.chains.iter().any(|c| !c.application_protocols.is_empty()) {
            listener.listener_filters.push(filters::HTTP_INSPECTOR.clone());
            let timeout = side.cx.mesh().protocol_detection_timeout.as_ref();
            listener.listener_filters_timeout = timeout.map(wkt::to_prost_duration);
        }
    }
}

/// A listener without chains.
fn base(side: &Side<'_>, bind: &Bind, port: u32) -> Listener {
    let beside = |address: &String| AdditionalAddress {
        address: Some(wire::endpoint_address(address, port)),
        ..Default::default()
    };
    let exact = side.cx.proxy.metadata.outbound_listener_exact_balance.then(|| ConnectionBalanceConfig {
        balance_type: Some(connection_balance_config::BalanceType::ExactBalance(Default::default())),
    });
    Listener {
        name: format!("{}_{port}", bind.primary()),
        address: Some(wire::endpoint_address(bind.primary(), port)),
        additional_addresses: bind.addresses.iter().skip(1).filter(|a| !a.is_empty()).map(beside).collect(),
        traffic_direction: TrafficDirection::Outbound as i32,
        continue_on_listener_filters_timeout: true,
        connection_balance_config: exact,
        // Only a socket of its own accepts connections.
        max_connections_to_accept_per_socket_event: side.max_accepts().filter(|_| bind.to_port),
        bind_to_port: (!bind.to_port).then_some(false),
        ..Default::default()
    }
}

/// The listener of one chain on sockets of its own.
pub(in crate::listener) fn single<'s>(
    side: &Side<'s>,
    addresses: Vec<String>,
    port: u32,
    chain: Chain<'s>,
) -> Listener {
    let bind = Bind { addresses, to_port: true };
    let entry =
        Entry { bind, port, chains: vec![chain], kind: Kind::Http, protocol: Protocol::Http, locked: false };
    entry.to_envoy(side, &[])
}

//! Whether a patch is for a listener, a filter chain or a filter.
//!
//! Source: Istio `listenerMatch`, `filterChainMatch` and their like.

use crate::index::envoy_filters::Patch;
use crate::names;
use meltemi_api::envoy::config::core::v3::{address::Address, socket_address::PortSpecifier};
use meltemi_api::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use meltemi_api::istio::networking::v1alpha3::envoy_filter::{
    ApplyTo, ListenerMatch, envoy_config_object_match::ObjectTypes, listener_match,
};

/// The patch's conditions for listeners, if it has any.
fn conditions(patch: &Patch) -> Option<&ListenerMatch> {
    match patch.matches.object_types.as_ref()? {
        ObjectTypes::Listener(listener) => Some(listener),
        _ => None,
    }
}

/// The listeners of redirected traffic stand for all ports: there a port is one of a filter chain.
fn is_virtual(listener: &Listener) -> bool {
    listener.name == names::VIRTUAL_INBOUND || listener.name == names::VIRTUAL_OUTBOUND
}

/// Whether the listener is one of those that the patch is for.
pub(super) fn listener(listener: &Listener, patch: &Patch) -> bool {
    let Some(wanted) = conditions(patch) else { return true };
    if !wanted.name.is_empty() && wanted.name != listener.name {
        return false;
    }
    let of_chains = patch.apply_to != ApplyTo::Listener && is_virtual(listener);
    of_chains || wanted.port_number == 0 || port(listener) == Some(wanted.port_number)
}

fn port(listener: &Listener) -> Option<u32> {
    match listener.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => Some(port),
            _ => Some(0),
        },
        _ => None,
    }
}

/// Whether the filter chain of a listener that matches already is one of those that the patch is for.
pub(super) fn filter_chain(listener: &Listener, chain: &FilterChain, patch: &Patch) -> bool {
    let Some(wanted) = conditions(patch) else { return true };
    let of_chain = chain.filter_chain_match.as_ref();
    let port = of_chain.and_then(|m| m.destination_port).unwrap_or(0);
    if is_virtual(listener) && wanted.port_number > 0 && port != wanted.port_number {
        return false;
    }
    wanted.filter_chain.as_ref().is_none_or(|wanted| {
        (wanted.name.is_empty() || wanted.name == chain.name)
            && chain_match(of_chain.unwrap_or(&FilterChainMatch::default()), wanted)
    })
}

fn chain_match(of_chain: &FilterChainMatch, wanted: &listener_match::FilterChainMatch) -> bool {
    let protocols = &wanted.application_protocols;
    (wanted.sni.is_empty() || of_chain.server_names.contains(&wanted.sni))
        && (wanted.transport_protocol.is_empty() || of_chain.transport_protocol == wanted.transport_protocol)
        && (protocols.is_empty()
            || protocols.split(',').all(|p| of_chain.application_protocols.iter().any(|a| a == p)))
        && (wanted.destination_port == 0 || of_chain.destination_port == Some(wanted.destination_port))
}

/// The listener filter that the patch names.
pub(super) fn listener_filter(patch: &Patch) -> Option<&str> {
    conditions(patch).map(|c| c.listener_filter.as_str()).filter(|name| !name.is_empty())
}

/// The network filter that the patch names.
pub(super) fn network_filter(patch: &Patch) -> Option<&str> {
    named_filter(patch).map(|f| f.name.as_str())
}

/// The HTTP filter that the patch names.
pub(super) fn http_filter(patch: &Patch) -> Option<&str> {
    named_filter(patch)?.sub_filter.as_ref().map(|f| f.name.as_str())
}

fn named_filter(patch: &Patch) -> Option<&listener_match::FilterMatch> {
    conditions(patch)?.filter_chain.as_ref()?.filter.as_ref()
}

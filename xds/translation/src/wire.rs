//! Small builders for Envoy's messages, so that a translation reads like the configuration it makes.

use meltemi_api::envoy::config::core::v3::{self as core, address, config_source, socket_address};
use meltemi_api::wkt::Any;
use prost::{Message, Name};

/// A TCP socket address.
pub fn tcp_address(ip: &str, port: u32) -> core::Address {
    core::Address {
        address: Some(address::Address::SocketAddress(core::SocketAddress {
            address: ip.to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    }
}

/// A Unix domain socket.
pub fn pipe_address(path: &str) -> core::Address {
    core::Address {
        address: Some(address::Address::Pipe(core::Pipe { path: path.to_owned(), ..Default::default() })),
    }
}

/// The address of an endpoint: `unix://PATH`, or an IP or host with a port.
pub fn endpoint_address(address: &str, port: u32) -> core::Address {
    match address.strip_prefix("unix://") {
        Some(path) => pipe_address(path),
        None => tcp_address(address, port),
    }
}

/// "By ADS, in the v3 API, waiting as long as it takes" (Istio sets `initial_fetch_timeout` to 0).
pub fn ads() -> core::ConfigSource {
    core::ConfigSource {
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        initial_fetch_timeout: Some(meltemi_api::wkt::seconds(0)),
        resource_api_version: core::ApiVersion::V3 as i32,
        ..Default::default()
    }
}

/// Packs a message into an `Any`.
pub fn any<M: Message + Name>(message: &M) -> Any {
    Any::pack(message)
}

//! Small builders for Envoy's messages, so that a translation reads like the configuration it makes.

use ipnet::IpNet;
use meltemi_api::envoy::config::core::v3::{self as core, address, config_source, socket_address};
use meltemi_api::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};
use meltemi_api::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use meltemi_api::istio::networking::v1alpha3::{StringMatch, string_match::MatchType};
use meltemi_api::wkt::Any;
use meltemi_world::Meta;
use prost::{Message, Name};
use prost_types::{Value, value::Kind};
use std::net::IpAddr;

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

/// Reads `ADDRESS/LENGTH`, or an address alone, which is a prefix of its whole length. Bits behind the prefix stay.
/// Source: Istio `AddrStrToPrefix`.
pub fn prefix(text: &str) -> Option<IpNet> {
    if text.contains('/') { text.parse().ok() } else { text.parse::<IpAddr>().ok().map(IpNet::from) }
}

/// A prefix as Envoy's CIDR range.
pub fn cidr_range(prefix: IpNet) -> core::CidrRange {
    core::CidrRange {
        address_prefix: prefix.addr().to_string(),
        prefix_len: Some(u32::from(prefix.prefix_len())),
    }
}

/// "By ADS, in the v3 API, waiting as long as it takes" (Istio sets `initial_fetch_timeout` to 0).
pub fn ads() -> core::ConfigSource {
    core::ConfigSource {
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        initial_fetch_timeout: Some(meltemi_api::wkt::seconds(0)),
        resource_api_version: core::ApiVersion::V3 as i32,
        ..Default::default()
    }
}

/// Packs a message into an `Any`.
pub fn any<M: Message + Name>(message: &M) -> Any {
    Any::pack(message)
}

/// A regular expression.
pub fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.to_owned(), ..Default::default() }
}

/// Matches one text exactly.
pub fn exact(text: &str) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Exact(text.to_owned())), ..Default::default() }
}

/// Envoy's matcher for Istio's; `None` for one that says nothing. Source: Istio `ConvertToEnvoyMatch`.
pub fn string_matcher(text: &StringMatch) -> Option<StringMatcher> {
    let pattern = match text.match_type.as_ref()? {
        MatchType::Exact(text) => MatchPattern::Exact(text.clone()),
        MatchType::Prefix(text) => MatchPattern::Prefix(text.clone()),
        MatchType::Regex(text) => MatchPattern::SafeRegex(regex(text)),
    };
    Some(StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}

/// Whole per cent.
pub fn percent(value: u32) -> FractionalPercent {
    FractionalPercent { numerator: value, denominator: DenominatorType::Hundred as i32 }
}

/// Per cent with up to four decimals; more are cut off.
pub fn fraction(value: f64) -> FractionalPercent {
    FractionalPercent { numerator: (value * 10_000.0) as u32, denominator: DenominatorType::Million as i32 }
}

/// Metadata that names the object that a resource was made from; `kind` in kebab case (`virtual-service`). istioctl
/// and Kiali read it. Source: Istio `BuildConfigInfoMetadata`.
pub fn config_metadata(kind: &str, meta: &Meta) -> core::Metadata {
    let mut metadata = core::Metadata::default();
    set_metadata(&mut metadata, "istio", "config", string(&config_path(kind, meta)));
    metadata
}

/// The path of an Istio object in the apiserver; `kind` in kebab case (`destination-rule`).
pub fn config_path(kind: &str, meta: &Meta) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/{}/{kind}/{}", meta.namespace, meta.name)
}

/// A `google.protobuf.Value` that is a text.
pub fn string(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

/// Sets a field of the metadata of a filter (`filter_metadata[filter].key`).
pub fn set_metadata(metadata: &mut core::Metadata, filter: &str, key: &str, value: Value) {
    let fields = &mut metadata.filter_metadata.entry(filter.to_owned()).or_default().fields;
    fields.insert(key.to_owned(), value);
}

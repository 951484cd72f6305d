//! What a proxy announces about itself: its node id and metadata.
//!
//! Source: Istio `pkg/model/proxy.go` (`NodeMetadata`), `pilot/pkg/model/context.go` (`ParseServiceNodeWithMetadata`).

use crate::labels::Labels;
use crate::{Locality, NsName, Str};
use meltemi_api::envoy::config::core::v3::Node;
use meltemi_api::istio::mesh::v1alpha1::ProxyConfig;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a node cannot be served.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NodeError {
    /// The node id is missing.
    #[error("missing node information: the first request of a stream must carry a node with an id")]
    Missing,
    /// The node id has not four parts.
    #[error("node id {0:?} is not of the form TYPE~IP~POD.NAMESPACE~NAMESPACE.svc.DOMAIN")]
    Malformed(String),
    /// The first part of the node id is no known type.
    #[error("node id {id:?} has the unknown type {kind:?}: expected sidecar, router, waypoint or ztunnel")]
    UnknownType {
        /// The node id.
        id: String,
        /// Its first part.
        kind: String,
    },
    /// The node has neither an address in its id nor in `INSTANCE_IPS`.
    #[error("node {0:?} has no valid IP address in its id or in the metadata INSTANCE_IPS")]
    NoAddress(String),
    /// The node's metadata cannot be read.
    #[error("metadata of node {id:?}, field {field}: {message}")]
    Metadata {
        /// The node id.
        id: String,
        /// The path of the field.
        field: String,
        /// What is wrong.
        message: String,
    },
}

/// What a proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyType {
    /// A sidecar beside an application.
    Sidecar,
    /// A gateway.
    Router,
    /// An ambient waypoint.
    Waypoint,
    /// A ztunnel.
    Ztunnel,
}

/// How a sidecar gets its traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interception {
    /// iptables REDIRECT.
    #[default]
    Redirect,
    /// iptables TPROXY.
    Tproxy,
    /// None: the sidecar binds its listeners.
    None,
}

/// Which IP families a proxy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpMode {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Dual,
}

/// A port as `POD_PORTS` names it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", default)]
pub struct PodPort {
    /// Its name, or empty.
    pub name: String,
    /// Its number.
    pub container_port: u32,
    /// Its protocol, or empty.
    pub protocol: String,
}

/// The node's metadata, as far as the control plane reads it. Keys are those of pilot-agent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", default)]
#[allow(missing_docs)]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub workload_name: String,
    pub owner: String,
    pub service_account: String,
    pub node_name: String,
    pub cluster_id: String,
    pub mesh_id: String,
    pub network: String,
    pub istio_version: String,
    pub istio_revision: String,
    #[serde(deserialize_with = "string_list")]
    pub instance_ips: Vec<String>,
    #[serde(deserialize_with = "string_list")]
    pub requested_network_view: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub static_labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "interception")]
    pub interception_mode: Interception,
    pub http_proxy_port: String,
    #[serde(deserialize_with = "pod_ports")]
    pub pod_ports: Vec<PodPort>,
    pub tls_server_cert_chain: String,
    pub tls_server_key: String,
    pub tls_server_root_cert: String,
    pub tls_client_cert_chain: String,
    pub tls_client_key: String,
    pub tls_client_root_cert: String,
    pub idle_timeout: String,
    #[serde(rename = "HTTP10")]
    pub http10: String,
    pub generator: String,
    #[serde(deserialize_with = "string_bool")]
    pub dns_capture: bool,
    #[serde(deserialize_with = "string_bool")]
    pub dns_auto_allocate: bool,
    #[serde(deserialize_with = "string_bool")]
    pub enable_hbone: bool,
    #[serde(deserialize_with = "string_bool")]
    pub enable_self_discovery: bool,
    pub unprivileged_pod: String,
    #[serde(deserialize_with = "number")]
    pub envoy_status_port: u32,
    #[serde(deserialize_with = "number")]
    pub envoy_prometheus_port: u32,
    #[serde(deserialize_with = "number")]
    pub envoy_secure_metrics_port: u32,
    #[serde(deserialize_with = "number")]
    pub envoy_secure_merged_metrics_port: u32,
    #[serde(deserialize_with = "string_bool")]
    pub exit_on_zero_active_connections: bool,
    #[serde(deserialize_with = "string_bool")]
    pub inbound_listener_exact_balance: bool,
    #[serde(deserialize_with = "string_bool")]
    pub outbound_listener_exact_balance: bool,
    #[serde(deserialize_with = "string_bool")]
    pub metadata_discovery: bool,
    /// ProxyConfig as the proxy was started with it; the mesh's default applies where it is missing.
    pub proxy_config: Option<Arc<ProxyConfig>>,
    /// `credential: "true"`: an external SDS server is at hand.
    #[serde(rename = "credential")]
    pub credential: String,
    /// `file-credential: "true"`: an SDS server of its own serves certificates from files.
    #[serde(rename = "file-credential")]
    pub file_credential: String,
    pub dns_proxy_addr: String,
}

/// Who exactly a proxy is, and whether anybody asked.
#[derive(Clone, Debug, Default)]
struct Identity {
    id: Str,
    ips: Vec<Str>,
    name: Str,
    /// The metadata's texts, as announced.
    texts: Arc<BTreeMap<String, String>>,
    asked: Asked,
}

/// A note that is not part of the value that carries it: copies start without it, and it never tells values apart.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl Clone for Asked {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.ips, &self.name, &self.texts) == (&other.id, &other.ips, &other.name, &other.texts)
    }
}

impl Metadata {
    /// Whether the proxy may not bind ports below 1024.
    pub fn is_unprivileged(&self) -> bool {
        // What Go's `strconv.ParseBool` takes for true.
        matches!(self.unprivileged_pod.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True")
    }
}

/// A connected proxy: what it is and what it can do.
///
/// Who exactly it is (its id, name and addresses) is behind methods that note that they were called: what was
/// generated without asking is the same for every proxy that is otherwise equal, and need not be generated again.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    identity: Identity,
    /// The node's `cluster` (Envoy's service cluster), e.g. `productpage.default`.
    pub service_cluster: Str,
    /// What it is.
    pub kind: ProxyType,
    /// The namespace whose configuration applies to it.
    pub namespace: Str,
    /// The DNS suffix of its namespace: `NAMESPACE.svc.DOMAIN`.
    pub dns_domain: Str,
    /// Its labels: of the Pod where known, else as announced.
    pub labels: Labels,
    /// Where it runs.
    pub locality: Locality,
    /// What else it says.
    pub metadata: Metadata,
    /// Which IP families it has.
    pub ip_mode: IpMode,
    /// Whether it has Istio's own extensions. A proxy that lists no extension at all is taken for Istio's; one that
    /// lists some but none of Istio's is a stock Envoy.
    pub istio_extensions: Extensions,
    /// The service account that its stream proved; none on a plaintext stream.
    pub verified: Option<NsName>,
}

/// Which of Istio's own Envoy extensions a proxy understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extensions {
    /// HTTP filter `istio.alpn`.
    pub alpn: bool,
    /// HTTP and network filter `istio.stats`.
    pub stats: bool,
    /// Network filter `istio.metadata_exchange`.
    pub metadata_exchange: bool,
    /// HTTP filter `istio.peer_metadata` and the formatter and upstream filters that go with it.
    pub peer_metadata: bool,
    /// Private key provider `cryptomb`.
    pub cryptomb: bool,
    /// Private key provider `qat`.
    pub qat: bool,
}

impl Extensions {
    /// All of them, as Istio's own proxy has.
    pub const ISTIO: Self = Self {
        alpn: true,
        stats: true,
        metadata_exchange: true,
        peer_metadata: true,
        cryptomb: true,
        qat: true,
    };

    /// Reads what a node lists: an extension counts if its name or one of its type URLs is listed.
    pub fn of(node: &Node) -> Self {
        if node.extensions.is_empty() {
            return Self::ISTIO;
        }
        let lists = |names: &[&str]| {
            node.extensions.iter().any(|e| {
                names.contains(&e.name.as_str())
                    || e.type_urls.iter().any(|t| names.contains(&t.rsplit('/').next().unwrap_or(t)))
            })
        };
        Self {
            alpn: lists(&["istio.alpn", "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"]),
            stats: lists(&["istio.stats", "stats.PluginConfig"]),
            metadata_exchange: lists(&[
                "istio.metadata_exchange",
                "envoy.tcp.metadataexchange.config.MetadataExchange",
            ]),
            peer_metadata: lists(&["istio.peer_metadata", "io.istio.http.peer_metadata.Config"]),
            cryptomb: lists(&["cryptomb"]),
            qat: lists(&["qat"]),
        }
    }
}

impl Proxy {
    /// Reads a node. `domain` is the cluster's domain, used where the node id gives none.
    ///
    /// # Errors
    /// If the id, the addresses or the metadata cannot be read; the message names the node and the field.
    pub fn from_node(node: &Node, domain: &str) -> Result<Self, NodeError> {
        if node.id.is_empty() {
            return Err(NodeError::Missing);
        }
        let parts: Vec<&str> = node.id.split('~').collect();
        let [kind, ip, name, dns_domain] = parts[..] else {
            return Err(NodeError::Malformed(node.id.clone()));
        };
        let kind = match kind {
            "sidecar" => ProxyType::Sidecar,
            "router" => ProxyType::Router,
            "waypoint" => ProxyType::Waypoint,
            "ztunnel" => ProxyType::Ztunnel,
            other => return Err(NodeError::UnknownType { id: node.id.clone(), kind: other.to_owned() }),
        };
        let metadata = metadata(node)?;
        let mut ips: Vec<Str> = Vec::new();
        let announced = metadata.instance_ips.iter().map(String::as_str);
        for candidate in announced.chain(std::iter::once(ip)) {
            if candidate.parse::<IpAddr>().is_ok() && !ips.iter().any(|i| &**i == candidate) {
                ips.push(candidate.into());
            }
        }
        if !metadata.instance_ips.is_empty()
            && ips.len() > 1
            && !metadata.instance_ips.iter().any(|i| i == ip)
        {
            ips.pop(); // INSTANCE_IPS replaces the id's address
        }
        let Some(ip_mode) = ip_mode(&ips) else { return Err(NodeError::NoAddress(node.id.clone())) };
        let namespace = if metadata.namespace.is_empty() {
            dns_domain.split('.').next().unwrap_or_default().to_owned()
        } else {
            metadata.namespace.clone()
        };
        let dns_domain =
            if dns_domain.is_empty() { format!("{namespace}.svc.{domain}") } else { dns_domain.to_owned() };
        let locality = node.locality.clone().unwrap_or_default();
        Ok(Self {
            identity: Identity {
                id: node.id.as_str().into(),
                ips,
                name: name.into(),
                texts: Arc::new(texts(node)),
                asked: Asked::default(),
            },
            service_cluster: node.cluster.as_str().into(),
            kind,
            namespace: namespace.into(),
            dns_domain: dns_domain.into(),
            labels: metadata.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            locality: Locality {
                region: locality.region.into(),
                zone: locality.zone.into(),
                subzone: locality.sub_zone.into(),
            },
            metadata,
            ip_mode,
            istio_extensions: Extensions::of(node),
            verified: None,
        })
    }

    /// Whether this is a sidecar.
    pub fn is_sidecar(&self) -> bool {
        self.kind == ProxyType::Sidecar
    }

    /// Whether this is a gateway.
    pub fn is_router(&self) -> bool {
        self.kind == ProxyType::Router
    }

    /// The node id, whole.
    pub fn id(&self) -> &Str {
        &self.asked().id
    }

    /// `POD.NAMESPACE`, from the node id.
    pub fn name(&self) -> &Str {
        &self.asked().name
    }

    /// A field of the node's metadata, as announced, if it is a text. Unlike [`Self::metadata`] this knows all fields.
    pub fn metadata_text(&self, key: &str) -> Option<&str> {
        self.asked().texts.get(key).map(String::as_str)
    }

    /// Its addresses; the first is the primary one. Never empty.
    pub fn ips(&self) -> &[Str] {
        &self.asked().ips
    }

    /// Whether the proxy's version is `major.minor` or later. A proxy that does not say is taken for the latest.
    ///
    /// Source: Istio `ParseIstioVersion`.
    pub fn istio_version_is_at_least(&self, wanted: (u32, u32)) -> bool {
        let version = self.metadata.istio_version.trim_start_matches("release-");
        let mut parts = version.split(|c: char| !c.is_ascii_digit());
        let mut next = || parts.next().and_then(|p| p.parse::<u32>().ok());
        match (next(), next()) {
            (Some(major), Some(minor)) if major > 0 => (major, minor) >= wanted,
            _ => true,
        }
    }

    /// The primary address.
    pub fn ip(&self) -> &str {
        &self.asked().ips[0]
    }

    /// Whether anybody asked who exactly the proxy is since this was called last.
    pub fn take_asked(&self) -> bool {
        self.identity.asked.0.swap(false, Ordering::Relaxed)
    }

    /// Notes that somebody asked, where an answer of before is used again that looked at who the proxy is.
    pub fn note_asked(&self) {
        self.identity.asked.0.store(true, Ordering::Relaxed);
    }

    /// The proxy without what tells it apart from the other replicas of its workload.
    pub fn anonymous(&self) -> Self {
        let mut out = self.clone();
        out.identity = Identity::default();
        let metadata = &mut out.metadata;
        for own in [&mut metadata.name, &mut metadata.owner] {
            own.clear();
        }
        metadata.instance_ips.clear();
        out
    }

    fn asked(&self) -> &Identity {
        self.note_asked();
        &self.identity
    }

    /// Whether the proxy has an IPv4 address.
    pub fn supports_v4(&self) -> bool {
        self.ip_mode != IpMode::V6
    }

    /// Whether the proxy has an IPv6 address.
    pub fn supports_v6(&self) -> bool {
        self.ip_mode != IpMode::V4
    }

    /// Whether the proxy has both families.
    pub fn is_dual_stack(&self) -> bool {
        self.ip_mode == IpMode::Dual
    }
}

fn ip_mode(ips: &[Str]) -> Option<IpMode> {
    let (mut v4, mut v6) = (false, false);
    for ip in ips.iter().filter_map(|i| i.parse::<IpAddr>().ok()) {
        // Link-local IPv6 addresses do not make a proxy an IPv6 one (Istio `DiscoverIPMode`).
        match ip {
            IpAddr::V4(_) => v4 = true,
            IpAddr::V6(a) if (a.segments()[0] & 0xffc0) == 0xfe80 => {}
            IpAddr::V6(_) => v6 = true,
        }
    }
    match (v4, v6) {
        (true, true) => Some(IpMode::Dual),
        (true, false) => Some(IpMode::V4),
        (false, true) => Some(IpMode::V6),
        (false, false) => None,
    }
}

fn metadata(node: &Node) -> Result<Metadata, NodeError> {
    let Some(metadata) = &node.metadata else { return Ok(Metadata::default()) };
    let json = meltemi_api::wkt::struct_to_json(metadata);
    meltemi_api::object::decode::<Metadata>(json).map(|d| d.value).map_err(|e| NodeError::Metadata {
        id: node.id.clone(),
        field: e.field,
        message: e.message,
    })
}

fn texts(node: &Node) -> BTreeMap<String, String> {
    let Some(metadata) = &node.metadata else { return BTreeMap::new() };
    let Value::Object(fields) = meltemi_api::wkt::struct_to_json(metadata) else { return BTreeMap::new() };
    let text = |(key, value)| match value {
        Value::String(text) => Some((key, text)),
        _ => None,
    };
    fields.into_iter().filter_map(text).collect()
}

fn string_list<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let text = Option::<String>::deserialize(d)?.unwrap_or_default();
    Ok(text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect())
}

fn string_bool<'de, D: serde::Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    // Istio `StringBool`: the strings "true" and "1", and JSON booleans of older proxies.
    Ok(match Value::deserialize(d)? {
        Value::Bool(b) => b,
        Value::String(s) => matches!(s.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"),
        _ => false,
    })
}

fn number<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Number(n) => n.as_f64().unwrap_or_default() as u32,
        Value::String(s) => s.parse().unwrap_or_default(),
        _ => 0,
    })
}

fn interception<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Interception, D::Error> {
    let text = Option::<String>::deserialize(d)?.unwrap_or_default();
    Ok(match text.as_str() {
        "TPROXY" => Interception::Tproxy,
        "NONE" => Interception::None,
        _ => Interception::Redirect,
    })
}

fn pod_ports<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<PodPort>, D::Error> {
    // The list is JSON text inside a string (`PodPortList`).
    let text = Option::<String>::deserialize(d)?.unwrap_or_default();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str::<Option<Vec<PodPort>>>(&text)
        .map(Option::unwrap_or_default)
        .map_err(serde::de::Error::custom)
}

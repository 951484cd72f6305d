//! What the agent was started with: environment, flags and files of the Pod, read once and checked.

mod env;
mod pod;
mod proxy;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

pub use env::Env;
pub use pod::{Metadata, downward};
pub use proxy::ProxyConfig;

use crate::{Error, cli::Proxy};

/// What kind of proxy Envoy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside an application, whose traffic is sent to it.
    Sidecar,
    /// A gateway.
    Router,
}

impl Role {
    /// Its name in Envoy's node id.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        }
    }
}

/// Everything that the agent needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What kind of proxy Envoy is.
    pub role: Role,
    /// `POD_NAME`.
    pub pod: String,
    /// `POD_NAMESPACE`.
    pub namespace: String,
    /// `SERVICE_ACCOUNT`.
    pub service_account: String,
    /// The Pod's addresses; the first is `INSTANCE_IP`.
    pub addresses: Vec<IpAddr>,
    /// The DNS domain of the node id, `NAMESPACE.svc.cluster.local` by default.
    pub domain: String,
    /// `TRUST_DOMAIN`.
    pub trust_domain: String,
    /// The effective ProxyConfig.
    pub proxy: ProxyConfig,
    /// Envoy's node metadata.
    pub metadata: Metadata,
    /// How istiod and the CA are reached.
    pub control: Control,
    /// How certificates are asked for.
    pub certificates: Certificates,
    /// How Envoy ends.
    pub termination: Termination,
    /// `ENVOY_STATUS_PORT`: Envoy's readiness for the kubelet, 15021.
    pub status_port: u16,
    /// `ENVOY_PROMETHEUS_PORT`: Envoy's metrics, 15090.
    pub prometheus_port: u16,
    /// Probes of the application that the agent passes on (`ISTIO_KUBE_APP_PROBERS`), as JSON.
    pub app_probes: String,
    /// Whether they go to localhost instead of the Pod's address (`REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION`).
    pub app_probes_to_localhost: bool,
    /// Where the application's metrics are (`ISTIO_PROMETHEUS_ANNOTATIONS`), as JSON.
    pub app_metrics: String,
    /// A file that is laid over Envoy's bootstrap (`ISTIO_BOOTSTRAP_OVERRIDE`).
    pub bootstrap_override: Option<PathBuf>,
    /// A bootstrap to use instead of the agent's own (`ISTIO_BOOTSTRAP`).
    pub bootstrap: Option<PathBuf>,
    /// `HOST_IP`, which may stand in an override as `$(HOST_IP)`.
    pub host_ip: String,
    /// Envoy's own log level and those of its components.
    pub log_level: (String, Vec<String>),
    /// Whether Envoy keeps quiet about deprecated fields (`ENVOY_SKIP_DEPRECATED_LOGS`, true).
    pub skip_deprecated: bool,
    /// Where outlier ejections are logged.
    pub outlier_log: Option<String>,
}

/// How istiod and the CA are reached.
#[derive(Clone, Debug)]
pub struct Control {
    /// `host:port` of xDS, from the ProxyConfig.
    pub discovery: String,
    /// Whether xDS is spoken over TLS.
    pub discovery_tls: bool,
    /// `host:port` of the certificate authority (`CA_ADDR`).
    pub ca: String,
    /// Roots that istiod is verified by (`XDS_ROOT_CA`).
    pub discovery_roots: PathBuf,
    /// Roots that the CA is verified by (`CA_ROOT_CA`).
    pub ca_roots: PathBuf,
    /// Name of the server to expect instead of the address's (`ISTIOD_SAN`).
    pub san: Option<String>,
    /// The service account token.
    pub token: PathBuf,
    /// The cluster's name, told to the CA and istiod (`ISTIO_META_CLUSTER_ID`).
    pub cluster: String,
    /// More metadata of each request, from `XDS_HEADER_*`.
    pub xds_headers: Vec<(String, String)>,
    /// More metadata of each request, from `CA_HEADER_*`.
    pub ca_headers: Vec<(String, String)>,
}

/// How certificates are asked for.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The lifetime to ask for (`SECRET_TTL`, 24 h).
    pub ttl: Duration,
    /// The part of the lifetime that is left at renewal (`SECRET_GRACE_PERIOD_RATIO`, 0.5).
    pub grace_ratio: f64,
    /// How far that part varies from certificate to certificate (`SECRET_GRACE_PERIOD_RATIO_JITTER`, 0.01).
    pub grace_jitter: f64,
    /// The signer to ask for (`ISTIO_META_CERT_SIGNER`).
    pub signer: Option<String>,
    /// Roots that join those of the CA: the mounted ones, if istiod itself is the CA.
    pub more_roots: Option<PathBuf>,
    /// The Unix socket that Envoy asks for them on.
    pub socket: PathBuf,
}

/// How Envoy ends.
#[derive(Clone, Copy, Debug)]
pub struct Termination {
    /// How long connections are given (`terminationDrainDuration` of the ProxyConfig, 5 s).
    pub drain: Duration,
    /// End as soon as no connection is left (`EXIT_ON_ZERO_ACTIVE_CONNECTIONS`) …
    pub on_zero_connections: bool,
    /// … but not before this (`MINIMUM_DRAIN_DURATION`, 5 s).
    pub minimum: Duration,
}

/// The mounted roots of the mesh.
const MESH_ROOTS: &str = "./var/run/secrets/istio/root-cert.pem";
/// The roots of the cluster, if `PILOT_CERT_PROVIDER` is `kubernetes`.
const CLUSTER_ROOTS: &str = "./var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
const TOKEN: &str = "./var/run/secrets/tokens/istio-token";
/// The socket's name is part of Istio's API: the folder may be mounted by an SDS provider.
const SDS_SOCKET: &str = "./var/run/secrets/workload-spiffe-uds/socket";

impl Settings {
    /// Reads flags and environment, and the files that they or Istio's injector put in place.
    pub fn read(flags: &Proxy, env: &Env) -> Result<Self, Error> {
        refuse(env)?;
        let annotations = pod::annotations();
        let proxy = ProxyConfig::read(flags, env, &annotations)?;
        let env = env.with(proxy.metadata());
        let text = |name: &str, default: &str| env.text(name, default);
        let namespace = env.required("POD_NAMESPACE")?;
        let discovery = proxy.text("discoveryAddress");
        let provider = text("PILOT_CERT_PROVIDER", "istiod");
        let mounted = if provider == "kubernetes" { CLUSTER_ROOTS } else { MESH_ROOTS };
        let ca_roots = text("CA_ROOT_CA", mounted);
        let control = Control {
            discovery_tls: proxy.text("controlPlaneAuthPolicy") != "NONE",
            ca: text("CA_ADDR", &discovery),
            discovery_roots: text("XDS_ROOT_CA", mounted).into(),
            san: env.get("ISTIOD_SAN"),
            token: TOKEN.into(),
            cluster: text("ISTIO_META_CLUSTER_ID", "Kubernetes"),
            xds_headers: env.under("XDS_HEADER_"),
            ca_headers: env.under("CA_HEADER_"),
            ca_roots: ca_roots.clone().into(),
            discovery,
        };
        let role = flags.role()?;
        let addresses = pod::addresses(&env)?;
        Ok(Self {
            role,
            pod: env.required("POD_NAME")?,
            service_account: text("SERVICE_ACCOUNT", "default"),
            domain: flags.domain.clone().unwrap_or_else(|| format!("{namespace}.svc.cluster.local")),
            trust_domain: text("TRUST_DOMAIN", "cluster.local"),
            certificates: Certificates {
                ttl: env.duration("SECRET_TTL", Duration::from_secs(24 * 3600))?,
                grace_ratio: env.ratio("SECRET_GRACE_PERIOD_RATIO", 0.5)?,
                grace_jitter: env.ratio("SECRET_GRACE_PERIOD_RATIO_JITTER", 0.01)?,
                signer: env.get("ISTIO_META_CERT_SIGNER"),
                more_roots: (ca_roots == MESH_ROOTS).then(|| MESH_ROOTS.into()),
                socket: SDS_SOCKET.into(),
            },
            termination: Termination {
                drain: proxy.duration("terminationDrainDuration")?,
                on_zero_connections: env.switch("EXIT_ON_ZERO_ACTIVE_CONNECTIONS")?,
                minimum: env.duration("MINIMUM_DRAIN_DURATION", Duration::from_secs(5))?,
            },
            status_port: env.number("ENVOY_STATUS_PORT", 15021)?,
            prometheus_port: env.number("ENVOY_PROMETHEUS_PORT", 15090)?,
            app_probes: text("ISTIO_KUBE_APP_PROBERS", ""),
            app_probes_to_localhost: env.switch("REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION")?,
            app_metrics: text("ISTIO_PROMETHEUS_ANNOTATIONS", ""),
            bootstrap_override: env.get("ISTIO_BOOTSTRAP_OVERRIDE").map(Into::into),
            bootstrap: env.get("ISTIO_BOOTSTRAP").map(Into::into),
            host_ip: text("HOST_IP", ""),
            skip_deprecated: env.flag("ENVOY_SKIP_DEPRECATED_LOGS", true)?,
            log_level: flags.envoy_log_level(),
            outlier_log: flags.outlier_log_path.clone().filter(|p| !p.is_empty()),
            metadata: Metadata::read(&env, &proxy, &addresses, annotations, flags)?,
            namespace,
            addresses,
            proxy,
            control,
        })
    }

    /// The workload's identity.
    pub fn identity(&self) -> String {
        format!("spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }

    /// Envoy's node id, as istiod reads it: kind, address, Pod and domain.
    pub fn node_id(&self) -> String {
        let address = self.addresses.first().map(IpAddr::to_string).unwrap_or_default();
        format!("{}~{address}~{}.{}~{}", self.role.name(), self.pod, self.namespace, self.domain)
    }

    /// The loopback address of the family that the Pod has.
    pub fn localhost(&self) -> IpAddr {
        if self.only_v6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
    }

    /// The address that stands for all of the family that the Pod has.
    pub fn wildcard(&self) -> IpAddr {
        if self.only_v6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
    }

    /// Where Envoy's admin pages are.
    pub fn admin(&self) -> SocketAddr {
        (self.localhost(), self.proxy.port("proxyAdminPort")).into()
    }

    fn only_v6(&self) -> bool {
        self.addresses.iter().all(IpAddr::is_ipv6)
    }

    /// The Unix socket that Envoy speaks xDS to.
    pub fn xds_socket(&self) -> PathBuf {
        self.proxy.config_path().join("XDS")
    }
}

/// What pilot-agent can be told to do and this agent can't: to go on would be to leave it undone silently.
fn refuse(env: &Env) -> Result<(), Error> {
    for name in
        ["ISTIO_META_DNS_CAPTURE", "ISTIO_META_ENABLE_DNS_SERVER", "DISABLE_ENVOY", "FILE_MOUNTED_CERTS"]
    {
        if env.switch(name)? {
            return Err(Error::setting(name, "is set, which this agent does not offer; unset it"));
        }
    }
    for name in ["PROV_CERT", "OUTPUT_CERTS"] {
        if env.get(name).is_some() {
            return Err(Error::setting(name, "is set, which this agent does not offer; unset it"));
        }
    }
    for name in ["XDS_ROOT_CA", "CA_ROOT_CA"] {
        if env.get(name).as_deref() == Some("SYSTEM") {
            return Err(Error::setting(name, "is SYSTEM, which this agent does not offer; name a file"));
        }
    }
    match env.text("CA_PROVIDER", "Citadel").as_str() {
        "Citadel" => Ok(()),
        other => Err(Error::setting("CA_PROVIDER", format!("is {other:?}; this agent offers Citadel only"))),
    }
}

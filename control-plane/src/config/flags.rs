//! The command line as a set of flags: those of `pilot-discovery`, under the same names.

use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

use super::duration;

/// Meltemi, a control plane for Istio meshes.
///
/// It runs where `pilot-discovery` runs, with the same flags, environment variables, ports and resources.
#[derive(Debug, Parser)]
#[command(name = "meltemi", disable_version_flag = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `meltemi` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the control plane.
    Discovery(Box<Discovery>),
    /// Ask the control plane that runs in this container, e.g. `meltemi request GET /debug/syncz`.
    ///
    /// Made for `kubectl exec deploy/istiod -n istio-system -- meltemi request GET /debug/adsz`.
    Request(Request),
    /// Run Envoy with an identity of the mesh, as Istio's pilot-agent does in sidecars and gateways.
    #[command(subcommand)]
    Agent(meltemi_agent::cli::Agent),
    /// Send a Pod's traffic through its proxy, as Istio's init container does.
    IstioIptables(Box<Iptables>),
    /// Print the version and exit.
    Version(Version),
}

/// Flags of `meltemi istio-iptables`.
#[derive(Debug, Args)]
pub struct Iptables {
    /// What is to be captured.
    #[command(flatten)]
    pub capture: meltemi_agent::iptables::Flags,
    /// What is logged, as --log_output_level of `meltemi discovery`.
    #[arg(long = "log_output_level", value_name = "SCOPE:LEVEL", default_value = "default:info")]
    pub log_output_level: String,
    /// Log as JSON.
    #[arg(long = "log_as_json")]
    pub log_as_json: bool,
}

/// Flags of `meltemi request`.
#[derive(Debug, Args)]
pub struct Request {
    /// The HTTP method, usually GET.
    pub method: String,
    /// The path, e.g. /debug/syncz or /metrics. `/debug` lists the others.
    pub path: String,
    /// Body of the request.
    #[arg(long, default_value = "")]
    pub body: String,
    /// Where the control plane listens, should it not be the default of --monitoringAddr.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15014")]
    pub address: String,
}

/// Flags of `meltemi version`.
#[derive(Debug, Args)]
pub struct Version {
    /// Print as json or yaml.
    #[arg(short, long, value_parser = ["json", "yaml"])]
    pub output: Option<String>,
    /// Print the version number alone.
    #[arg(short, long)]
    pub short: bool,
}

/// Flags of `meltemi discovery`.
#[derive(Clone, Debug, Args)]
pub struct Discovery {
    /// Where debugging and readiness are served over plain HTTP. Every address: "" turns the server off.
    #[arg(long = "httpAddr", value_name = "ADDR", default_value = ":8080", help_heading = "Addresses")]
    pub http_addr: String,
    /// Where the webhooks are served over TLS.
    #[arg(long = "httpsAddr", value_name = "ADDR", default_value = ":15017", help_heading = "Addresses")]
    pub https_addr: String,
    /// Where xDS is served without TLS and without authentication.
    #[arg(long = "grpcAddr", value_name = "ADDR", default_value = ":15010", help_heading = "Addresses")]
    pub grpc_addr: String,
    /// Where xDS and certificates are served over TLS: the port that sidecars use.
    #[arg(
        long = "secureGRPCAddr",
        value_name = "ADDR",
        default_value = ":15012",
        help_heading = "Addresses"
    )]
    pub secure_grpc_addr: String,
    /// Where metrics, the version and debugging are served. If "", they move to --httpAddr.
    #[arg(
        long = "monitoringAddr",
        value_name = "ADDR",
        default_value = ":15014",
        help_heading = "Addresses"
    )]
    pub monitoring_addr: String,
    /// Serve profiles under /debug/pprof.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", help_heading = "Addresses")]
    pub profile: bool,

    /// Where Services, Pods and configuration come from: Kubernetes, or File to read --configDir and need no cluster.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "Kubernetes",
        help_heading = "Sources"
    )]
    pub registries: Vec<String>,
    /// Read everything from the YAML files of this folder and its subfolders, and follow them as they change.
    #[arg(long = "configDir", value_name = "DIR", help_heading = "Sources")]
    pub config_dir: Option<PathBuf>,
    /// The kubeconfig of the cluster. Without it: KUBECONFIG if that file exists, else the Pod's own cluster.
    #[arg(long, value_name = "FILE", help_heading = "Sources")]
    pub kubeconfig: Option<PathBuf>,
    /// The mesh configuration. If this file exists it is used and followed, else the ConfigMap `istio`
    /// (`istio-REVISION`), else the defaults.
    #[arg(
        long = "meshConfig",
        value_name = "FILE",
        default_value = "./etc/istio/config/mesh",
        help_heading = "Sources"
    )]
    pub mesh_config: PathBuf,
    /// The mesh's networks, found as --meshConfig is.
    #[arg(
        long = "networksConfig",
        value_name = "FILE",
        default_value = "./etc/istio/config/meshNetworks",
        help_heading = "Sources"
    )]
    pub networks_config: PathBuf,
    /// Requests to the apiserver for each second, at most.
    #[arg(long = "kubernetesApiQPS", value_name = "N", default_value_t = 80.0, help_heading = "Sources")]
    pub kubernetes_api_qps: f32,
    /// Requests to the apiserver that may be made at once before --kubernetesApiQPS limits them.
    #[arg(long = "kubernetesApiBurst", value_name = "N", default_value_t = 160, help_heading = "Sources")]
    pub kubernetes_api_burst: u32,
    /// The namespace with the secrets of remote clusters. Without it: --namespace.
    #[arg(long = "clusterRegistriesNamespace", value_name = "NAMESPACE", help_heading = "Sources")]
    pub cluster_registries_namespace: Option<String>,

    /// The namespace that the control plane runs in. Without it: POD_NAMESPACE, else istio-system.
    #[arg(short, long, value_name = "NAMESPACE", help_heading = "Identity")]
    pub namespace: Option<String>,
    /// The namespace of the CNI plugin. Without it: --namespace.
    #[arg(long = "cniNamespace", value_name = "NAMESPACE", help_heading = "Identity")]
    pub cni_namespace: Option<String>,
    /// What the names of Services end with.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local", help_heading = "Identity")]
    pub domain: String,
    /// The name of this cluster. Without it: CLUSTER_ID, else Kubernetes.
    #[arg(long = "clusterID", value_name = "NAME", help_heading = "Identity")]
    pub cluster_id: Option<String>,
    /// Other names of clusters, as alias=cluster.
    #[arg(
        long = "clusterAliases",
        value_name = "ALIAS=CLUSTER",
        value_delimiter = ',',
        help_heading = "Identity"
    )]
    pub cluster_aliases: Vec<String>,

    /// The CA certificate that clients are verified with, instead of the mesh's own.
    #[arg(long = "caCertFile", value_name = "FILE", help_heading = "TLS")]
    pub ca_cert_file: Option<PathBuf>,
    /// The certificate to serve with, instead of one that the mesh's CA signs.
    #[arg(long = "tlsCertFile", value_name = "FILE", help_heading = "TLS", requires = "tls_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// The key of --tlsCertFile.
    #[arg(long = "tlsKeyFile", value_name = "FILE", help_heading = "TLS", requires = "tls_cert_file")]
    pub tls_key_file: Option<PathBuf>,
    /// Cipher suites to allow for TLS 1.2, by their IANA names. Without it: all that are safe.
    #[arg(long = "tls-cipher-suites", value_name = "NAMES", value_delimiter = ',', help_heading = "TLS")]
    pub tls_cipher_suites: Vec<String>,
    /// The lowest version of TLS to accept.
    #[arg(long = "tls-min-version", value_name = "VERSION", default_value = "1.2", value_parser = ["1.2", "1.3"],
          help_heading = "TLS")]
    pub tls_min_version: String,

    /// How long a stream may be silent before it is probed.
    #[arg(long = "keepaliveInterval", value_name = "DURATION", default_value = "30s", value_parser = duration::parse,
          help_heading = "Streams")]
    pub keepalive_interval: Duration,
    /// How long a probe may stay unanswered before the stream is closed.
    #[arg(long = "keepaliveTimeout", value_name = "DURATION", default_value = "10s", value_parser = duration::parse,
          help_heading = "Streams")]
    pub keepalive_timeout: Duration,
    /// How long a stream may last before its client is asked to connect anew. Without it: for ever.
    #[arg(long = "keepaliveMaxServerConnectionAge", value_name = "DURATION", value_parser = duration::parse,
          help_heading = "Streams")]
    pub keepalive_max_server_connection_age: Option<Duration>,
    /// How long streams may take to end when the process is told to stop.
    #[arg(long = "shutdownDuration", value_name = "DURATION", default_value = "10s", value_parser = duration::parse,
          help_heading = "Streams")]
    pub shutdown_duration: Duration,

    /// What to log: SCOPE:LEVEL,... Levels are debug, info, warn, error, none. Scopes are `default`, istiod's
    /// (ads, model, kube, ca, ...) and Meltemi's modules.
    #[arg(
        long = "log_output_level",
        value_name = "SCOPES",
        default_value = "default:info",
        help_heading = "Logs"
    )]
    pub log_output_level: String,
    /// Log as JSON, one object a line.
    #[arg(long = "log_as_json", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false,
          default_missing_value = "true", help_heading = "Logs")]
    pub log_as_json: bool,
    /// Where to log: stdout or stderr.
    #[arg(long = "log_target", value_name = "TARGET", default_value = "stdout", help_heading = "Logs")]
    pub log_target: Vec<String>,
    /// The port for reading and setting log levels at run time.
    #[arg(long = "ctrlz_port", value_name = "PORT", default_value_t = 9876, help_heading = "Logs")]
    pub ctrlz_port: u16,
    /// The address for reading and setting log levels at run time.
    #[arg(long = "ctrlz_address", value_name = "HOST", default_value = "localhost", help_heading = "Logs")]
    pub ctrlz_address: String,
    /// Accepted for istiod's sake, without effect.
    #[arg(long = "log_stacktrace_level", value_name = "SCOPES", hide = true)]
    pub log_stacktrace_level: Option<String>,
    /// Accepted for istiod's sake, without effect.
    #[arg(long = "log_caller", value_name = "SCOPES", hide = true)]
    pub log_caller: Option<String>,
    /// Accepted for istiod's sake, without effect.
    #[arg(long, value_name = "LEVEL", hide = true)]
    pub vklog: Option<String>,
}

//! The command line of the agent: `pilot-agent proxy`'s, and `pilot-agent wait`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{Error, settings::Role};

/// What `meltemi agent` can do.
#[derive(Debug, Subcommand)]
pub enum Agent {
    /// Run Envoy with the workload's identity, as `pilot-agent proxy` does.
    Proxy(Proxy),
    /// Wait until Envoy is ready, as `pilot-agent wait` does.
    Wait(Wait),
}

/// Flags of `meltemi agent proxy`.
#[derive(Clone, Debug, Args)]
pub struct Proxy {
    /// What kind of proxy Envoy is: sidecar or router.
    #[arg(default_value = "sidecar")]
    pub role: String,
    /// The DNS domain of the node's id. Default: POD_NAMESPACE.svc.cluster.local.
    #[arg(long)]
    pub domain: Option<String>,
    /// A file with the mesh configuration, whose defaultConfig counts.
    #[arg(long = "meshConfig", value_name = "FILE", default_value = "./etc/istio/config/mesh")]
    pub mesh_config: PathBuf,
    /// Envoy's log level, with those of components: warning,misc:error.
    #[arg(long = "proxyLogLevel", value_name = "LEVELS", default_value = "warning")]
    pub proxy_log_level: String,
    /// Log levels of Envoy's components: misc:error.
    #[arg(long = "proxyComponentLogLevel", value_name = "LEVELS", default_value = "")]
    pub proxy_component_log_level: String,
    /// Envoy's worker threads. 0: as the ProxyConfig or the CPU limit says.
    #[arg(long, default_value_t = 0)]
    pub concurrency: u32,
    /// Where Envoy logs outlier ejections.
    #[arg(long = "outlierLogPath", value_name = "FILE")]
    pub outlier_log_path: Option<String>,
    /// What the agent itself logs, as --log_output_level of `meltemi discovery`.
    #[arg(long = "log_output_level", value_name = "SCOPE:LEVEL", default_value = "default:info")]
    pub log_output_level: String,
    /// Log as JSON.
    #[arg(long = "log_as_json")]
    pub log_as_json: bool,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            role: "sidecar".into(),
            domain: None,
            mesh_config: "./etc/istio/config/mesh".into(),
            proxy_log_level: "warning".into(),
            proxy_component_log_level: String::new(),
            concurrency: 0,
            outlier_log_path: None,
            log_output_level: "default:info".into(),
            log_as_json: false,
        }
    }
}

impl Proxy {
    /// What kind of proxy Envoy is.
    pub fn role(&self) -> Result<Role, Error> {
        match self.role.as_str() {
            "sidecar" => Ok(Role::Sidecar),
            "router" => Ok(Role::Router),
            other => Err(Error::setting("the proxy's type", format!("is {other:?}; use sidecar or router"))),
        }
    }

    /// Envoy's log level and those of its components. Components named in --proxyLogLevel win.
    pub fn envoy_log_level(&self) -> (String, Vec<String>) {
        let owned =
            |text: &str| text.split(',').filter(|i| !i.is_empty()).map(String::from).collect::<Vec<_>>();
        let (mut components, levels): (Vec<_>, Vec<_>) =
            owned(&self.proxy_log_level).into_iter().partition(|i| i.contains(':'));
        if components.is_empty() {
            components = owned(&self.proxy_component_log_level);
        }
        (levels.last().cloned().unwrap_or_else(|| "warning".into()), components)
    }
}

/// Flags of `meltemi agent wait`.
#[derive(Clone, Debug, Args)]
pub struct Wait {
    /// What to ask until it answers 200.
    #[arg(long, default_value = "http://localhost:15021/healthz/ready")]
    pub url: String,
    /// How long one question may take, in milliseconds.
    #[arg(long = "requestTimeoutMillis", default_value_t = 500)]
    pub request_timeout_millis: u64,
    /// The time between questions, in milliseconds.
    #[arg(long = "periodMillis", default_value_t = 500)]
    pub period_millis: u64,
    /// How long to wait in all, in seconds.
    #[arg(long = "timeoutSeconds", default_value_t = 60)]
    pub timeout_seconds: u64,
}

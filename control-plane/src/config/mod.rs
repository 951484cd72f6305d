//! What the process was started with: flags and environment, read once, with notices about what has no effect.

pub mod args;
pub mod authority;
pub mod duration;
pub mod env;
pub mod features;
pub mod flags;

use clap::Parser;
use meltemi_world::Str;
use meltemi_world::snapshot::Settings;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::jwks;
pub use env::Env;
pub use flags::{Cli, Command, Discovery};

/// Everything that `meltemi discovery` was started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The flags.
    pub flags: Discovery,
    /// What translation needs to know: names, namespace, revision, switches.
    pub settings: Settings,
    /// The name of this Pod (`POD_NAME`); empty outside a cluster.
    pub pod_name: String,
    /// The revision whose objects alone are taken; none if `REVISION` is not set, which takes those of all.
    pub own_revision: Option<Str>,
    /// The ConfigMap with the mesh's configuration, in the control plane's namespace.
    pub mesh_config_map: String,
    /// A second ConfigMap that the first is laid over (`SHARED_MESH_CONFIG`).
    pub shared_mesh_config_map: Option<String>,
    /// The kubeconfig to use, if there is one.
    pub kubeconfig: Option<PathBuf>,
    /// The only namespace to watch (`ISTIO_WATCH_NAMESPACE`).
    pub watch_namespace: Option<String>,
    /// The largest request of a stream, in bytes (`ISTIO_GPRC_MAXRECVMSGSIZE`, spelled as in istiod).
    pub max_request: usize,
    /// How many streams may begin in a second (`PILOT_MAX_REQUESTS_PER_SECOND`), if that is limited.
    pub new_streams: Option<u32>,
    /// Debugging over HTTP.
    pub debug: Debug,
    /// How keys of JWT issuers are fetched.
    pub jwks: jwks::Options,
    /// The certificate authority.
    pub authority: authority::Authority,
}

/// Switches of the debug endpoints.
#[derive(Clone, Debug)]
pub struct Debug {
    /// `ENABLE_DEBUG_ON_HTTP`: serve them on --httpAddr at all.
    pub on_http: bool,
    /// `ENABLE_DEBUG_ENDPOINT_AUTH`: ask callers from other hosts who they are.
    pub auth: bool,
    /// `DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES`: namespaces that may see everything, beside the root namespace.
    pub allowed_namespaces: Vec<String>,
    /// `UNSAFE_ENABLE_ADMIN_ENDPOINTS`: serve those that disturb proxies.
    pub unsafe_admin: bool,
    /// `METRICS_LOCALHOST_ACCESS_ONLY`: refuse /metrics to other hosts.
    pub metrics_localhost_only: bool,
}

impl Config {
    /// Reads flags and environment. The second part is for the log: what was ignored, and why.
    pub fn new(flags: Discovery, env: &mut Env) -> (Self, Vec<String>) {
        let features = features::read(env);
        let own_revision: Option<Str> = filled(env.get("REVISION")).map(Str::from);
        let revision = own_revision.as_deref().unwrap_or("default").to_owned();
        let namespace = flags.namespace.clone().unwrap_or_else(|| env.text("POD_NAMESPACE", "istio-system"));
        let cluster_id = flags.cluster_id.clone().unwrap_or_else(|| env.text("CLUSTER_ID", "Kubernetes"));
        let mesh_config_map =
            if revision == "default" { "istio".to_owned() } else { format!("istio-{revision}") };
        let shared_mesh_config_map = filled(env.get("SHARED_MESH_CONFIG")).map(str::to_owned);
        let watch_namespace = filled(env.get("ISTIO_WATCH_NAMESPACE")).map(str::to_owned);
        // The chart sets KUBECONFIG to where a secret may be mounted; without that secret the file does not exist.
        let from_env = filled(env.get("KUBECONFIG")).map(PathBuf::from).filter(|p| p.exists());
        let kubeconfig = flags.kubeconfig.clone().filter(|p| !p.as_os_str().is_empty()).or(from_env);
        let debug = Debug {
            on_http: env.flag("ENABLE_DEBUG_ON_HTTP", true),
            auth: env.flag("ENABLE_DEBUG_ENDPOINT_AUTH", true),
            allowed_namespaces: list(&env.text("DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES", "")),
            unsafe_admin: env.flag("UNSAFE_ENABLE_ADMIN_ENDPOINTS", false),
            metrics_localhost_only: env.flag("METRICS_LOCALHOST_ACCESS_ONLY", false),
        };
        let settings = Settings {
            cluster_id: cluster_id.into(),
            domain: flags.domain.as_str().into(),
            namespace: namespace.into(),
            revision: revision.into(),
            secret_access_reviewed: !file_mode(&flags),
            features,
            environment: env.iter().collect(),
        };
        let jwks = jwks::Options {
            interval: env.duration("PILOT_JWT_PUB_KEY_REFRESH_INTERVAL", Duration::from_secs(20 * 60)),
            insecure: env.flag("JWKS_RESOLVER_INSECURE_SKIP_VERIFY", false),
            rules: jwks::Rules {
                blocked: env.networks("BLOCKED_CIDRS_IN_JWKS_URIS"),
                allowed: env.networks("ALLOWED_CIDRS_IN_JWKS_URIS"),
            },
        };
        let authority = authority::read(env);
        let max_request = env.number("ISTIO_GPRC_MAXRECVMSGSIZE", 4 * 1024 * 1024);
        let per_second = env.number("PILOT_MAX_REQUESTS_PER_SECOND", 0f64);
        // istiod guesses a limit where none is set, since a stream costs it a whole translation.
        let new_streams = (per_second > 0.0).then_some(per_second.ceil() as u32);
        let pod_name = env.text("POD_NAME", "");
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY"] {
            if filled(env.get(proxy)).is_some() {
                env.notice(format!(
                    "{proxy} has no effect: keys of JWT issuers are fetched from their servers"
                ));
            }
        }
        let mut notices = env.take_notices();
        let unused = env.unused();
        if !unused.is_empty() {
            notices.push(format!("environment variables without effect on Meltemi: {}", unused.join(", ")));
        }
        let config = Self {
            flags,
            settings,
            pod_name,
            own_revision,
            mesh_config_map,
            shared_mesh_config_map,
            kubeconfig,
            watch_namespace,
            max_request,
            new_streams,
            debug,
            jwks,
            authority,
        };
        (config, notices)
    }

    /// Whether everything is read from files, and no cluster is needed.
    pub fn file_mode(&self) -> bool {
        file_mode(&self.flags)
    }
}

fn file_mode(flags: &Discovery) -> bool {
    flags.registries.iter().any(|r| r.eq_ignore_ascii_case("File"))
        || (flags.config_dir.is_some() && flags.registries.iter().all(|r| r.is_empty() || r == "Mock"))
}

/// Reads the command line. Unknown flags of `discovery` are left out and named in the second part.
///
/// # Errors
/// If it cannot be read; the error prints itself, with a usage, and knows its exit code (0 for `--help`).
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Cli, Vec<String>), clap::Error> {
    let (args, unknown) = args::known(args);
    Ok((Cli::try_parse_from(args)?, unknown))
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|t| !t.is_empty())
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str], env: &[(&str, &str)]) -> (Config, Vec<String>) {
        let args = ["meltemi", "discovery"].iter().chain(args).map(OsString::from);
        let (cli, _) = parse(args).unwrap();
        let Command::Discovery(flags) = cli.command else { panic!("not discovery") };
        Config::new(*flags, &mut Env::of(env.iter().copied()))
    }

    #[test]
    fn the_charts_arguments_are_taken() {
        let (config, notices) = config(
            &[
                "--monitoringAddr=:15014",
                "--log_output_level=default:info",
                "--domain",
                "cluster.local",
                "--keepaliveMaxServerConnectionAge",
                "30m",
            ],
            &[
                ("REVISION", "default"),
                ("POD_NAMESPACE", "mesh"),
                ("KUBECONFIG", "/nowhere"),
                ("CLUSTER_ID", "c1"),
            ],
        );
        assert_eq!(&*config.settings.namespace, "mesh");
        assert_eq!(&*config.settings.cluster_id, "c1");
        assert_eq!(config.mesh_config_map, "istio");
        assert_eq!(config.kubeconfig, None);
        assert!(!config.file_mode());
        assert_eq!(notices, Vec::<String>::new());
    }

    #[test]
    fn file_mode_and_servers_that_are_off() {
        let (config, _) = config(
            &["--registries", "File", "--configDir", "d", "--grpcAddr", "", "--httpsAddr="],
            &[("REVISION", "canary")],
        );
        assert!(config.file_mode());
        assert_eq!((config.flags.grpc_addr.as_str(), config.flags.https_addr.as_str()), ("", ""));
        assert_eq!(config.mesh_config_map, "istio-canary");
    }

    #[test]
    fn a_variable_that_has_no_effect_is_named() {
        let (_, notices) = config(&[], &[("PILOT_SOMETHING", "1")]);
        assert!(notices[0].contains("PILOT_SOMETHING"), "{notices:?}");
    }

    #[test]
    fn a_bad_value_of_a_known_flag_is_an_error() {
        let args = ["meltemi", "discovery", "--shutdownDuration", "soon"].map(OsString::from);
        let error = parse(args).unwrap_err().to_string();
        assert!(error.contains("shutdownDuration") && error.contains("write it like"), "{error}");
    }
}

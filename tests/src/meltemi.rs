//! The control plane under test.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use crate::{
    http,
    netns::{HUB, Network, Place},
    ports,
    process::{Launch, Process},
    setup, wait,
};

/// Where the control plane reads the state of the cluster.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder of YAML files, and the mesh configuration.
    Files {
        /// The folder.
        dir: PathBuf,
        /// YAML of the mesh configuration.
        mesh: String,
    },
    /// An apiserver, by a kubeconfig. The mesh configuration is its ConfigMap `istio`.
    Kubernetes(PathBuf),
}

/// A running control plane, without TLS.
#[derive(Debug)]
pub struct Meltemi {
    /// Its process.
    pub process: Process,
    /// Where it serves xDS in clear.
    pub grpc: SocketAddr,
    /// Where it serves readiness and debug pages.
    pub http: SocketAddr,
    place: Place,
}

impl Meltemi {
    /// Starts it on the host's loopback address and waits until it is ready.
    pub async fn start(source: &Source, dir: &Path) -> Result<Self> {
        let mut meltemi = Self::launch(source, dir)?;
        meltemi.ready().await?;
        Ok(meltemi)
    }

    /// Starts it on the host's loopback address.
    pub fn launch(source: &Source, dir: &Path) -> Result<Self> {
        Self::launch_with(source, dir, &[])
    }

    /// Starts it on the host's loopback address with environment variables, and waits until it is ready.
    pub async fn start_with(source: &Source, dir: &Path, env: &[(&str, &str)]) -> Result<Self> {
        let mut meltemi = Self::launch_with(source, dir, env)?;
        meltemi.ready().await?;
        Ok(meltemi)
    }

    fn launch_with(source: &Source, dir: &Path, env: &[(&str, &str)]) -> Result<Self> {
        let [grpc, http] = ports::free()?;
        Self::launch_at(source, dir, env, &Place::host(), grpc, http)
    }

    /// Starts it in the hub of a network, at the ports of istiod, and waits until it is ready.
    pub async fn start_in(network: &Network, source: &Source, dir: &Path) -> Result<Self> {
        let mut meltemi =
            Self::launch_at(source, dir, &[], network.hub(), (HUB, 15010).into(), (HUB, 8080).into())?;
        meltemi.ready().await?;
        Ok(meltemi)
    }

    /// Starts it in the hub of a network on an apiserver's data, with TLS at port 15012, and waits until it is ready.
    pub async fn start_secure_in(network: &Network, kubeconfig: &Path, dir: &Path) -> Result<Self> {
        let secure = ["--secureGRPCAddr".to_string(), SocketAddr::from((HUB, 15012)).to_string()];
        let source = Source::Kubernetes(kubeconfig.into());
        let at = [(HUB, 15010).into(), (HUB, 8080).into()];
        let mut meltemi = Self::launch_more(&source, dir, &[], network.hub(), at, &secure)?;
        meltemi.ready().await?;
        Ok(meltemi)
    }

    /// Starts it on the host's loopback address with TLS and a certificate authority, and waits until it is ready.
    /// Returns where TLS is served, too.
    pub async fn start_secure(
        source: &Source,
        dir: &Path,
        env: &[(&str, &str)],
    ) -> Result<(Self, SocketAddr)> {
        let [grpc, http, at] = ports::free()?;
        let secure = ["--secureGRPCAddr".to_string(), at.to_string()];
        let mut meltemi = Self::launch_more(source, dir, env, &Place::host(), [grpc, http], &secure)?;
        meltemi.ready().await?;
        Ok((meltemi, at))
    }

    /// Waits until it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        wait::until_true("the control plane is ready", Duration::from_secs(20), async || {
            self.process.check()?;
            Ok(self.get("/ready").await?.status.is_success())
        })
        .await
    }

    fn launch_at(
        source: &Source,
        dir: &Path,
        env: &[(&str, &str)],
        place: &Place,
        grpc: SocketAddr,
        http: SocketAddr,
    ) -> Result<Self> {
        let off = ["--secureGRPCAddr".to_string(), String::new()];
        Self::launch_more(source, dir, env, place, [grpc, http], &off)
    }

    fn launch_more(
        source: &Source,
        dir: &Path,
        env: &[(&str, &str)],
        place: &Place,
        [grpc, http]: [SocketAddr; 2],
        more: &[String],
    ) -> Result<Self> {
        let mut args: Vec<OsString> = vec!["discovery".into()];
        match source {
            Source::Files { dir: state, mesh } => {
                let file = dir.join("mesh.yaml");
                fs::write(&file, mesh)?;
                args.extend(["--registries".into(), "File".into(), "--configDir".into(), state.into()]);
                args.extend(["--meshConfig".into(), file.into()]);
            }
            Source::Kubernetes(kubeconfig) => args.extend(["--kubeconfig".into(), kubeconfig.into()]),
        }
        let launch = env.iter().fold(Launch::new("meltemi", setup::meltemi()?), |l, (k, v)| l.env(k, v));
        let process = launch
            .args(args)
            .args(["--grpcAddr".to_string(), grpc.to_string(), "--httpAddr".into(), http.to_string()])
            .args(["--httpsAddr", "", "--monitoringAddr", ""])
            .args(more)
            .env("POD_NAME", "istiod-0")
            .env("POD_NAMESPACE", "istio-system")
            .env("CLUSTER_ID", "Kubernetes")
            .env("REVISION", "default")
            .at(place)
            .start(dir)?;
        Ok(Self { process, grpc, http, place: place.clone() })
    }

    /// `GET path` of its debug pages.
    pub async fn get(&self, path: &str) -> Result<http::Answer> {
        http::get(&self.place, self.http, path).await
    }
}

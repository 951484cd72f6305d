//! The control plane under test.

use std::{
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
    /// A folder of YAML files.
    Files(PathBuf),
    /// An apiserver, by a kubeconfig.
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
    /// Starts it on the host's loopback address and waits until it is ready. `mesh` is the mesh configuration.
    pub async fn start(source: &Source, mesh: &str, dir: &Path) -> Result<Self> {
        let [grpc, http] = ports::free()?;
        Self::launch(source, mesh, dir, &Place::host(), grpc, http).await
    }

    /// Starts it in the hub of a network, at the ports of istiod, and waits until it is ready.
    pub async fn start_in(network: &Network, source: &Source, mesh: &str, dir: &Path) -> Result<Self> {
        Self::launch(source, mesh, dir, network.hub(), (HUB, 15010).into(), (HUB, 8080).into()).await
    }

    async fn launch(
        source: &Source,
        mesh: &str,
        dir: &Path,
        place: &Place,
        grpc: SocketAddr,
        http: SocketAddr,
    ) -> Result<Self> {
        let mesh_file = dir.join("mesh.yaml");
        fs::write(&mesh_file, mesh)?;
        let source: [String; 4] = match source {
            Source::Files(dir) => {
                ["--registries".into(), "File".into(), "--configDir".into(), dir.display().to_string()]
            }
            Source::Kubernetes(kubeconfig) => [
                "--registries".into(),
                "Kubernetes".into(),
                "--kubeconfig".into(),
                kubeconfig.display().to_string(),
            ],
        };
        let mut process = Launch::new("meltemi", setup::meltemi()?)
            .args(["discovery".to_string()])
            .args(source)
            .args(["--meshConfig".to_string(), mesh_file.display().to_string()])
            .args(["--grpcAddr".to_string(), grpc.to_string(), "--httpAddr".into(), http.to_string()])
            .args(["--httpsAddr", "", "--secureGRPCAddr", "", "--monitoringAddr", ""])
            .env("POD_NAME", "istiod-0")
            .env("POD_NAMESPACE", "istio-system")
            .env("CLUSTER_ID", "Kubernetes")
            .env("REVISION", "default")
            .at(place)
            .start(dir)?;
        wait::until_true("the control plane is ready", Duration::from_secs(20), async || {
            process.check()?;
            Ok(http::get(place, http, "/ready").await?.status.is_success())
        })
        .await?;
        Ok(Self { process, grpc, http, place: place.clone() })
    }

    /// `GET path` of its debug pages.
    pub async fn get(&self, path: &str) -> Result<http::Answer> {
        http::get(&self.place, self.http, path).await
    }
}

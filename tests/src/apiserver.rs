//! A real etcd and a real kube-apiserver on the loopback address, as two processes that fail separately.
//!
//! No controller runs beside them: what a cluster's controllers would add (EndpointSlices, Pods of a Deployment,
//! endpoints of the Service `kubernetes`) is there only if a test writes it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{
    http,
    netns::Place,
    ports,
    process::{Launch, Process},
    scratch::Scratch,
    setup, wait,
};

/// The token of a user who may do everything.
pub const ADMIN_TOKEN: &str = "admin-token";

/// A running kube-apiserver and its etcd.
#[derive(Debug)]
pub struct ApiServer {
    server: Option<Process>,
    etcd: Process,
    etcd_address: SocketAddr,
    address: SocketAddr,
    program: PathBuf,
    kubeconfig: PathBuf,
    scratch: Scratch,
}

impl ApiServer {
    /// Starts both, empty, and waits until the apiserver is ready.
    pub async fn start() -> Result<Self> {
        let programs = setup::cluster()?;
        let scratch = Scratch::new()?;
        let [address, etcd_address, peer] = ports::free()?;
        let etcd = start_etcd(&programs, &scratch, etcd_address, peer).await?;
        fs::write(scratch.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,1,\"system:masters\"\n"))?;
        let key = rcgen::KeyPair::generate()?;
        fs::write(scratch.join("service-accounts.key"), key.serialize_pem())?;
        fs::write(scratch.join("service-accounts.pub"), key.public_key_pem())?;
        let kubeconfig = scratch.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_text(address, &scratch.join("certs/apiserver.crt")))?;
        let program = programs.join("kube-apiserver");
        let mut this = Self { server: None, etcd, etcd_address, address, program, kubeconfig, scratch };
        this.bring_up().await?;
        Ok(this)
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client of a user who may do everything.
    pub async fn client(&self) -> Result<Client> {
        self.client_of(self.address).await
    }

    async fn client_of(&self, address: SocketAddr) -> Result<Client> {
        let mut config = Kubeconfig::read_from(&self.kubeconfig)?;
        for cluster in config.clusters.iter_mut().filter_map(|c| c.cluster.as_mut()) {
            cluster.server = Some(format!("https://{address}"));
        }
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Ends the apiserver as a crash would. etcd keeps the data.
    pub fn kill(&mut self) -> Result<()> {
        match self.server.take() {
            Some(mut server) => server.kill(),
            None => Ok(()),
        }
    }

    /// Starts the apiserver on the same port and data, and waits until it is ready.
    pub async fn bring_up(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the apiserver is running");
        self.server = Some(self.serve(self.address, "kube-apiserver").await?);
        Ok(())
    }

    /// Starts one more apiserver on the same data, to change it while the first is down.
    pub async fn beside(&self) -> Result<Beside> {
        let [address] = ports::free()?;
        let server = self.serve(address, "kube-apiserver-beside").await?;
        let client = self.client_of(address).await?;
        Ok(Beside { client, _server: server })
    }

    /// Compacts etcd to its present revision: a watch from before then fails with 410 Gone.
    pub async fn compact(&self) -> Result<i64> {
        let host = Place::host();
        let key = json!({ "key": "AA==" }).to_string();
        let range = http::post(&host, self.etcd_address, "/v3/kv/range", key).await?.json()?;
        // etcd prints 64-bit numbers as strings, as protobuf JSON does.
        let revision: i64 = range["header"]["revision"].as_str().context("etcd told no revision")?.parse()?;
        let order = json!({ "revision": revision.to_string(), "physical": true }).to_string();
        http::post(&host, self.etcd_address, "/v3/kv/compaction", order).await?.text()?;
        Ok(revision)
    }

    /// The process of etcd.
    pub fn etcd(&mut self) -> &mut Process {
        &mut self.etcd
    }

    async fn serve(&self, address: SocketAddr, name: &str) -> Result<Process> {
        let dir = self.scratch.path();
        let key = dir.join("service-accounts");
        let args = [
            format!("--etcd-servers=http://{}", self.etcd_address),
            format!("--secure-port={}", address.port()),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            format!("--cert-dir={}", dir.join("certs").display()),
            format!("--token-auth-file={}", dir.join("tokens.csv").display()),
            "--authorization-mode=RBAC".into(),
            format!("--service-account-key-file={}.pub", key.display()),
            format!("--service-account-signing-key-file={}.key", key.display()),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            "--api-audiences=https://kubernetes.default.svc,istio-ca".into(),
            "--service-cluster-ip-range=10.96.0.0/12".into(),
            // Nothing makes service accounts here, and Pods of a state name ones that don't exist.
            "--disable-admission-plugins=ServiceAccount".into(),
            "--endpoint-reconciler-type=none".into(),
            "--allow-privileged=true".into(),
        ];
        let mut server = Launch::new(name, &self.program).args(args).start(dir)?;
        wait::until_true("kube-apiserver is ready", Duration::from_secs(120), async || {
            server.check()?;
            // Made anew each time: the certificate is there only once the server has written it.
            let request = axum::http::Request::get("/readyz").body(Vec::new())?;
            Ok(self.client_of(address).await?.request_text(request).await? == "ok")
        })
        .await?;
        Ok(server)
    }
}

/// One more apiserver on the same data.
pub struct Beside {
    /// A client of a user who may do everything.
    pub client: Client,
    _server: Process,
}

async fn start_etcd(
    programs: &Path,
    scratch: &Scratch,
    client: SocketAddr,
    peer: SocketAddr,
) -> Result<Process> {
    let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
    let mut etcd = Launch::new("etcd", programs.join("etcd"))
        .args([
            format!("--data-dir={}", scratch.join("etcd").display()),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            "--unsafe-no-fsync".into(),
            "--log-level=error".into(),
        ])
        .start(scratch.path())?;
    wait::until_true("etcd is healthy", Duration::from_secs(30), async || {
        etcd.check()?;
        Ok(http::get(&Place::host(), client, "/health").await?.json()?["health"] == "true")
    })
    .await?;
    Ok(etcd)
}

fn kubeconfig_text(address: SocketAddr, certificate: &Path) -> String {
    let config: Value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "users": [{"name": "admin", "user": {"token": ADMIN_TOKEN}}],
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://{address}"), "certificate-authority": certificate,
        }}],
    });
    // JSON is YAML.
    config.to_string()
}

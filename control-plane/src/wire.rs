//! Puts the parts together: from flags to a control plane that runs until it is told to stop.

use anyhow::{Result, bail};
use meltemi_api::envoy::config::core::v3::Node;
use meltemi_server::engine::Engine;
use meltemi_server::{Ads, Options, Peer, ProxyHandle, Registry, Rejection, Source, plaintext, serve_on};
use meltemi_world::{ChangeSet, NsName, Snapshot};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::config::{Config, Discovery, Env};
use crate::controllers::addresses;
use crate::identity::{Identity, Inputs};
use crate::jwks::{self, Settled};
use crate::metrics::Metrics;
use crate::patches::FailedPatches;
use crate::secrets::{self, Warden};
use crate::serve::debug::Pages;
use crate::serve::{http, listen};
use crate::sources::files::Files;
use crate::sources::mesh::{Layer, MeshInputs};
use crate::sources::{Batches, Part, kube};
use crate::store::{self, Publisher};
use crate::version::BUILD;

/// Runs `meltemi discovery` until SIGTERM or SIGINT. `unknown` are the flags that were left out.
///
/// # Errors
/// If it cannot start: an address is taken, a folder does not exist, a kubeconfig cannot be read.
pub async fn discovery(flags: Discovery, unknown: Vec<String>) -> Result<()> {
    let (_levels, problems) = crate::log::start(&flags);
    let (config, notices) = Config::new(flags, &mut Env::of_process());
    tracing::info!(version = %BUILD, revision = &*config.settings.revision, "starting");
    for flag in unknown {
        tracing::warn!("unknown flag --{flag} is ignored");
    }
    for notice in problems.into_iter().chain(notices) {
        tracing::warn!("{notice}");
    }
    run(config, stop_signal()?).await
}

/// Runs a control plane until `stop` resolves.
///
/// # Errors
/// If it cannot start.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<()> {
    let metrics = Metrics::new();
    let patches = FailedPatches::new(metrics.clone());
    let (warden, accounts) = Warden::new(metrics.clone(), patches.clone());
    let engine = Engine::new(Arc::new(Snapshot::empty(config.settings.clone())));
    let engine = Arc::new(engine.attended(Arc::new(warden)));
    let registry = Arc::new(Registry::new());
    let parts = if config.file_mode() { vec![Part::Files, Part::Mesh] } else { kube::parts() };
    let (newest, snapshots) = watch::channel(None);
    let publisher = ToEngine { engine: engine.clone(), newest };
    let first = Snapshot::empty(config.settings.clone());
    let (store, batches, world) = store::new(first, parts, publisher, metrics.clone());
    std::thread::Builder::new().name("store".into()).spawn(|| store.run())?;
    let stopping = CancellationToken::new();
    let _stop_sources = stopping.clone().drop_guard();
    let keys = jwks::start(config.jwks.clone(), snapshots.clone(), batches.clone(), metrics.clone())?;
    let client = match config.file_mode() {
        true => None,
        false => Some(kube::connect(config.kubeconfig.as_deref()).await?),
    };
    if let Some(client) = client.clone() {
        addresses::start(client.clone(), &config.settings.features, snapshots.clone())?;
        tokio::spawn(secrets::review(client, accounts, registry.clone(), batches.clone()));
    }
    // Without a port that proves identities there is nobody to prove them to.
    let identity = (!config.flags.secure_grpc_addr.is_empty()).then(|| {
        let (world, batches, metrics) = (world.clone(), batches.clone(), metrics.clone());
        Identity::start(&config, Inputs { client, world, snapshots, batches, metrics })
    });
    sources(&config, batches, stopping).await?;
    let look = http::Look {
        world,
        metrics,
        proxies: registry,
        patches,
        keys,
        authority: identity.as_ref().map(|i| i.state().clone()).filter(|_| config.authority.enabled),
        switches: Arc::new(config.debug.clone()),
    };
    servers(&config, engine, look, identity, stop).await
}

async fn sources(config: &Config, batches: Batches, stop: CancellationToken) -> Result<()> {
    let shared = config.shared_mesh_config_map.is_some() && !config.file_mode();
    let layers = [Layer::File, Layer::Own].into_iter().chain(shared.then_some(Layer::Shared));
    let inputs = MeshInputs::new(layers, batches.clone());
    let dir = config.flags.config_dir.clone();
    let folder = match (config.file_mode(), dir) {
        (true, None) => bail!("--registries File wants --configDir, the folder to read"),
        (true, dir) => dir,
        (false, _) => None,
    };
    let files = Files {
        folder,
        mesh: config.flags.mesh_config.clone(),
        networks: config.flags.networks_config.clone(),
        config_map: NsName::new(config.settings.namespace.clone(), config.mesh_config_map.as_str()),
        inputs: inputs.clone(),
        batches: batches.clone(),
    };
    files.start()?;
    if config.file_mode() {
        return Ok(());
    }
    let options = kube::Options {
        kubeconfig: config.kubeconfig.clone(),
        own_namespace: config.settings.namespace.clone(),
        watch_namespace: config.watch_namespace.clone(),
        revision: config.own_revision.clone(),
        config_map: config.mesh_config_map.clone(),
        shared_config_map: config.shared_mesh_config_map.clone(),
    };
    kube::start(options, batches, inputs, stop).await
}

async fn servers(
    config: &Config,
    engine: Arc<Engine>,
    look: http::Look,
    identity: Option<Identity>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let flags = &config.flags;
    let options = Options {
        max_age: flags.keepalive_max_server_connection_age,
        max_request: config.max_request,
        new_streams: config.new_streams,
    };
    let source = Served { engine, keys: look.keys.clone() };
    let ads = Ads::new(Arc::new(source), look.proxies.clone())
        .limited(options)
        .observed(Arc::new(look.metrics.clone()))
        .special(Arc::new(Pages::new(look.clone(), &config.pod_name)));
    let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
    if let Some(listener) = listen::on("--httpAddr", &flags.http_addr).await? {
        let router = http::main(&look, flags.monitoring_addr.is_empty());
        tasks.spawn(http::serve(listener, router, closing.clone()));
    }
    if let Some(listener) = listen::on("--monitoringAddr", &flags.monitoring_addr).await? {
        tasks.spawn(http::serve(listener, http::monitoring(&look), closing.clone()));
    }
    if let Some(listener) = listen::on("--grpcAddr", &flags.grpc_addr).await? {
        let (routes, closing) = (Routes::new(ads.clone()), closing.clone());
        tasks.spawn(async move {
            if let Err(error) = serve_on(plaintext(listener), routes, closing.cancelled_owned()).await {
                tracing::error!(%error, "the xDS server ended");
            }
        });
    }
    if let (Some(identity), Some(listener)) =
        (identity, listen::on("--secureGRPCAddr", &flags.secure_grpc_addr).await?)
    {
        let (ads, closing) = (ads.clone(), closing.clone());
        tasks.spawn(async move { identity.serve(listener, ads, closing).await });
    }
    if !flags.https_addr.is_empty() {
        tracing::warn!(
            "--httpsAddr: nothing is served on {} yet, since there are no webhooks here",
            flags.https_addr
        );
    }
    stop.await;
    tracing::info!("stopping");
    ads.close();
    closing.cancel();
    tasks.close();
    if tokio::time::timeout(flags.shutdown_duration, tasks.wait()).await.is_err() {
        tracing::warn!(after = ?flags.shutdown_duration, "some connections had to be cut off");
    }
    Ok(())
}

/// Resolves once the process is told to stop.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Hands snapshots to the engine, and to whoever fetches what they refer to.
struct ToEngine {
    engine: Arc<Engine>,
    newest: watch::Sender<Option<Arc<Snapshot>>>,
}

impl Publisher for ToEngine {
    fn publish(&self, snapshot: Arc<Snapshot>, changes: ChangeSet, since: Instant) {
        self.engine.publish(snapshot.clone(), changes, since);
        self.newest.send_replace(Some(snapshot));
    }
}

/// The engine, once keys of JWT issuers were asked for: proxies that have some must not lose them to a restart.
struct Served {
    engine: Arc<Engine>,
    keys: Settled,
}

impl Source for Served {
    fn ready(&self) -> bool {
        self.engine.ready() && self.keys.get()
    }

    fn open(&self, node: &Node, peer: &Peer) -> Result<Arc<dyn ProxyHandle>, Rejection> {
        self.engine.open(node, peer)
    }
}

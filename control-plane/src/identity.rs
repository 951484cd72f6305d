//! What proves identities: the certificate authority, the checks of callers, and the port that both are served on.

use kube::Client;
use meltemi_api::istio::v1::auth::istio_certificate_service_server::IstioCertificateServiceServer;
use meltemi_server::{Ads, serve_on};
use meltemi_world::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::authenticate::{Authenticators, Cluster, Reviews};
use crate::authority::serving::{self, Serving};
use crate::authority::{ISTIOD, Keeper, State, Storage};
use crate::config::Config;
use crate::controllers::root_maps::{Content, Maps};
use crate::metrics::Metrics;
use crate::serve::certificates::{Certificates, MAX_REQUEST};
use crate::serve::secure::secured;
use crate::sources::Batches;
use crate::store;

/// The snapshots of the store, newest last.
pub type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// What the rest of the process gives.
pub struct Inputs {
    /// The cluster, if there is one.
    pub client: Option<Client>,
    /// The world.
    pub world: Arc<store::Shared>,
    /// Its snapshots.
    pub snapshots: Snapshots,
    /// The way to the store.
    pub batches: Batches,
    /// What is counted.
    pub metrics: Metrics,
}

/// The parts, once they run.
pub struct Identity {
    state: State,
    callers: Authenticators,
    certificates: Option<Certificates>,
    xds_auth: bool,
}

impl Identity {
    /// Starts what is wanted. The authority signs once the first snapshot stands, since that tells the trust domain.
    pub fn start(config: &Config, inputs: Inputs) -> Self {
        let settings = &config.authority;
        let state = State::new(settings);
        let reviews = inputs.client.clone().map(|c| Arc::new(Reviews::new(c, settings.audiences.clone())));
        let callers = Authenticators::new(inputs.world.clone(), reviews, cluster(config));
        let serving = serving_of(config, state.clone());
        let names = Names::of(config);
        let (mut snapshots, place) = (inputs.snapshots.clone(), state.serving.clone());
        tokio::spawn(async move {
            let Ok(first) = snapshots.wait_for(Option::is_some).await.map(|s| s.clone()) else { return };
            let Some(snapshot) = first else { return };
            drop(snapshots);
            Serving { names: names.in_mesh(&snapshot), ..serving }.run(place).await;
        });
        let certificates = settings.enabled.then(|| {
            let (callers, world) = (callers.clone(), inputs.world.clone());
            let accounts = Arc::new(settings.node_accounts.clone());
            Certificates::new(state.clone(), callers, world, accounts, inputs.metrics.clone())
        });
        if settings.enabled || settings.provider == ISTIOD {
            start_authority(config, &state, inputs);
        }
        Self { state, callers, certificates, xds_auth: settings.xds_auth }
    }

    /// The authority, for readiness and debugging.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Serves xDS and certificates to those who prove who they are, until `closing`.
    pub async fn serve(&self, listener: TcpListener, ads: Ads, closing: CancellationToken) {
        let ads = if self.xds_auth { ads.authenticated(Arc::new(self.callers.clone())) } else { ads };
        let mut routes = Routes::new(ads);
        if let Some(certificates) = self.certificates.clone() {
            let service = IstioCertificateServiceServer::new(certificates);
            routes = routes.add_service(service.max_decoding_message_size(MAX_REQUEST));
        }
        let connections = secured(listener, self.state.serving.clone());
        if let Err(error) = serve_on(connections, routes, closing.cancelled_owned()).await {
            tracing::error!(%error, "the secure xDS server ended");
        }
    }
}

fn start_authority(config: &Config, state: &State, inputs: Inputs) {
    let settings = &config.authority;
    let keeper = Keeper {
        state: state.clone(),
        settings: settings.clone(),
        namespace: config.settings.namespace.clone(),
        storage: Storage::new(inputs.client.clone(), &config.settings.namespace),
        batches: inputs.batches,
        metrics: inputs.metrics,
    };
    tokio::spawn(keeper.run(inputs.snapshots.clone()));
    let Some(client) = inputs.client else { return };
    let maps = [(Some(&settings.root_map), Content::Roots), (settings.crl_map.as_ref(), Content::Revoked)];
    for (name, content) in maps.into_iter().filter_map(|(name, content)| Some((name?.clone(), content))) {
        let maps = Maps { client: client.clone(), name, content, only: config.watch_namespace.clone() };
        tokio::spawn(maps.run(state.clone(), inputs.snapshots.clone()));
    }
}

fn cluster(config: &Config) -> Cluster {
    let aliases = config.flags.cluster_aliases.iter().filter_map(|text| text.split_once('='));
    let aliases: BTreeMap<_, _> = aliases.map(|(a, b)| (a.trim().to_owned(), b.trim().to_owned())).collect();
    Cluster { name: config.settings.cluster_id.to_string(), aliases }
}

fn serving_of(config: &Config, state: State) -> Serving {
    let flags = &config.flags;
    Serving {
        state,
        names: Vec::new(),
        lifetime: config.authority.root_lifetime,
        signed: config.authority.provider == ISTIOD,
        files: flags.tls_cert_file.clone().zip(flags.tls_key_file.clone()),
        client_roots: flags.ca_cert_file.clone(),
        only_newest: flags.tls_min_version == "1.3",
        suites: flags.tls_cipher_suites.clone(),
    }
}

/// What the names of the control plane follow from.
struct Names {
    namespace: String,
    revision: String,
    custom: Vec<String>,
}

impl Names {
    fn of(config: &Config) -> Self {
        Self {
            namespace: config.settings.namespace.to_string(),
            revision: config.settings.revision.to_string(),
            custom: config.authority.custom_hosts.clone(),
        }
    }

    fn in_mesh(&self, snapshot: &Snapshot) -> Vec<String> {
        let default = snapshot.mesh.default_config.as_ref();
        let address = default.map_or("", |c| c.discovery_address.as_str());
        serving::names(&self.namespace, &self.revision, address, &self.custom)
    }
}

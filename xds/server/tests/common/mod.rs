//! A source whose resources are set by hand, a server on it, and clients that speak either protocol.
#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meltemi_api::envoy::config::core::v3::Node;
use meltemi_api::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use meltemi_api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_api::google::rpc;
use meltemi_distribution::version_text;
use meltemi_server::{
    Ads, Peer, ProxyHandle, Registry, Rejection, Resource, ResourceSet, Resources, Source, Subscription,
    Update, View, plaintext, serve_on,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

pub use meltemi_distribution::type_url::{
    CLUSTER as CDS, ENDPOINT as EDS, EXTENSION_CONFIG as ECDS, LISTENER as LDS, ROUTE as RDS, SECRET as SDS,
};

pub const NODE: &str = "sidecar~10.0.0.1~app.default~default.svc.cluster.local";

/// A resource whose version stands for its body.
pub fn resource(name: &str, version: u64, size: usize) -> Arc<Resource> {
    Arc::new(Resource { name: name.into(), version, body: vec![version as u8; size].into() })
}

#[derive(Clone, Default)]
pub struct World {
    generation: u64,
    types: BTreeMap<String, Resources>,
}

impl World {
    /// Puts resources of a type in place.
    pub fn set(&mut self, type_url: &str, resources: &[(&str, u64)]) {
        self.put(type_url, resources.iter().map(|(name, version)| resource(name, *version, 10)).collect());
    }

    pub fn put(&mut self, type_url: &str, resources: Vec<Arc<Resource>>) {
        let set = self.types.entry(type_url.to_owned()).or_default();
        *set = Arc::new(set.with(resources, &[]));
    }

    /// No longer serves a type.
    pub fn withdraw(&mut self, type_url: &str) {
        self.types.remove(type_url);
    }

    pub fn remove(&mut self, type_url: &str, names: &[&str]) {
        let names: Vec<Arc<str>> = names.iter().map(|n| Arc::from(*n)).collect();
        let set = self.types.entry(type_url.to_owned()).or_default();
        *set = Arc::new(set.with(ResourceSet::default().iter().cloned(), &names));
    }

    pub fn get(&self, type_url: &str) -> Resources {
        self.types.get(type_url).cloned().unwrap_or_default()
    }
}

impl View for World {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn resources(&self, type_url: &str, _: &Subscription) -> Option<Resources> {
        self.types.get(type_url).cloned()
    }
}

pub struct Fake {
    world: Mutex<Arc<World>>,
    updates: watch::Sender<Update>,
    /// How often a view was taken.
    pub views: AtomicUsize,
    pub ready: AtomicBool,
}

impl Fake {
    /// Changes the world and tells the streams.
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        let generation = {
            let mut world = self.world.lock().unwrap();
            let mut next = World::clone(&world);
            next.generation += 1;
            change(&mut next);
            let generation = next.generation;
            *world = Arc::new(next);
            generation
        };
        self.updates.send_replace(Update { generation, since: Instant::now() });
    }

    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.lock().unwrap())
    }
}

struct Handle(Arc<Fake>);

impl ProxyHandle for Handle {
    fn updates(&self) -> watch::Receiver<Update> {
        self.0.updates.subscribe()
    }

    fn view(&self) -> Arc<dyn View> {
        self.0.views.fetch_add(1, Ordering::Relaxed);
        self.0.world()
    }
}

struct FakeSource(Arc<Fake>);

impl Source for FakeSource {
    fn ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    fn open(&self, node: &Node, _: &Peer) -> Result<Arc<dyn ProxyHandle>, Rejection> {
        if node.id.split('~').count() != 4 {
            return Err(Rejection::Malformed(format!("node id {:?} has not four parts", node.id)));
        }
        Ok(Arc::new(Handle(Arc::clone(&self.0))))
    }
}

/// A running server.
pub struct Server {
    pub fake: Arc<Fake>,
    pub registry: Arc<Registry>,
    pub ads: Ads,
    stop: CancellationToken,
    address: String,
}

impl Server {
    /// Starts with a world.
    pub async fn start(build: impl FnOnce(&mut World)) -> Self {
        Self::start_with(build, |ads| ads).await
    }

    pub async fn start_with(build: impl FnOnce(&mut World), adapt: impl FnOnce(Ads) -> Ads) -> Self {
        let mut world = World { generation: 1, ..World::default() };
        for url in [CDS, EDS, LDS, RDS, SDS, ECDS] {
            world.put(url, Vec::new());
        }
        build(&mut world);
        let (updates, _) = watch::channel(Update { generation: 1, since: Instant::now() });
        let fake = Arc::new(Fake {
            world: Mutex::new(Arc::new(world)),
            updates,
            views: AtomicUsize::new(0),
            ready: AtomicBool::new(true),
        });
        let registry = Arc::new(Registry::new());
        let ads = adapt(Ads::new(Arc::new(FakeSource(Arc::clone(&fake))), Arc::clone(&registry)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let routes = Routes::new(ads.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(serve_on(plaintext(listener), routes, async move { stopped.cancelled().await }));
        Self { fake, registry, ads, stop, address }
    }

    /// Serves at that address as well, as soon as it is free.
    pub async fn also_at(self, address: std::net::SocketAddr) -> Self {
        let listener = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let stop = self.stop.clone();
        let routes = Routes::new(self.ads.clone());
        tokio::spawn(serve_on(plaintext(listener), routes, async move { stop.cancelled().await }));
        self
    }

    /// Ends all streams and stops listening.
    pub fn stop(&self) {
        self.stop.cancel();
        self.ads.close();
    }

    async fn client(&self) -> AggregatedDiscoveryServiceClient<Channel> {
        // A small window, so that a client that does not read is noticed soon.
        let endpoint =
            Endpoint::from_shared(self.address.clone()).unwrap().initial_stream_window_size(Some(65_535));
        let channel = endpoint.connect().await.unwrap();
        AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(usize::MAX)
    }

    pub async fn delta(&self) -> Delta {
        let (requests, outgoing) = mpsc::channel(64);
        let responses = self.client().await.delta_aggregated_resources(ReceiverStream::new(outgoing)).await;
        Delta { requests, responses: responses.unwrap().into_inner(), named: false }
    }

    /// How a delta stream is refused.
    pub async fn refused(&self) -> Status {
        let requests = tokio_stream::pending::<DeltaDiscoveryRequest>();
        self.client().await.delta_aggregated_resources(requests).await.expect_err("a refusal")
    }

    pub async fn sotw(&self) -> Sotw {
        let (requests, outgoing) = mpsc::channel(64);
        let responses = self.client().await.stream_aggregated_resources(ReceiverStream::new(outgoing)).await;
        Sotw { requests, responses: responses.unwrap().into_inner(), named: false }
    }
}

pub fn node() -> Node {
    Node { id: NODE.into(), ..Node::default() }
}

pub fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

const SOON: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(150);

/// A client of the delta protocol.
pub struct Delta {
    pub requests: mpsc::Sender<DeltaDiscoveryRequest>,
    pub responses: Streaming<DeltaDiscoveryResponse>,
    named: bool,
}

impl Delta {
    /// Sends a request, with the node if it is the first.
    pub async fn send(&mut self, mut request: DeltaDiscoveryRequest) {
        if !std::mem::replace(&mut self.named, true) {
            request.node = Some(node());
        }
        self.requests.send(request).await.unwrap();
    }

    pub async fn subscribe(&mut self, type_url: &str, names: &[&str]) {
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.into(),
            resource_names_subscribe: strings(names),
            ..Default::default()
        })
        .await;
    }

    pub async fn unsubscribe(&mut self, type_url: &str, names: &[&str]) {
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.into(),
            resource_names_unsubscribe: strings(names),
            ..Default::default()
        })
        .await;
    }

    /// Subscribes as a client does that kept resources from an earlier stream.
    pub async fn resume(&mut self, type_url: &str, names: &[&str], known: &[(&str, u64)]) {
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.into(),
            resource_names_subscribe: strings(names),
            initial_resource_versions: known
                .iter()
                .map(|(n, v)| ((*n).to_owned(), version_text(*v)))
                .collect(),
            ..Default::default()
        })
        .await;
    }

    pub async fn ack(&mut self, response: &DeltaDiscoveryResponse) {
        self.answer(&response.type_url, &response.nonce, None).await;
    }

    pub async fn nack(&mut self, response: &DeltaDiscoveryResponse, why: &str) {
        self.answer(&response.type_url, &response.nonce, Some(why)).await;
    }

    pub async fn answer(&mut self, type_url: &str, nonce: &str, why: Option<&str>) {
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.into(),
            response_nonce: nonce.into(),
            error_detail: why.map(|w| rpc::Status { code: 3, message: w.into(), ..Default::default() }),
            ..Default::default()
        })
        .await;
    }

    pub async fn response(&mut self) -> DeltaDiscoveryResponse {
        tokio::time::timeout(SOON, self.responses.message())
            .await
            .expect("a response")
            .unwrap()
            .expect("a stream")
    }

    /// The next response, accepted: its type, and what it brings and takes as `+name` and `-name`.
    pub async fn next(&mut self) -> (String, Vec<String>) {
        let response = self.response().await;
        self.ack(&response).await;
        (response.type_url.clone(), summary(&response))
    }

    /// Checks what the next response brings and takes, and accepts it.
    #[track_caller]
    pub fn expect<'a>(
        &'a mut self,
        type_url: &'a str,
        what: &'a [&'a str],
    ) -> impl std::future::Future<Output = ()> + 'a {
        let at = std::panic::Location::caller();
        async move {
            let (got_type, got) = self.next().await;
            assert_eq!((got_type.as_str(), got), (type_url, strings(what)), "at {at}");
        }
    }

    /// Checks that nothing comes.
    #[track_caller]
    pub fn quiet(&mut self) -> impl std::future::Future<Output = ()> + '_ {
        let at = std::panic::Location::caller();
        async move {
            if let Ok(got) = tokio::time::timeout(QUIET, self.responses.message()).await {
                panic!("unexpected {got:?} at {at}");
            }
        }
    }

    pub async fn failure(&mut self) -> Status {
        tokio::time::timeout(SOON, self.responses.message()).await.expect("an end").expect_err("a failure")
    }
}

pub fn summary(response: &DeltaDiscoveryResponse) -> Vec<String> {
    let new = response.resources.iter().map(|r| format!("+{}", r.name));
    new.chain(response.removed_resources.iter().map(|n| format!("-{n}"))).collect()
}

/// A client of the state-of-the-world protocol.
pub struct Sotw {
    pub requests: mpsc::Sender<DiscoveryRequest>,
    pub responses: Streaming<DiscoveryResponse>,
    named: bool,
}

impl Sotw {
    pub async fn send(&mut self, mut request: DiscoveryRequest) {
        if !std::mem::replace(&mut self.named, true) {
            request.node = Some(node());
        }
        self.requests.send(request).await.unwrap();
    }

    pub async fn ask(&mut self, type_url: &str, names: &[&str], nonce: &str) {
        self.send(DiscoveryRequest {
            type_url: type_url.into(),
            resource_names: strings(names),
            response_nonce: nonce.into(),
            ..Default::default()
        })
        .await;
    }

    pub async fn nack(&mut self, response: &DiscoveryResponse, names: &[&str], why: &str) {
        self.send(DiscoveryRequest {
            type_url: response.type_url.clone(),
            resource_names: strings(names),
            response_nonce: response.nonce.clone(),
            error_detail: Some(rpc::Status { code: 3, message: why.into(), ..Default::default() }),
            ..Default::default()
        })
        .await;
    }

    pub async fn response(&mut self) -> DiscoveryResponse {
        tokio::time::timeout(SOON, self.responses.message())
            .await
            .expect("a response")
            .unwrap()
            .expect("a stream")
    }

    /// The next response, which must be of that type with that many resources. Not accepted yet.
    #[track_caller]
    pub fn expect<'a>(
        &'a mut self,
        type_url: &'a str,
        count: usize,
    ) -> impl std::future::Future<Output = DiscoveryResponse> + 'a {
        let at = std::panic::Location::caller();
        async move {
            let response = self.response().await;
            assert_eq!((response.type_url.as_str(), response.resources.len()), (type_url, count), "at {at}");
            response
        }
    }

    #[track_caller]
    pub fn quiet(&mut self) -> impl std::future::Future<Output = ()> + '_ {
        let at = std::panic::Location::caller();
        async move {
            if let Ok(got) = tokio::time::timeout(QUIET, self.responses.message()).await {
                panic!("unexpected {got:?} at {at}");
            }
        }
    }

    pub async fn failure(&mut self) -> Status {
        tokio::time::timeout(SOON, self.responses.message()).await.expect("an end").expect_err("a failure")
    }
}

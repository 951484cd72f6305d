//! What one generation of a proxy's resources costs, on meshes of the names and sizes of Istio's own benchmarks
//! (`pilot/pkg/xds/bench_test.go`), printed as `go test -bench` prints, so that both can be put beside each other.
//!
//! `cargo bench -p meltemi-tests --bench generation [-- PART_OF_A_NAME]`
#![allow(clippy::print_stdout, reason = "the figures are what this program is for")]

mod meshes;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use meltemi_api::envoy::config::core::v3::Node;
use meltemi_control_plane::sources::decode;
use meltemi_server::{
    Peer, Resources, Source, Subscription, View,
    engine::{Engine, ResourceType},
};
use meltemi_world::{Change, Snapshot, World, snapshot::Settings};
use meshes::{Mesh, Proxy};
use serde_json::{Value, json};

/// For how long each benchmark is measured.
const MEASURED: Duration = Duration::from_millis(500);

fn main() {
    let mut args = std::env::args().skip(1);
    // `cargo test --benches` asks for nothing to be measured.
    if args.any(|a| a == "--test") {
        return;
    }
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let run = |name: String, mesh: &dyn Fn() -> Mesh, measure: &dyn Fn(&Bench) -> Duration| {
        if name.contains(&wanted) {
            Bench::new(mesh()).report(&name, measure);
        }
    };
    for (name, mesh) in meshes::ALL {
        run(format!("InitPushContext/{name}"), mesh, &Bench::start);
    }
    let kinds = [
        ("RouteGeneration", ResourceType::Routes),
        ("ClusterGeneration", ResourceType::Clusters),
        ("ListenerGeneration", ResourceType::Listeners),
    ];
    for (title, kind) in kinds {
        for (name, mesh) in meshes::ALL.iter().filter(|(name, _)| meshes::has(name, kind)) {
            run(format!("{title}/{name}"), mesh, &|bench| bench.generate(kind));
        }
    }
    for (endpoints, services) in [(1, 100), (10, 10), (100, 10), (1000, 1)] {
        let mesh = || meshes::endpoints(endpoints, services);
        let name = format!("EndpointGeneration/{endpoints}/{services}");
        run(name, &mesh, &|bench| bench.generate(ResourceType::Endpoints));
    }
    run("NameTableGeneration/tcp".into(), &|| meshes::tcp(1000), &|bench| {
        bench.generate(ResourceType::NameTable)
    });
}

/// One mesh with one proxy.
struct Bench {
    snapshot: Arc<Snapshot>,
    node: Node,
    routes: Vec<String>,
    endpoints: Vec<String>,
}

impl Bench {
    fn new(mesh: Mesh) -> Self {
        let mut world = World::new(Snapshot::empty(Settings::default()));
        let changes = mesh.objects.into_iter().map(|value| Change::Upsert(read(value)));
        world.apply(changes.collect());
        let mut this = Self {
            snapshot: world.snapshot().clone(),
            node: node(mesh.proxy),
            routes: Vec::new(),
            endpoints: mesh.endpoints,
        };
        let listeners = this.resources(&*this.view(), ResourceType::Listeners);
        this.routes = meshes::route_names(listeners.iter().map(|l| &*l.body));
        this
    }

    /// An engine that has generated nothing yet, and the proxy's view of it.
    fn view(&self) -> Arc<dyn View> {
        let engine = Arc::new(Engine::new(self.snapshot.clone()));
        engine.open(&self.node, &Peer::default()).expect("a node that can be read").view()
    }

    fn resources(&self, view: &dyn View, kind: ResourceType) -> Resources {
        let wanted = match kind {
            ResourceType::Routes => Subscription::only(self.routes.iter().map(String::as_str)),
            ResourceType::Endpoints => Subscription::only(self.endpoints.iter().map(String::as_str)),
            _ => Subscription::everything(),
        };
        view.resources(kind.url(), &wanted).unwrap_or_default()
    }

    /// Arranges the world for a proxy that connects.
    fn start(&self) -> Duration {
        let began = Instant::now();
        std::hint::black_box(self.view());
        began.elapsed()
    }

    /// Generates, encodes and hashes all of a type, of which nothing is there yet.
    fn generate(&self, kind: ResourceType) -> Duration {
        let view = self.view();
        let began = Instant::now();
        let made = self.resources(&*view, kind);
        let took = began.elapsed();
        assert!(!made.is_empty(), "nothing of {} was generated", kind.url());
        took
    }

    fn report(&self, name: &str, measure: impl Fn(&Self) -> Duration) {
        measure(self);
        let (mut times, mut total) = (0u32, Duration::ZERO);
        while total < MEASURED {
            total += measure(self);
            times += 1;
        }
        println!("Benchmark{name} \t{times:8}\t{:12} ns/op", total.as_nanos() / u128::from(times));
    }
}

fn read(value: Value) -> meltemi_world::Object {
    let text = value.to_string();
    match decode::value(value, "default") {
        decode::Outcome::Read(mut read) if read.objects.len() == 1 => read.objects.remove(0),
        other => panic!("an object that is refused: {text}: {other:?}"),
    }
}

fn node(proxy: Proxy) -> Node {
    let kind = match proxy {
        Proxy::Sidecar => "sidecar",
        Proxy::Router => "router",
    };
    let metadata = json!({
        "NAMESPACE": "default", "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0", "INSTANCE_IPS": "1.1.1.1",
        "LABELS": {"istio.io/benchmark": "true"}, "SERVICE_ACCOUNT": "default", "DNS_CAPTURE": "true",
    });
    meltemi_tests::xds_client::node(&json!({
        "id": format!("{kind}~1.1.1.1~v0.default~default.svc.cluster.local"), "cluster": "v0.default",
        "metadata": metadata,
    }))
}

//! The oracle of the incremental engine: after every change, each proxy has exactly what it would have if everything
//! were generated from scratch, to the byte.

mod objects;

use meltemi_api::envoy::config::core::v3::{Locality, Node};
use meltemi_api::wkt::json_to_struct;
use meltemi_control_plane::sources::decode;
use meltemi_server::engine::{Engine, ResourceType};
use meltemi_server::{Peer, ProxyHandle, Source};
use meltemi_server::{Resources, Subscription, View};
use meltemi_world::snapshot::Settings;
use meltemi_world::{Change, Kind, NsName, Object, Snapshot, World};
use objects::Dice;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// How many sequences, and how many changes each.
const SEQUENCES: u64 = 1000;
const CHANGES: usize = 12;

/// Routes that are asked for whether they exist or not.
const ROUTES: [&str; 8] = [
    "80",
    "81",
    "82",
    "9000",
    "a.one.svc.cluster.local:80",
    "http.80",
    "http.8080",
    "https.443.https.gw.istio-system",
];

fn node(kind: &str, ip: &str, name: &str, namespace: &str, labels: &Value) -> Node {
    let metadata = json!({
        "NAME": name, "NAMESPACE": namespace, "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0",
        "INSTANCE_IPS": ip, "LABELS": labels, "SERVICE_ACCOUNT": "default", "WORKLOAD_NAME": name,
        "INTERCEPTION_MODE": "REDIRECT",
    });
    Node {
        id: format!("{kind}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"),
        cluster: name.to_owned(),
        metadata: Some(json_to_struct(metadata.as_object().expect("an object"))),
        locality: Some(Locality { region: "r".into(), zone: "z".into(), sub_zone: String::new() }),
        ..Default::default()
    }
}

fn nodes() -> Vec<Node> {
    vec![
        node("sidecar", "10.244.0.1", "a-1", "one", &json!({"app": "a", "version": "v1"})),
        // A replica, which shares what is generated for the first as long as nothing tells them apart.
        node("sidecar", "10.244.0.4", "a-2", "one", &json!({"app": "a", "version": "v1"})),
        node("sidecar", "10.244.0.2", "b-1", "two", &json!({"app": "b", "version": "v2"})),
        node("router", "10.244.0.3", "gw-1", "istio-system", &json!({"istio": "ingressgateway"})),
    ]
}

/// Who proves to be a node: gateways have an identity here.
fn peer(node: &Node) -> Peer {
    let identity = "spiffe://cluster.local/ns/istio-system/sa/default".to_owned();
    let gateway = node.id.starts_with("router");
    Peer { identities: gateway.then_some(identity).into_iter().collect(), ..Peer::default() }
}

fn read(value: Value) -> Object {
    let text = value.to_string();
    match decode::value(value, "default") {
        decode::Outcome::Read(mut read) if read.objects.len() == 1 => read.objects.remove(0),
        other => panic!("the generator made an object that is refused: {text}: {other:?}"),
    }
}

/// Everything that a view has, by type and name.
fn everything(view: &dyn View) -> BTreeMap<(ResourceType, String), (u64, bytes::Bytes)> {
    let mut out = BTreeMap::new();
    let mut add = |kind: ResourceType, set: &Resources| {
        for r in set.iter() {
            out.insert((kind, r.name.to_string()), (r.version, r.body.clone()));
        }
    };
    let get =
        |kind: ResourceType, wanted: Subscription| view.resources(kind.url(), &wanted).unwrap_or_default();
    let clusters = get(ResourceType::Clusters, Subscription::everything());
    add(ResourceType::Clusters, &clusters);
    let names: Vec<_> =
        clusters.iter().map(|c| c.name.clone()).filter(|n| n.starts_with("outbound")).collect();
    add(ResourceType::Endpoints, &get(ResourceType::Endpoints, Subscription::only(names)));
    add(ResourceType::Listeners, &get(ResourceType::Listeners, Subscription::everything()));
    add(ResourceType::Routes, &get(ResourceType::Routes, Subscription::only(ROUTES)));
    add(ResourceType::Secrets, &get(ResourceType::Secrets, Subscription::only(objects::SECRETS)));
    out
}

/// One mesh, changed step by step, with proxies connected all the time.
struct Mesh {
    world: World,
    engine: Arc<Engine>,
    handles: Vec<Arc<dyn ProxyHandle>>,
    objects: BTreeMap<(Kind, NsName), Object>,
}

impl Mesh {
    fn new() -> Self {
        let world = World::new(Snapshot::empty(Settings::default()));
        let engine = Arc::new(Engine::new(world.snapshot().clone()));
        let handles =
            nodes().iter().map(|n| engine.open(n, &peer(n)).expect("a node that can be read")).collect();
        Self { world, engine, handles, objects: BTreeMap::new() }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in &changes {
            match change {
                Change::Upsert(object) => {
                    self.objects.insert(object.id(), object.clone());
                }
                Change::Remove(kind, name) => {
                    self.objects.remove(&(*kind, name.clone()));
                }
                _ => {}
            }
        }
        let changed = self.world.apply(changes);
        if !changed.is_empty() {
            self.engine.publish(self.world.snapshot().clone(), changed, Instant::now());
        }
    }

    fn world_from_scratch(&self) -> World {
        let mut world = World::new(Snapshot::empty(Settings::default()));
        world.apply(self.objects.values().rev().cloned().map(Change::Upsert).collect());
        world
    }

    fn check(&self, what: &dyn Fn() -> String) {
        let world = self.world_from_scratch();
        for (node, handle) in nodes().iter().zip(&self.handles) {
            let kept = everything(&*handle.view());
            // An engine for each proxy: nothing is shared here.
            let scratch = Arc::new(Engine::new(world.snapshot().clone()));
            let fresh = everything(&*scratch.view_of(node, &peer(node)).expect("a node that can be read"));
            if kept == fresh {
                continue;
            }
            let differing: Vec<_> = kept
                .keys()
                .chain(fresh.keys())
                .filter(|k| kept.get(k) != fresh.get(k))
                .map(|k| format!("{k:?} (kept: {}, fresh: {})", kept.contains_key(k), fresh.contains_key(k)))
                .collect();
            panic!("{}: {} differs from scratch in {differing:#?}", what(), node.id);
        }
    }
}

/// A random change: mostly an object that is put or replaced, sometimes one that goes.
fn change(dice: &mut Dice, mesh: &Mesh) -> Change {
    if dice.chance(25) && !mesh.objects.is_empty() {
        let (kind, name) =
            mesh.objects.keys().nth(dice.below(mesh.objects.len())).expect("there is one").clone();
        return Change::Remove(kind, name);
    }
    Change::Upsert(read(objects::object(dice)))
}

#[test]
fn a_thousand_random_sequences_equal_what_is_made_from_scratch() {
    for seed in 1..=SEQUENCES {
        let mut dice = Dice::new(seed);
        let mut mesh = Mesh::new();
        let mut done = Vec::new();
        for step in 0..CHANGES {
            let batch: Vec<_> = (0..1 + dice.below(2)).map(|_| change(&mut dice, &mesh)).collect();
            done.push(format!("{batch:?}"));
            mesh.apply(batch);
            mesh.check(&|| {
                format!("sequence {seed}, step {step}, after {}", done.last().map_or("", |d| d.as_str()))
            });
        }
    }
}

//! A mesh of a few objects, and what a proxy of it is served.
#![allow(dead_code)]

use meltemi_api::envoy::config::cluster::v3::Cluster;
use meltemi_api::envoy::config::core::v3::{Extension, Locality, Node};
use meltemi_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_api::envoy::config::listener::v3::Listener;
use meltemi_api::envoy::config::route::v3::RouteConfiguration;
use meltemi_api::wkt::json_to_struct;
use meltemi_translation::{Cx, Index, Scope, cluster, endpoint, gateway, listener, route};
use meltemi_world::convert::project;
use meltemi_world::snapshot::Settings;
use meltemi_world::{Change, Config, Meta, NsName, Object, Proxy, Snapshot, World, mesh};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a mesh is made of.
#[derive(Default)]
pub struct Mesh {
    changes: Vec<Change>,
    settings: Settings,
    verified: Option<NsName>,
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    meltemi_api::object::decode::<T>(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}")).value
}

impl Mesh {
    /// MeshConfig.
    pub fn mesh(mut self, value: &Value) -> Self {
        self.changes.push(Change::Mesh(Arc::new(mesh::overlay(value).expect("a MeshConfig"))));
        self
    }

    /// MeshNetworks.
    pub fn networks(mut self, value: Value) -> Self {
        self.changes.push(Change::Networks(Arc::new(read(value))));
        self
    }

    /// An object of the namespace `ns`.
    pub fn object(mut self, kind: &str, name: &str, spec: Value) -> Self {
        fn config<T: DeserializeOwned>(name: &str, spec: Value) -> Arc<Config<T>> {
            let meta = Meta { name: name.into(), namespace: "ns".into(), ..Default::default() };
            Arc::new(Config { meta, spec: read(spec) })
        }
        self.changes.push(Change::Upsert(match kind {
            "ServiceEntry" => Object::ServiceEntry(config(name, spec)),
            "DestinationRule" => Object::DestinationRule(config(name, spec)),
            "PeerAuthentication" => Object::PeerAuthentication(config(name, spec)),
            "Gateway" => Object::Gateway(config(name, spec)),
            "Sidecar" => Object::Sidecar(config(name, spec)),
            "VirtualService" => Object::VirtualService(config(name, spec)),
            "Telemetry" => Object::Telemetry(config(name, spec)),
            other => panic!("kind {other:?} is not read here"),
        }));
        self
    }

    /// Any change.
    pub fn change(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// What the process was started with.
    pub fn settings(mut self, set: impl Fn(&mut Settings)) -> Self {
        set(&mut self.settings);
        self
    }

    /// Streams prove this service account.
    pub fn verified(mut self, namespace: &str, account: &str) -> Self {
        self.verified = Some(NsName::new(namespace, account));
        self
    }

    /// An object as Kubernetes has it: Service, Pod or EndpointSlice.
    pub fn kubernetes(mut self, value: Value) -> Self {
        let objects = match value["kind"].as_str() {
            Some("Service") => vec![Object::Service(Arc::new(project::service(read(value))))],
            Some("Pod") => vec![Object::Pod(Arc::new(project::pod(&read(value))))],
            Some("EndpointSlice") => {
                project::slice(&read(value)).into_iter().map(|s| Object::EndpointSlice(Arc::new(s))).collect()
            }
            other => panic!("kind {other:?} is not read here"),
        };
        self.changes.extend(objects.into_iter().map(Change::Upsert));
        self
    }

    /// istiod's switches.
    pub fn features(mut self, set: impl Fn(&mut meltemi_world::features::Features)) -> Self {
        set(&mut self.settings.features);
        self
    }

    /// Asks for a node's resources.
    pub fn ask<T>(self, node: &Node, question: impl Fn(&Cx<'_>) -> T) -> T {
        let mut world = World::new(Snapshot::empty(self.settings));
        world.apply(self.changes);
        let snapshot = world.snapshot();
        let index = Index::build(snapshot);
        let mut proxy = snapshot.resolve(&Proxy::from_node(node, "cluster.local").expect("a node"));
        proxy.verified = self.verified;
        let scope = Scope::build(snapshot, &index, &Scope::key(&index, &proxy));
        let targets = snapshot.service_targets(&proxy);
        let findings = meltemi_translation::findings::Findings::default();
        let (proxy, scope, targets) = (&proxy, &scope, targets.as_slice());
        let cx = Cx { snapshot, index: &index, proxy, scope, targets, gateway: None, findings: &findings };
        let merged = gateway::merged(&cx);
        question(&Cx { gateway: merged.as_ref(), ..cx })
    }

    /// A cluster of a node.
    pub fn cluster(self, node: &Node, name: &str) -> Cluster {
        self.ask(node, |cx| {
            let all = cluster::clusters(cx);
            let names: Vec<_> = all.iter().map(|c| c.name.clone()).collect();
            all.into_iter()
                .find(|c| c.name == name)
                .unwrap_or_else(|| panic!("no cluster {name} in {names:?}"))
        })
    }

    /// The listeners of a node.
    pub fn listeners(self, node: &Node) -> Vec<Listener> {
        self.ask(node, listener::listeners)
    }

    /// The RouteConfiguration of a node.
    pub fn route(self, node: &Node, name: &str) -> RouteConfiguration {
        self.ask(node, |cx| route::route(cx, name).expect("a route"))
    }

    /// The endpoints of a cluster of a node.
    pub fn assignment(self, node: &Node, name: &str) -> ClusterLoadAssignment {
        self.ask(node, |cx| endpoint::load_assignment(cx, name).expect("an assignment"))
    }
}

/// A node of the namespace `ns` in `region/zone`, with metadata.
pub fn node(kind: &str, locality: &str, metadata: &Value) -> Node {
    let mut all = json!({"NAMESPACE": "ns", "CLUSTER_ID": "Kubernetes", "INSTANCE_IPS": "10.0.0.1"});
    let fields = all.as_object_mut().expect("an object");
    fields.extend(metadata.as_object().cloned().unwrap_or_default());
    let (region, zone) = locality.split_once('/').unwrap_or((locality, ""));
    Node {
        id: format!("{kind}~10.0.0.1~a.ns~ns.svc.cluster.local"),
        metadata: Some(json_to_struct(fields)),
        locality: Some(Locality { region: region.into(), zone: zone.into(), ..Default::default() }),
        ..Default::default()
    }
}

/// A sidecar of Istio.
pub fn sidecar() -> Node {
    node("sidecar", "r1/z1", &json!({}))
}

/// The node as a stock Envoy: it lists extensions, none of them Istio's.
pub fn stock(mut node: Node) -> Node {
    node.extensions = vec![Extension { name: "envoy.filters.http.router".into(), ..Default::default() }];
    node
}

//! Change by change, the world is what it would be if it were made at once; and it says exactly what changed.

mod common;

use common::objects;
use meltemi_world::snapshot::Settings;
use meltemi_world::{Change, Kind, NsName, Object, Service, ServiceKey, Snapshot, World, mesh};
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

/// The objects that may exist, each with its variants. Kinds, names and addresses overlap on purpose.
static UNIVERSE: LazyLock<Vec<Vec<Object>>> = LazyLock::new(|| {
    let mut slots = vec![
        ["", "topology.istio.io/network: n1"]
            .map(|l| metadata("Namespace", "istio-system", &format!("labels: {{{l}}}")))
            .to_vec(),
        [
            "labels: {seen: 'yes'}",
            "labels: {}",
            "labels: {seen: 'yes'}, annotations: {networking.istio.io/traffic-distribution: PreferClose}",
        ]
        .map(|more| metadata("Namespace", "a", more))
        .to_vec(),
        ["1", "2"].map(node).to_vec(),
    ];
    slots.extend(
        [("p0", "10.0.0.1"), ("p1", "10.0.0.2"), ("p2", "10.0.0.2")].map(|(name, ip)| pods(name, ip)),
    );
    slots.extend(["s0", "s1"].map(kube_services));
    slots.extend(["e0", "e1"].map(slices));
    slots.extend([("x0", 90), ("x1", 91)].map(|(name, port)| service_entries(name, port)));
    slots.extend(["w0", "w1"].map(workload_entries));
    slots.extend(["i0", "i1"].map(ingresses));
    slots.push(["istio.io/ingress-controller", "other"].map(ingress_class).to_vec());
    let read = |yaml: &String| objects(yaml).pop().unwrap_or_else(|| panic!("{yaml}"));
    slots.iter().map(|variants| variants.iter().map(read).collect()).collect()
});

fn metadata(kind: &str, name: &str, more: &str) -> String {
    format!("kind: {kind}\nmetadata: {{name: {name}, namespace: a, {more}}}\n")
}

fn node(zone: &str) -> String {
    let labels = format!("labels: {{topology.kubernetes.io/zone: z{zone}}}");
    metadata("Node", "n0", &labels)
        + &format!("status: {{addresses: [{{type: ExternalIP, address: 192.0.2.{zone}}}]}}")
}

fn pods(name: &str, ip: &str) -> Vec<String> {
    let pod = |labels: &str, phase: &str| {
        metadata("Pod", name, &format!("labels: {{{labels}}}"))
            + "spec: {nodeName: n0, serviceAccountName: s, containers: [{ports: [{name: web, containerPort: 80}]}]}\n"
            + &format!(
                "status: {{phase: {phase}, podIP: {ip}, conditions: [{{type: Ready, status: 'True'}}]}}"
            )
    };
    vec![
        pod("app: one", "Running"),
        pod("app: two", "Running"),
        pod("app: one, security.istio.io/tlsMode: istio", "Running"),
        pod("app: one", "Failed"),
    ]
}

fn kube_services(name: &str) -> Vec<String> {
    let service = |annotations: &str, spec: &str| {
        metadata("Service", name, &format!("annotations: {{{annotations}}}")) + &format!("spec: {{{spec}}}")
    };
    let ports = "ports: [{name: http, port: 80, targetPort: web}]";
    vec![
        service("", &format!("clusterIP: 10.96.0.1, selector: {{app: one}}, {ports}")),
        service("", &format!("clusterIP: None, selector: {{app: two}}, {ports}")),
        service("networking.istio.io/exportTo: '~'", ports),
        service("", "type: ExternalName, externalName: s1.a.svc.cluster.local"),
        service("", "type: ExternalName, externalName: s0.a.svc.cluster.local"),
        service("", "type: ExternalName, externalName: x.example.com"),
        service("traffic.istio.io/nodeSelector: '{}'", &format!("type: NodePort, {ports}")),
    ]
}

fn slices(name: &str) -> Vec<String> {
    let slice = |service: &str, endpoints: &str| {
        metadata("EndpointSlice", name, &format!("labels: {{kubernetes.io/service-name: {service}}}"))
            + "addressType: IPv4\nports: [{name: http, port: 8080}]\n"
            + &format!("endpoints: [{endpoints}]")
    };
    let pod = "{addresses: [10.0.0.1], targetRef: {kind: Pod, name: p0, namespace: a}}";
    let bare = "{addresses: [10.0.0.2]}, {addresses: [10.9.0.1], conditions: {ready: false}}";
    vec![slice("s0", pod), slice("s0", bare), slice("s1", &format!("{pod}, {bare}"))]
}

fn service_entries(name: &str, port: u16) -> Vec<String> {
    let entry = |spec: &str| {
        let ports = "{name: http, number: 80, protocol: HTTP}";
        metadata("ServiceEntry", name, "")
            + &format!(
                "spec: {{{spec}, ports: [{ports}, {{name: tcp-{port}, number: {port}, protocol: TCP}}]}}"
            )
    };
    vec![
        entry("hosts: [x.example.com, z.example.com], resolution: DNS"),
        entry("hosts: [x.example.com], resolution: STATIC, workloadSelector: {labels: {app: one}}"),
        entry(
            "hosts: [x.example.com], resolution: STATIC, endpoints: [{address: 10.0.0.1}, {address: 10.0.0.9}]",
        ),
        entry("hosts: [s0.a.svc.cluster.local, x.example.com], resolution: DNS_ROUND_ROBIN"),
        entry("hosts: [x.example.com], resolution: NONE, addresses: [10.1.0.0/16, nonsense]"),
    ]
}

fn workload_entries(name: &str) -> Vec<String> {
    let entry = |spec: &str| metadata("WorkloadEntry", name, "") + &format!("spec: {{{spec}}}");
    vec![
        entry("address: 10.0.0.1, labels: {app: one}"),
        entry("address: 10.8.0.1, labels: {app: one}, serviceAccount: s, ports: {http: 7, web: 8}"),
        entry("address: vm.example.com, labels: {app: one}"),
        entry("address: 10.8.0.2, labels: {app: two}, network: n2"),
    ]
}

fn ingresses(name: &str) -> Vec<String> {
    let ingress = |annotations: &str, spec: &str| {
        metadata("Ingress", name, &format!("annotations: {{{annotations}}}")) + &format!("spec: {{{spec}}}")
    };
    let rule = |host: &str, service: &str, port: &str| {
        let backend = format!("{{service: {{name: {service}, port: {{{port}}}}}}}");
        format!(
            "{{host: '{host}', http: {{paths: [{{path: /{name}, pathType: Prefix, backend: {backend}}}]}}}}"
        )
    };
    let (named, numbered) = (rule("h0", "s0", "name: http"), rule("h1", "s1", "number: 80"));
    vec![
        ingress("", &format!("ingressClassName: mine, rules: [{named}, {numbered}]")),
        ingress("kubernetes.io/ingress.class: istio", &format!("rules: [{named}], tls: [{{secretName: c}}]")),
        ingress("", &format!("rules: [{numbered}, {}]", rule("", "s0", "name: http"))),
    ]
}

fn ingress_class(controller: &str) -> String {
    "kind: IngressClass\nmetadata: {name: mine}\n".to_owned() + &format!("spec: {{controller: {controller}}}")
}

/// What happens: a slot gets one of its variants, or is emptied; or the mesh changes.
#[derive(Clone, Debug)]
enum Event {
    Put(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
    Mesh(usize),
    Networks(bool),
}

fn event() -> impl Strategy<Value = Event> {
    use prop::sample::Index;
    prop_oneof![
        12 => any::<(Index, Index)>().prop_map(|(slot, variant)| Event::Put(slot, variant)),
        5 => any::<Index>().prop_map(Event::Remove),
        1 => (0..MESHES.len()).prop_map(Event::Mesh),
        1 => any::<bool>().prop_map(Event::Networks),
    ]
}

#[derive(Default)]
struct State {
    objects: BTreeMap<usize, Object>,
    mesh: usize,
    networks: bool,
}

const MESHES: [&str; 4] = [
    "{}",
    r#"{"trustDomain": "other"}"#,
    r#"{"discoverySelectors": [{"matchLabels": {"seen": "yes"}}]}"#,
    r#"{"ingressControllerMode": "DEFAULT", "ingressService": "gw"}"#,
];

fn mesh_of(which: usize) -> Change {
    let user = serde_json::from_str(MESHES[which]).expect("JSON");
    Change::Mesh(Arc::new(mesh::overlay(&user).expect("a mesh configuration")))
}

fn networks_of(some: bool) -> Change {
    let networks = if some {
        json!({"networks": {"n3": {"endpoints": [{"fromCidr": "10.0.0.0/31"}]}}})
    } else {
        json!({})
    };
    Change::Networks(Arc::new(meltemi_api::object::decode(networks).expect("networks").value))
}

impl State {
    fn change(&mut self, slots: &[Vec<Object>], event: &Event) -> Change {
        match event {
            Event::Put(slot, variant) => {
                let slot = slot.index(slots.len());
                let object = slots[slot][variant.index(slots[slot].len())].clone();
                self.objects.insert(slot, object.clone());
                Change::Upsert(object)
            }
            Event::Remove(slot) => {
                let slot = slot.index(slots.len());
                self.objects.remove(&slot);
                let (kind, name): (_, NsName) = slots[slot][0].id();
                Change::Remove(kind, name)
            }
            Event::Mesh(which) => {
                self.mesh = *which;
                mesh_of(*which)
            }
            Event::Networks(some) => {
                self.networks = *some;
                networks_of(*some)
            }
        }
    }

    /// The world of this state, made in one go; `order` decides which object comes when.
    fn world(&self, order: u64) -> World {
        let mut changes: Vec<Change> = self.objects.values().cloned().map(Change::Upsert).collect();
        changes.extend([mesh_of(self.mesh), networks_of(self.networks)]);
        let by = |i: usize| (i as u64 + 1).wrapping_mul(order | 1).rotate_left(17);
        let mut changes: Vec<(u64, Change)> =
            changes.into_iter().enumerate().map(|(i, c)| (by(i), c)).collect();
        changes.sort_by_key(|(key, _)| *key);
        let mut world = World::new(Snapshot::empty(Settings::default()));
        // Half of the objects come later.
        let late = changes.split_off(changes.len() / 2);
        world.apply(changes.into_iter().map(|(_, c)| c).collect());
        world.apply(late.into_iter().map(|(_, c)| c).collect());
        world
    }
}

fn services(snapshot: &Snapshot) -> BTreeMap<ServiceKey, Arc<Service>> {
    snapshot.registry.services().map(|s| (s.key(), s.clone())).collect()
}

/// The keys whose values differ.
fn differing<T: PartialEq>(
    keys: &BTreeSet<ServiceKey>,
    value: impl Fn(&ServiceKey) -> (T, T),
) -> BTreeSet<ServiceKey> {
    let differs = |key: &&ServiceKey| {
        let (a, b) = value(key);
        a != b
    };
    keys.iter().filter(differs).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_one_by_one_make_the_same_world(
        batches in prop::collection::vec(prop::collection::vec(event(), 1..4), 1..24),
        order in any::<u64>(),
    ) {
        let slots = &*UNIVERSE;
        let mut state = State::default();
        let mut world = World::new(Snapshot::empty(Settings::default()));
        for batch in &batches {
            let before = world.snapshot().clone();
            let set = world.apply(batch.iter().map(|event| state.change(slots, event)).collect());
            let (after, fresh) = (world.snapshot(), state.world(order));
            let fresh = fresh.snapshot();
            prop_assert_eq!(services(after), services(fresh));
            prop_assert_eq!(&after.registry, &fresh.registry);
            prop_assert_eq!(&after.slices, &fresh.slices);
            prop_assert_eq!(&after.pods_by_ip, &fresh.pods_by_ip);
            prop_assert_eq!(&after.ingress_gateways, &fresh.ingress_gateways);
            prop_assert_eq!(&after.ingress_routes, &fresh.ingress_routes);
            prop_assert_eq!(&after.diagnostics, &fresh.diagnostics);
            let named = |s: &Snapshot| s.ingress_routes.values().map(|r| (r.meta.key(), r.clone())).collect::<BTreeMap<_, _>>();
            let (old, new) = (named(&before), named(after));
            let keys: BTreeSet<NsName> = old.keys().chain(new.keys()).cloned().collect();
            for key in keys.into_iter().filter(|key| old.get(key) != new.get(key)) {
                prop_assert!(set.objects.contains(&(Kind::VirtualService, key.clone())), "{}", key);
            }

            let keys: BTreeSet<ServiceKey> = services(&before).into_keys().chain(services(after).into_keys()).collect();
            let services = differing(&keys, |k| (before.registry.service(k).cloned(), after.registry.service(k).cloned()));
            let endpoints = differing(&keys, |k| (before.registry.endpoints(k), after.registry.endpoints(k)));
            prop_assert_eq!(&endpoints, &set.endpoints);
            // A change of endpoints may count as one of the service, but nothing else may.
            prop_assert!(services.is_subset(&set.services), "{:?} of {:?}", set.services, services);
            let either: BTreeSet<ServiceKey> = services.union(&endpoints).cloned().collect();
            prop_assert!(set.services.is_subset(&either), "{:?} of {:?}", set.services, either);
        }
    }
}

//! Services and endpoints of Kubernetes.

mod common;

use common::{addresses, endpoints, removals, service, upserts, world};
use meltemi_world::{Health, Resolution, ServiceKey};

const POD: &str = "
kind: Pod
metadata: {name: a-1, namespace: apps, labels: {app: a}}
spec: {nodeName: n1, serviceAccountName: a, containers: [{ports: [{name: web, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}
";

const NODE: &str = "
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z}}
";

const SERVICE: &str = "
kind: Service
metadata: {name: a, namespace: apps}
spec: {clusterIP: 10.96.0.1, selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]}
";

const SLICE: &str = "
kind: EndpointSlice
metadata: {name: a-x, namespace: apps, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: a-1, namespace: apps}}
";

const HOST: &str = "a.apps.svc.cluster.local";

#[test]
fn an_endpoint_knows_its_pod_and_node() {
    let world = world(&[POD, NODE, SERVICE, SLICE].join("---"));
    let found = endpoints(&world, "apps", HOST);
    assert_eq!(addresses(&world, "apps", HOST), ["10.0.0.1:8080/http"]);
    let workload = &found[0].workload;
    assert_eq!(&*workload.service_account, "spiffe://cluster.local/ns/apps/sa/a");
    assert_eq!(workload.locality.label(), "r/z");
    assert_eq!(workload.labels.get("topology.istio.io/cluster"), Some("Kubernetes"));
    assert_eq!(workload.labels.get("kubernetes.io/hostname"), Some("n1"));
    assert_eq!(found[0].health, Health::Healthy);
    assert_eq!(service(&world, "apps", HOST).resolution, Resolution::ClientSideLb);
}

#[test]
fn an_endpoint_waits_for_its_pod() {
    let mut world = world(&[SERVICE, SLICE].join("---"));
    assert!(addresses(&world, "apps", HOST).is_empty());
    let set = world.apply(upserts(POD));
    assert_eq!(set.endpoints, [ServiceKey::new("apps", HOST)].into());
    // Clusters name the accounts of their workloads, and this one is new.
    assert_eq!(set.services, [ServiceKey::new("apps", HOST)].into());
    world.apply(removals(POD));
    assert!(addresses(&world, "apps", HOST).is_empty());
}

#[test]
fn a_change_that_says_nothing_new_is_none() {
    let all = [POD, NODE, SERVICE, SLICE].join("---");
    let mut world = world(&all);
    assert!(world.apply(upserts(&all)).is_empty());
    let newer = SERVICE.replace("name: a,", "name: a, resourceVersion: '7',");
    assert!(world.apply(upserts(&newer)).is_empty());
}

#[test]
fn an_external_name_is_an_alias_of_its_target() {
    let alias = "
kind: Service
metadata: {name: b, namespace: other}
spec: {type: ExternalName, externalName: a.apps.svc.cluster.local}
---
kind: Service
metadata: {name: c, namespace: other}
spec: {type: ExternalName, externalName: b.other.svc.cluster.local}
";
    let mut world = world(&[SERVICE, alias].join("---"));
    let hosts = |world: &_| {
        service(world, "apps", HOST).aliases.iter().map(|k| k.hostname.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(&world), ["b.other.svc.cluster.local", "c.other.svc.cluster.local"]);
    let set = world.apply(removals("{kind: Service, metadata: {name: b, namespace: other}}"));
    assert!(set.services.contains(&ServiceKey::new("apps", HOST)));
    assert!(hosts(&world).is_empty());
}

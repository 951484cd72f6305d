//! Endpoints: across networks, by locality, by health.

mod common;

use common::{Mesh, node};
use meltemi_api::envoy::config::core::v3::address::Address;
use meltemi_api::envoy::config::endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier};
use serde_json::{Value, json};

const CLUSTER: &str = "outbound|80||a.example.com";

fn entry(endpoints: &Value) -> Value {
    json!({
        "hosts": ["a.example.com"], "location": "MESH_INTERNAL", "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "endpoints": endpoints,
    })
}

/// `PRIORITY ADDRESS:PORT*WEIGHT` of each endpoint.
fn summary(assignment: &ClusterLoadAssignment) -> Vec<String> {
    let mut out = Vec::new();
    for group in &assignment.endpoints {
        for endpoint in &group.lb_endpoints {
            let Some(HostIdentifier::Endpoint(e)) = &endpoint.host_identifier else { continue };
            let address = match e.address.as_ref().and_then(|a| a.address.as_ref()) {
                Some(Address::SocketAddress(a)) => a.address.clone(),
                Some(Address::Pipe(pipe)) => pipe.path.clone(),
                other => format!("{other:?}"),
            };
            let weight = endpoint.load_balancing_weight.unwrap_or(0);
            out.push(format!("{} {address}*{weight}", group.priority));
        }
    }
    out
}

#[test]
fn endpoints_of_another_network_are_reached_by_its_gateways() {
    let tls = json!({"security.istio.io/tlsMode": "istio"});
    let mesh = || {
        Mesh::default()
            .networks(json!({"networks": {
                "n2": {"gateways": [{"address": "2.0.0.1", "port": 15443}, {"address": "2.0.0.2", "port": 15443}]},
            }}))
            .object(
                "ServiceEntry",
                "a",
                entry(&json!([
                    {"address": "10.0.0.8", "network": "n1", "labels": tls},
                    {"address": "10.0.1.8", "network": "n2", "labels": tls, "weight": 3},
                    {"address": "10.0.1.9", "network": "n2"},
                ])),
            )
    };
    let on = |network: &str| node("sidecar", "r1", &json!({"NETWORK": network}));
    // Weights are doubled, for two gateways share each one; the endpoint without mutual TLS is out of reach.
    assert_eq!(
        summary(&mesh().assignment(&on("n1"), CLUSTER)),
        ["0 10.0.0.8*2", "0 2.0.0.1*3", "0 2.0.0.2*3"]
    );
    assert_eq!(
        summary(&mesh().assignment(&on("n2"), CLUSTER)),
        ["0 10.0.0.8*2", "0 10.0.1.8*6", "0 10.0.1.9*2"]
    );
    // A proxy that names no network is on none that has a gateway.
    assert_eq!(summary(&mesh().assignment(&on(""), CLUSTER)), ["0 10.0.0.8*2", "0 2.0.0.1*3", "0 2.0.0.2*3"]);
}

#[test]
fn a_requested_network_view_leaves_out_other_networks() {
    let endpoints =
        json!([{"address": "10.0.0.8", "network": "n1"}, {"address": "10.0.1.8", "network": "n2"}]);
    let mesh = Mesh::default().object("ServiceEntry", "a", entry(&endpoints));
    let node = node("sidecar", "r1", &json!({"REQUESTED_NETWORK_VIEW": "n2"}));
    assert_eq!(summary(&mesh.assignment(&node, CLUSTER)), ["0 10.0.1.8*1"]);
}

#[test]
fn near_localities_come_first_once_outliers_are_detected() {
    let endpoints = json!([
        {"address": "10.0.2.1", "locality": "r2/z1"},
        {"address": "10.0.2.2", "locality": "r1/z1"},
        {"address": "10.0.2.3", "locality": "r1/z2"},
    ]);
    let mesh = |policy: Value| {
        let rule = json!({"host": "a.example.com", "trafficPolicy": policy});
        Mesh::default().object("ServiceEntry", "a", entry(&endpoints)).object("DestinationRule", "a", rule)
    };
    let node = node("sidecar", "r1/z1", &json!({}));
    assert_eq!(
        summary(&mesh(json!({})).assignment(&node, CLUSTER)),
        ["0 10.0.2.2*1", "0 10.0.2.3*1", "0 10.0.2.1*1"]
    );
    assert_eq!(
        summary(&mesh(json!({"outlierDetection": {}})).assignment(&node, CLUSTER)),
        ["0 10.0.2.2*1", "1 10.0.2.3*1", "2 10.0.2.1*1"]
    );
}

#[test]
fn names_are_no_endpoints_of_eds() {
    let endpoints = json!([{"address": "10.0.0.1"}, {"address": "unix:///run/a"}]);
    let mesh = Mesh::default().object("ServiceEntry", "a", entry(&endpoints));
    assert_eq!(summary(&mesh.assignment(&common::sidecar(), CLUSTER)), ["0 10.0.0.1*1", "0 /run/a*1"]);
}

#[test]
fn other_clusters_have_no_assignment() {
    let mesh = || Mesh::default().object("ServiceEntry", "a", entry(&json!([{"address": "10.0.0.1"}])));
    let none = |name: &str| {
        mesh()
            .ask(&common::sidecar(), |cx| meltemi_translation::endpoint::load_assignment(cx, name))
            .is_none()
    };
    assert!(none("outbound|81||a.example.com") && none("outbound|80||b.example.com") && none("inbound|80||"));
    // A subset that no rule defines has all endpoints, as in istiod.
    assert_eq!(summary(&mesh().assignment(&common::sidecar(), "outbound|80|v1|a.example.com")).len(), 1);
}

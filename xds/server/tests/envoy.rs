//! What the rules of distribution suppose of Envoy, asked of a real one.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{CDS, EDS, LDS, NODE, Server, World, resource};
use meltemi_api::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use meltemi_api::envoy::config::cluster::v3::{Cluster, cluster};
use meltemi_api::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use meltemi_api::envoy::config::core::v3::{AggregatedConfigSource, ApiVersion, ConfigSource};
use meltemi_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_server::{Resource, TypeState};
use prost::Message;
use prost_types::Duration as Seconds;

fn encoded(name: &str, version: u64, message: &impl Message) -> Arc<Resource> {
    let body = message.encode_to_vec().into();
    Arc::new(Resource { body, ..Resource::clone(&resource(name, version, 0)) })
}

/// A cluster with endpoints by ADS, for which Envoy waits as long as it takes. Its version is its connect timeout.
fn cluster(name: &str, timeout: i64) -> Arc<Resource> {
    let eds_config = ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        initial_fetch_timeout: Some(Seconds::default()),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    };
    let message = Cluster {
        name: name.into(),
        connect_timeout: Some(Seconds { seconds: timeout, nanos: 0 }),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(eds_config),
            ..EdsClusterConfig::default()
        }),
        lb_policy: cluster::LbPolicy::RoundRobin.into(),
        ..Cluster::default()
    };
    encoded(name, timeout.unsigned_abs(), &message)
}

fn endpoints(name: &str) -> Arc<Resource> {
    encoded(name, 1, &ClusterLoadAssignment { cluster_name: name.into(), ..ClusterLoadAssignment::default() })
}

/// Envoy, as `tests/setup` installs it, with everything from that address. Killed when dropped.
struct Envoy(std::process::Child);

impl Envoy {
    fn start(xds: SocketAddr) -> Self {
        let setup = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/setup");
        let found = Command::new(setup).arg("envoy").stderr(Stdio::inherit()).output().unwrap();
        let folder = String::from_utf8(found.stdout).unwrap();
        let ads = r#"{"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}"#;
        let bootstrap = format!(
            r#"{{
            "node": {{"id": "{NODE}", "cluster": "app"}},
            "dynamic_resources": {{
                "ads_config": {{
                    "api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                    "grpc_services": [{{"envoy_grpc": {{
                        "cluster_name": "xds",
                        "retry_policy": {{"retry_back_off": {{"base_interval": "0.1s", "max_interval": "0.5s"}}}}
                    }}}}]
                }},
                "cds_config": {ads}, "lds_config": {ads}
            }},
            "static_resources": {{"clusters": [{{
                "name": "xds", "type": "STATIC", "connect_timeout": "1s",
                "load_assignment": {{"cluster_name": "xds", "endpoints": [{{"lb_endpoints": [{{"endpoint": {{
                    "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": {}}}}}
                }}}}]}}]}},
                "typed_extension_protocol_options": {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {{
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {{"http2_protocol_options": {{}}}}
                }}}}
            }}]}}
            }}"#,
            xds.port()
        );
        let process = Command::new(format!("{}/envoy", folder.lines().last().unwrap()))
            .args(["--config-yaml", &bootstrap, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"])
            .spawn()
            .unwrap();
        Self(process)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn state(server: &Server, type_url: &str) -> Option<TypeState> {
    let connection = server.registry.connections().pop()?;
    connection.types().into_iter().find(|t| *t.status.type_url == *type_url)
}

fn accepted(server: &Server, type_url: &str) -> bool {
    state(server, type_url).is_some_and(|t| t.status.nonce_acked == t.status.nonce_sent)
}

fn responses(server: &Server, type_url: &str) -> u64 {
    state(server, type_url).map_or(0, |t| t.responses)
}

#[track_caller]
fn until<'a>(what: &'a str, done: impl Fn() -> bool + 'a) -> impl Future<Output = ()> + 'a {
    let at = std::panic::Location::caller();
    async move {
        for _ in 0..1500 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not in half a minute: {what}, at {at}");
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// A world with the clusters `a` and `b`, by their timeouts.
fn two(a: i64, b: i64) -> impl FnOnce(&mut World) {
    move |w| {
        w.put(CDS, vec![cluster("a", a), cluster("b", b)]);
        w.put(EDS, vec![endpoints("a"), endpoints("b")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_as_the_rules_suppose() {
    let free = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let server = Server::start(two(1, 1)).await.also_at(address).await;
    let _envoy = Envoy::start(address);
    let all = |s: &Server| [CDS, EDS, LDS].iter().all(|t| accepted(s, t));
    until("everything is accepted", || all(&server)).await;

    // A cluster that changes waits for endpoints, which are not new. Envoy accepts clusters only once none waits.
    server.fake.change(|w| w.put(CDS, vec![cluster("a", 2)]));
    until("the changed cluster is accepted", || responses(&server, CDS) == 2 && accepted(&server, CDS)).await;
    assert_eq!(responses(&server, EDS), 2);

    // Without them it waits, and asks for none.
    server.fake.change(|w| {
        w.put(CDS, vec![cluster("b", 2)]);
        w.withdraw(EDS);
    });
    until("clusters are sent", || responses(&server, CDS) == 3).await;
    settle().await;
    assert!(!accepted(&server, CDS));
    assert_eq!(responses(&server, EDS), 2);

    // Connecting anew, it says that it has the endpoints, but asks for clusters only once it was sent them.
    server.stop();
    let server = Server::start(two(2, 2)).await.also_at(address).await;
    until("clusters are asked for", || state(&server, CDS).is_some()).await;
    assert_eq!((responses(&server, EDS), responses(&server, CDS)), (1, 0));
    assert_eq!(state(&server, EDS).unwrap().status.resources().count(), 2);

    // With nothing waiting and nothing changed, nothing is sent.
    server.stop();
    let server = Server::start(two(2, 2)).await.also_at(address).await;
    until("listeners are accepted", || accepted(&server, LDS)).await;
    settle().await;
    assert_eq!((responses(&server, EDS), responses(&server, CDS)), (0, 0));

    // What changed while it was away is sent, and endpoints for it.
    server.stop();
    let server = Server::start(two(3, 2)).await.also_at(address).await;
    until("everything is accepted", || all(&server) && responses(&server, CDS) == 1).await;
    assert_eq!(responses(&server, EDS), 1);

    // A resource that violates a constraint takes no other with it.
    server.fake.change(|w| {
        w.put(CDS, vec![cluster("a", 4), cluster("c", -4), cluster("d", 4)]);
        w.put(EDS, vec![endpoints("d")]);
    });
    let bad = |s: &Server| state(s, CDS).is_some_and(|t| t.status.rejected.keys().any(|n| &**n == "c"));
    until("the bad cluster is found", || bad(&server)).await;
    until("endpoints of the good one are asked for", || {
        state(&server, EDS).is_some_and(|t| t.status.subscription.names_it("d"))
    })
    .await;
    assert_eq!(state(&server, CDS).unwrap().status.rejected.len(), 1);
}

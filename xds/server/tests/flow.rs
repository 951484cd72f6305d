//! Order, limits, slow readers, and what clients may do wrong.

mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use common::{CDS, EDS, LDS, RDS, SDS, Server, node, resource, strings};
use meltemi_api::envoy::config::core::v3::Node;
use meltemi_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use meltemi_api::wkt::Any;
use meltemi_server::{Asked, Authenticator, Call, Identities, Options, Reply, Resource, Special};
use tonic::Code;

const TYPES: [&str; 5] = [CDS, EDS, LDS, RDS, SDS];

#[tokio::test]
async fn a_push_makes_before_it_breaks() {
    let server = Server::start(|w| TYPES.iter().for_each(|t| w.set(t, &[("old", 1)]))).await;
    let mut client = server.delta().await;
    // Subscribed in another order than pushed.
    for url in [RDS, EDS] {
        client.subscribe(url, &["old", "new"]).await;
        client.expect(url, &["+old", "-new"]).await;
    }
    for url in [LDS, CDS] {
        client.subscribe(url, &[]).await;
        client.expect(url, &["+old"]).await;
    }
    client.expect(EDS, &["+old"]).await; // follows its cluster
    server.fake.change(|w| {
        for url in TYPES {
            w.set(url, &[("new", 1)]);
            w.remove(url, &["old"]);
        }
    });
    client.expect(CDS, &["+new"]).await;
    client.expect(EDS, &["+new"]).await;
    client.expect(LDS, &["+new", "-old"]).await;
    client.expect(RDS, &["+new", "-old"]).await;
    client.expect(CDS, &["-old"]).await;
    client.expect(EDS, &["-old"]).await;
    client.quiet().await;
}

#[tokio::test]
async fn a_cluster_is_removed_only_after_the_new_routes_were_accepted() {
    let server = Server::start(|w| [CDS, RDS].iter().for_each(|t| w.set(t, &[("x", 1)]))).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    client.expect(CDS, &["+x"]).await;
    client.subscribe(RDS, &["x"]).await;
    client.expect(RDS, &["+x"]).await;
    server.fake.change(|w| {
        w.remove(CDS, &["x"]);
        w.set(RDS, &[("x", 2)]);
    });
    let routes = client.response().await;
    assert_eq!(routes.type_url, RDS);
    client.quiet().await;
    client.nack(&routes, "no").await; // as good an answer as any: the client has settled
    client.expect(CDS, &["-x"]).await;
}

#[tokio::test]
async fn a_cluster_that_comes_back_was_never_away() {
    let server = Server::start(|w| [CDS, RDS].iter().for_each(|t| w.set(t, &[("x", 1)]))).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    client.expect(CDS, &["+x"]).await;
    client.subscribe(RDS, &["x"]).await;
    client.expect(RDS, &["+x"]).await;
    server.fake.change(|w| {
        w.remove(CDS, &["x"]);
        w.set(RDS, &[("x", 2)]);
    });
    let routes = client.response().await;
    server.fake.change(|w| w.set(CDS, &[("x", 1)]));
    client.quiet().await;
    client.ack(&routes).await;
    client.quiet().await;
}

#[tokio::test]
async fn what_happens_meanwhile_is_merged_for_a_slow_reader() {
    const SIZE: usize = 1 << 20;
    let server = Server::start(|w| w.put(CDS, vec![resource("a", 1, SIZE)])).await;
    let mut slow = server.delta().await;
    slow.subscribe(CDS, &[]).await;
    let mut fast = server.delta().await;
    fast.subscribe(CDS, &[]).await;
    fast.expect(CDS, &["+a"]).await;

    let mut bodies: Vec<Weak<Resource>> = Vec::new();
    for version in 2..=100 {
        let next = resource("a", version, SIZE);
        bodies.push(Arc::downgrade(&next));
        server.fake.change(|w| w.put(CDS, vec![next]));
        // The other one is not delayed.
        fast.expect(CDS, &["+a"]).await;
    }
    let alive = bodies.iter().filter(|b| b.strong_count() > 0).count();
    assert!(alive <= 2, "{alive} generations are held for the slow reader");

    // It gets what it was stuck in, and then the newest.
    let stuck = slow.response().await;
    slow.ack(&stuck).await;
    let newest = slow.response().await;
    assert_eq!(newest.resources[0].version, meltemi_distribution::version_text(100));
    slow.ack(&newest).await;
    slow.quiet().await;
    let views = server.fake.views.load(Ordering::Relaxed);
    assert!(views < 450, "{views} views for about 200 responses and their answers");
}

#[tokio::test]
async fn ten_thousand_names_are_served() {
    let names: Vec<String> =
        (0..10_000).map(|i| format!("outbound|80||service-{i:05}.default.svc")).collect();
    let all: Vec<_> = names.iter().map(|n| resource(n, 1, 200)).collect();
    let server = Server::start(|w| w.put(EDS, all)).await;
    let mut client = server.delta().await;
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    client.subscribe(EDS, &refs).await;
    let response = client.response().await;
    assert_eq!(response.resources.len(), 10_000);
    client.ack(&response).await;
    server.fake.change(|w| w.put(EDS, vec![resource(&names[777], 2, 200)]));
    client.expect(EDS, &[&format!("+{}", names[777])]).await;
}

#[tokio::test]
async fn absurdly_many_names_are_refused() {
    let server = Server::start(|_| ()).await;
    let mut client = server.delta().await;
    let names: Vec<String> = (0..=100_000).map(|i| i.to_string()).collect();
    client
        .send(DeltaDiscoveryRequest {
            type_url: EDS.into(),
            resource_names_subscribe: names,
            ..Default::default()
        })
        .await;
    let status = client.failure().await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("100001 names"), "{}", status.message());
    assert!(server.registry.is_empty());
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let server = Server::start(|_| ()).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[&"x".repeat(5 << 20)]).await;
    assert_eq!(client.failure().await.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_first_request_without_a_node_is_refused() {
    let server = Server::start(|_| ()).await;
    for node in [None, Some(Node::default())] {
        let mut client = server.delta().await;
        client
            .requests
            .send(DeltaDiscoveryRequest { type_url: CDS.into(), node, ..Default::default() })
            .await
            .unwrap();
        let status = client.failure().await;
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "missing node information"));
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_read_is_refused_with_the_reason() {
    let server = Server::start(|_| ()).await;
    let mut client = server.delta().await;
    let node = Some(Node { id: "nonsense".into(), ..Node::default() });
    client.requests.send(DeltaDiscoveryRequest { node, ..Default::default() }).await.unwrap();
    let status = client.failure().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("nonsense"));
}

#[tokio::test]
async fn an_unknown_type_is_not_answered_and_breaks_nothing() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe("type.googleapis.com/no.such.Type", &[]).await;
    client.subscribe("", &["x"]).await;
    client.subscribe("istio.io/debug/syncz", &[]).await;
    client.subscribe(CDS, &[]).await;
    client.expect(CDS, &["+a"]).await;
    client.quiet().await;
}

#[tokio::test]
async fn health_before_the_first_request_is_passed_over() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    let health = DeltaDiscoveryRequest { type_url: meltemi_server::HEALTH.into(), ..Default::default() };
    client.requests.send(health).await.unwrap();
    client.subscribe(CDS, &[]).await;
    client.expect(CDS, &["+a"]).await;
}

struct Echo;

impl Special for Echo {
    fn handles(&self, type_url: &str) -> bool {
        type_url.starts_with("istio.io/debug")
    }

    fn answer(&self, asked: Asked<'_>) -> Option<Reply> {
        let value = asked.names.join(",").into_bytes().into();
        let any = Any { type_url: asked.type_url.into(), value };
        Some(Reply { resources: vec![("echo".into(), any)], control_plane: Some("me".into()) })
    }
}

#[tokio::test]
async fn special_types_are_answered_on_the_spot() {
    let server = Server::start_with(|_| (), |ads| ads.special(Arc::new(Echo))).await;
    let mut client = server.sotw().await;
    // istioctl makes its nonce up.
    client.ask("istio.io/debug", &["syncz"], "made up").await;
    let response = client.expect("istio.io/debug", 1).await;
    assert_eq!(&response.resources[0].value[..], b"syncz");
    assert_eq!(response.control_plane.unwrap().identifier, "me");
    assert!(server.registry.connections()[0].types().is_empty());
    let mut client = server.delta().await;
    client.subscribe("istio.io/debug/syncz", &[]).await;
    assert_eq!(client.response().await.resources.len(), 1);
}

#[tokio::test]
async fn connections_are_registered_while_they_last() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    client.expect(CDS, &["+a"]).await;
    client.quiet().await;
    let connection = server.registry.connections().remove(0);
    assert!(connection.peer.address.is_some());
    assert!(connection.id.starts_with(&format!("{}-", node().id)));
    let state = connection.types().remove(0);
    assert_eq!(state.status.resources().map(|r| r.name.to_string()).collect::<Vec<_>>(), strings(&["a"]));
    assert_eq!(state.status.nonce_acked, state.status.nonce_sent);
    assert!(state.sent_at.is_some());
    drop(client);
    for _ in 0..100 {
        if server.registry.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection is still registered");
}

#[tokio::test]
async fn streams_end_with_the_server_and_with_age() {
    let server = Server::start(|_| ()).await;
    let mut client = server.delta().await;
    client.subscribe(LDS, &[]).await;
    client.expect(LDS, &[]).await;
    server.ads.close();
    assert_eq!(client.failure().await.code(), Code::Unavailable);

    let age = Options { max_age: Some(Duration::from_millis(50)), ..Options::default() };
    let server = Server::start_with(|_| (), |ads| ads.limited(age)).await;
    let mut client = server.sotw().await;
    assert_eq!(client.failure().await.code(), Code::Unavailable);
}

#[tokio::test]
async fn what_is_rejected_with_others_is_isolated() {
    let clusters: Vec<_> = (0..100).map(|i| resource(&format!("{i:03}"), 1, 10)).collect();
    let server = Server::start(|w| w.put(CDS, clusters)).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    let mut accepted = Vec::new();
    for _ in 0..40 {
        let next = tokio::time::timeout(Duration::from_millis(300), client.responses.message()).await;
        let Ok(response) = next else { break };
        let response = response.unwrap().unwrap();
        if response.resources.iter().any(|r| r.name == "042") {
            client.nack(&response, "042 is bad").await;
        } else {
            accepted.extend(response.resources.iter().map(|r| r.name.clone()));
            client.ack(&response).await;
        }
    }
    accepted.sort();
    accepted.dedup();
    assert_eq!(accepted.len(), 99);
    let status = server.registry.connections()[0].types().remove(0).status;
    let rejected: Vec<_> = status.rejected.iter().map(|(n, e)| (&**n, &**e)).collect();
    assert_eq!(rejected, [("042", "042 is bad")]);
}

struct Denied;

impl Authenticator for Denied {
    fn authenticate<'a>(&'a self, call: Call<'a>) -> Identities<'a> {
        let known = call.remote.address.is_some() && call.headers.get("authorization").is_some();
        Box::pin(
            async move { if known { Ok(vec!["spiffe://a".into()]) } else { Err("who are you?".into()) } },
        )
    }
}

#[tokio::test]
async fn a_caller_without_identity_is_refused_where_one_is_needed() {
    let server = Server::start_with(|_| (), |ads| ads.authenticated(Arc::new(Denied))).await;
    let status = server.refused().await;
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "who are you?"));
}

#[tokio::test]
async fn nothing_is_served_before_the_world_stands() {
    let server = Server::start(|_| ()).await;
    server.fake.ready.store(false, Ordering::Relaxed);
    // istiod's codes: of this method it is a plain error.
    let status = server.refused().await;
    assert_eq!(status.code(), Code::Unknown);
    assert!(status.message().contains("not ready"));
}

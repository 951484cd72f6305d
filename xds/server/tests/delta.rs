//! The delta protocol, spoken by a real client.

mod common;

use common::{CDS, ECDS, EDS, LDS, RDS, Server, resource};
use meltemi_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use meltemi_distribution::version_text;

#[tokio::test]
async fn naming_nothing_asks_for_all_clusters() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1), ("b", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    client.expect(CDS, &["+a", "+b"]).await;
    server.fake.change(|w| w.set(CDS, &[("b", 2), ("c", 1)]));
    client.expect(CDS, &["+b", "+c"]).await;
    client.quiet().await;
}

#[tokio::test]
async fn a_star_asks_for_everything_and_names_nothing_else() {
    let server = Server::start(|w| w.set(LDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(LDS, &["*"]).await;
    client.expect(LDS, &["+a"]).await;
    client.unsubscribe(LDS, &["*"]).await;
    client.quiet().await;
    server.fake.change(|w| w.set(LDS, &[("a", 2)]));
    client.quiet().await;
    client.subscribe(LDS, &["*"]).await;
    client.expect(LDS, &["+a"]).await;
}

#[tokio::test]
async fn a_first_wildcard_is_answered_even_if_there_is_nothing() {
    let server = Server::start(|_| ()).await;
    let mut client = server.delta().await;
    client.subscribe(LDS, &[]).await;
    client.expect(LDS, &[]).await;
}

#[tokio::test]
async fn subscribing_and_unsubscribing_everything_at_once_asks_for_names_only() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1), ("b", 1)])).await;
    let mut client = server.delta().await;
    client
        .send(DeltaDiscoveryRequest {
            type_url: CDS.into(),
            resource_names_subscribe: vec!["*".into()],
            resource_names_unsubscribe: vec!["*".into()],
            ..Default::default()
        })
        .await;
    client.quiet().await;
    client.subscribe(CDS, &["b"]).await;
    client.expect(CDS, &["+b"]).await;
}

#[tokio::test]
async fn only_what_is_asked_for_is_sent_of_endpoints() {
    let server = Server::start(|w| w.set(EDS, &[("a", 1), ("b", 1), ("c", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(EDS, &["a"]).await;
    client.expect(EDS, &["+a"]).await;
    client.subscribe(EDS, &["c"]).await;
    client.expect(EDS, &["+c"]).await;
    server.fake.change(|w| w.set(EDS, &[("b", 2), ("c", 2)]));
    client.expect(EDS, &["+c"]).await;
}

#[tokio::test]
async fn what_does_not_exist_is_told_and_sent_once_it_does() {
    let server = Server::start(|_| ()).await;
    let mut client = server.delta().await;
    client.subscribe(RDS, &["80"]).await;
    client.expect(RDS, &["-80"]).await;
    server.fake.change(|w| w.set(RDS, &[("80", 1)]));
    client.expect(RDS, &["+80"]).await;
    server.fake.change(|w| w.remove(RDS, &["80"]));
    client.expect(RDS, &["-80"]).await;
}

#[tokio::test]
async fn subscribing_again_is_answered_again() {
    let server = Server::start(|w| w.set(EDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(EDS, &["a"]).await;
    client.expect(EDS, &["+a"]).await;
    client.subscribe(EDS, &["a"]).await;
    client.expect(EDS, &["+a"]).await;
}

#[tokio::test]
async fn unsubscribing_is_silent_and_ends_updates() {
    let server = Server::start(|w| w.set(EDS, &[("a", 1), ("b", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(EDS, &["a", "b"]).await;
    client.expect(EDS, &["+a", "+b"]).await;
    client.unsubscribe(EDS, &["a"]).await;
    client.quiet().await;
    server.fake.change(|w| w.set(EDS, &[("a", 2)]));
    client.quiet().await;
    client.subscribe(EDS, &["a"]).await;
    client.expect(EDS, &["+a"]).await;
}

#[tokio::test]
async fn a_name_given_up_under_a_wildcard_is_told_again() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &["*", "a", "z"]).await;
    client.expect(CDS, &["+a", "-z"]).await;
    client.unsubscribe(CDS, &["a", "z"]).await;
    client.expect(CDS, &["+a", "-z"]).await;
}

#[tokio::test]
async fn nothing_is_sent_if_nothing_differs() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    client.expect(CDS, &["+a"]).await;
    server.fake.change(|w| w.set(CDS, &[("a", 1)]));
    server.fake.change(|w| w.set(RDS, &[("other", 1)]));
    client.quiet().await;
}

#[tokio::test]
async fn a_rejection_is_kept_and_not_answered() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    let response = client.response().await;
    client.nack(&response, "a is bad").await;
    client.quiet().await;
    let state = server.registry.connections()[0].types().remove(0);
    assert_eq!(state.status.error.as_deref(), Some("a is bad"));
    assert_eq!((state.responses, state.rejections), (1, 1));
    assert_eq!(state.status.nonce_acked, None);
    // The next version is sent, and its acceptance ends the complaint.
    server.fake.change(|w| w.set(CDS, &[("a", 2)]));
    client.expect(CDS, &["+a"]).await;
    client.quiet().await;
    let state = server.registry.connections()[0].types().remove(0);
    assert_eq!(state.status.error, None);
    assert_eq!(state.status.nonce_acked, state.status.nonce_sent);
}

#[tokio::test]
async fn a_forged_nonce_accepts_nothing() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    client.response().await;
    client.answer(CDS, "forged", None).await;
    client.quiet().await;
    let state = server.registry.connections()[0].types().remove(0);
    assert_eq!(state.status.nonce_acked, None);
    server.fake.change(|w| w.set(CDS, &[("a", 2)]));
    client.expect(CDS, &["+a"]).await;
}

#[tokio::test]
async fn a_reconnecting_client_is_sent_only_what_differs() {
    let server = Server::start(|w| {
        w.set(CDS, &[("changed", 2), ("new", 1), ("same", 1)]);
        w.set(EDS, &[("changed", 1), ("new", 1), ("same", 1)]);
    })
    .await;
    let mut client = server.delta().await;
    client.resume(CDS, &[], &[("changed", 1), ("gone", 1), ("same", 1)]).await;
    client.expect(CDS, &["+changed", "+new"]).await;
    client.expect(CDS, &["-gone"]).await;
    // Envoy keeps a changed cluster warming until endpoints come, though it has them.
    client.resume(EDS, &["changed", "new", "same"], &[("changed", 1), ("same", 1)]).await;
    client.expect(EDS, &["+changed", "+new"]).await;
    client.quiet().await;
}

#[tokio::test]
async fn a_client_that_has_everything_is_sent_nothing() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.resume(CDS, &["*"], &[("a", 1)]).await;
    client.quiet().await;
    server.fake.change(|w| w.set(CDS, &[("a", 2)]));
    client.expect(CDS, &["+a"]).await;
}

#[tokio::test]
async fn versions_of_another_server_are_not_taken_for_ours() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client
        .send(DeltaDiscoveryRequest {
            type_url: CDS.into(),
            initial_resource_versions: [("a".to_owned(), "2026-11-24T10:00:00Z/1".to_owned())].into(),
            response_nonce: "of another stream".into(),
            ..Default::default()
        })
        .await;
    client.expect(CDS, &["+a"]).await;
}

#[tokio::test]
async fn endpoints_asked_for_before_clusters_are_all_sent() {
    let server = Server::start(|w| {
        w.set(CDS, &[("a", 1), ("b", 2)]);
        w.set(EDS, &[("a", 1), ("b", 1)]);
    })
    .await;
    let mut client = server.delta().await;
    // While a cluster warms, Envoy asks for no clusters.
    client.resume(EDS, &["a", "b"], &[("a", 1), ("b", 1)]).await;
    client.expect(EDS, &["+a", "+b"]).await;
    client.resume(CDS, &[], &[("a", 1), ("b", 1)]).await;
    client.expect(CDS, &["+b"]).await;
    client.expect(EDS, &["+b"]).await;
    client.quiet().await;
}

#[tokio::test]
async fn endpoints_follow_every_cluster_that_is_sent() {
    let server = Server::start(|w| {
        w.set(CDS, &[("a", 1), ("b", 1)]);
        w.set(EDS, &[("a", 1), ("b", 1)]);
    })
    .await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    client.expect(CDS, &["+a", "+b"]).await;
    client.subscribe(EDS, &["a", "b"]).await;
    client.expect(EDS, &["+a", "+b"]).await;
    server.fake.change(|w| w.set(CDS, &[("a", 2)]));
    client.expect(CDS, &["+a"]).await;
    client.expect(EDS, &["+a"]).await;
    client.quiet().await;
}

#[tokio::test]
async fn extensions_are_never_removed() {
    let server = Server::start(|w| w.set(ECDS, &[("a", 1)])).await;
    let mut client = server.delta().await;
    client.subscribe(ECDS, &["a"]).await;
    client.expect(ECDS, &["+a"]).await;
    server.fake.change(|w| w.remove(ECDS, &["a"]));
    client.quiet().await;
}

#[tokio::test]
async fn resources_arrive_whole_with_the_hash_as_version() {
    let server =
        Server::start(|w| w.put(CDS, vec![resource("small", 1, 3), resource("large", 2, 100_000)])).await;
    let mut client = server.delta().await;
    client.subscribe(CDS, &[]).await;
    let response = client.response().await;
    let got: Vec<_> = response
        .resources
        .iter()
        .map(|r| {
            let any = r.resource.as_ref().unwrap();
            assert_eq!(any.type_url, CDS);
            (r.name.as_str(), r.version.clone(), any.value.to_vec())
        })
        .collect();
    assert_eq!(got, [("large", version_text(2), vec![2; 100_000]), ("small", version_text(1), vec![1; 3])]);
}

//! The state-of-the-world protocol, spoken by a real client.

mod common;

use common::{CDS, EDS, LDS, NODE, RDS, Server};

#[tokio::test]
async fn a_difference_in_one_cluster_sends_all_clusters() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1), ("b", 1)])).await;
    let mut client = server.sotw().await;
    client.ask(CDS, &[], "").await;
    let first = client.expect(CDS, 2).await;
    client.ask(CDS, &[], &first.nonce).await;
    client.quiet().await;
    server.fake.change(|w| w.set(CDS, &[("b", 2)]));
    let second = client.expect(CDS, 2).await;
    assert_ne!(first.version_info, second.version_info);
    assert_ne!(first.nonce, second.nonce);
    server.fake.change(|w| w.remove(CDS, &["a"]));
    client.expect(CDS, 1).await;
}

#[tokio::test]
async fn equal_content_has_an_equal_version() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1), ("b", 1)])).await;
    let other = Server::start(|w| w.set(CDS, &[("b", 1), ("a", 1)])).await;
    let mut versions = Vec::new();
    for server in [&server, &other] {
        let mut client = server.sotw().await;
        client.ask(CDS, &[], "").await;
        versions.push(client.expect(CDS, 2).await.version_info);
    }
    assert_eq!(versions[0], versions[1]);
}

#[tokio::test]
async fn of_endpoints_only_what_changed_or_was_added_is_sent() {
    let server = Server::start(|w| w.set(EDS, &[("a", 1), ("b", 1), ("c", 1)])).await;
    let mut client = server.sotw().await;
    client.ask(EDS, &["a", "b"], "").await;
    let response = client.expect(EDS, 2).await;
    client.ask(EDS, &["a", "b", "c"], &response.nonce).await;
    let response = client.expect(EDS, 1).await;
    client.ask(EDS, &["a", "b", "c"], &response.nonce).await;
    client.quiet().await;
    server.fake.change(|w| w.set(EDS, &[("a", 2)]));
    client.expect(EDS, 1).await;
}

#[tokio::test]
async fn a_shorter_list_is_not_answered() {
    let server = Server::start(|w| w.set(EDS, &[("a", 1), ("b", 1)])).await;
    let mut client = server.sotw().await;
    client.ask(EDS, &["a", "b"], "").await;
    let response = client.expect(EDS, 2).await;
    client.ask(EDS, &["a"], &response.nonce).await;
    client.quiet().await;
    server.fake.change(|w| w.set(EDS, &[("b", 2)]));
    client.quiet().await;
    // Taken up again, it is sent again.
    client.ask(EDS, &["a", "b"], &response.nonce).await;
    client.expect(EDS, 1).await;
}

#[tokio::test]
async fn an_empty_list_ends_the_subscription_to_routes() {
    let server = Server::start(|w| w.set(RDS, &[("80", 1)])).await;
    let mut client = server.sotw().await;
    client.ask(RDS, &["80"], "").await;
    let response = client.expect(RDS, 1).await;
    client.ask(RDS, &[], &response.nonce).await;
    client.quiet().await;
    assert!(server.registry.connections()[0].types().is_empty());
    server.fake.change(|w| w.set(RDS, &[("80", 2)]));
    client.quiet().await;
    client.ask(RDS, &["80"], &response.nonce).await;
    client.expect(RDS, 1).await;
}

#[tokio::test]
async fn an_overtaken_nonce_is_ignored() {
    let server = Server::start(|w| w.set(EDS, &[("a", 1), ("b", 1)])).await;
    let mut client = server.sotw().await;
    client.ask(EDS, &["a"], "").await;
    let first = client.expect(EDS, 1).await;
    server.fake.change(|w| w.set(EDS, &[("a", 2)]));
    let second = client.expect(EDS, 1).await;
    client.ask(EDS, &["a", "b"], &first.nonce).await;
    client.quiet().await;
    client.ask(EDS, &["a", "b"], &second.nonce).await;
    client.expect(EDS, 1).await;
}

#[tokio::test]
async fn a_forged_nonce_is_ignored() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.sotw().await;
    client.ask(CDS, &[], "").await;
    client.expect(CDS, 1).await;
    client.ask(CDS, &[], "forged").await;
    client.quiet().await;
    assert_eq!(server.registry.connections()[0].types()[0].status.nonce_acked, None);
}

#[tokio::test]
async fn a_first_request_with_a_nonce_is_answered() {
    // Envoy after a reconnect, and istioctl, which makes its nonce up.
    let server = Server::start(|w| w.set(CDS, &[("a", 1)])).await;
    let mut client = server.sotw().await;
    client.ask(CDS, &[], "of another stream").await;
    client.expect(CDS, 1).await;
}

#[tokio::test]
async fn a_rejection_is_kept_and_not_answered() {
    let server = Server::start(|w| w.set(LDS, &[("a", 1)])).await;
    let mut client = server.sotw().await;
    client.ask(LDS, &[], "").await;
    let response = client.expect(LDS, 1).await;
    client.nack(&response, &[], "no such filter").await;
    client.quiet().await;
    let connection = server.registry.connections().remove(0);
    assert!(connection.id.starts_with(NODE));
    let state = connection.types().remove(0);
    assert_eq!(state.status.error.as_deref(), Some("no such filter"));
    assert_eq!(state.status.nonce_sent.as_deref(), Some(&*response.nonce));
}

#[tokio::test]
async fn endpoints_follow_clusters_after_a_reconnect() {
    let server = Server::start(|w| {
        w.set(CDS, &[("a", 1), ("b", 1)]);
        w.set(EDS, &[("a", 1), ("b", 1)]);
    })
    .await;
    let mut client = server.sotw().await;
    client.ask(EDS, &["a", "b"], "old").await;
    let endpoints = client.expect(EDS, 2).await;
    client.ask(EDS, &["a", "b"], &endpoints.nonce).await;
    client.ask(CDS, &[], "old").await;
    client.expect(CDS, 2).await;
    client.expect(EDS, 2).await;
    client.quiet().await;
}

#[tokio::test]
async fn named_clusters_are_served_by_name() {
    let server = Server::start(|w| w.set(CDS, &[("a", 1), ("b", 1), ("c", 1)])).await;
    let mut client = server.sotw().await;
    client.ask(CDS, &["a"], "").await;
    let response = client.expect(CDS, 1).await;
    client.ask(CDS, &["a", "c"], &response.nonce).await;
    let response = client.expect(CDS, 2).await;
    server.fake.change(|w| w.set(CDS, &[("b", 2)]));
    client.quiet().await;
    client.ask(CDS, &["a", "*"], &response.nonce).await;
    client.expect(CDS, 3).await;
}

//! Who may speak to whom, tried with real connections through stock Envoys.

use std::time::Duration;

use anyhow::Result;
use meltemi_tests::{
    client::Requests,
    jwt::Signer,
    load::Report,
    shop::{SERVER, Shop, URL, alone, requests},
    wait,
    workload::{self, Workload},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(5);

fn peer_authentication(mode: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "default", "namespace": "shop"},
        "spec": {"mtls": {"mode": mode}},
    })
}

/// A policy of `server`.
fn authorization(name: &str, spec: Value) -> Value {
    let mut policy = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    });
    policy["spec"]["selector"] = json!({"matchLabels": {"app": "server"}});
    policy
}

/// Enough for both servers to have been asked: a change reaches one of them first.
const BOTH: u64 = 20;

/// A connection for each request to `server`: one that is open when a policy changes ends by the old one, as Envoy drains
/// it.
fn fresh_connections() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "server", "namespace": "shop"},
        "spec": {"host": "server", "trafficPolicy": {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}},
    })
}

fn answered(report: &Report, status: u16) -> bool {
    report.statuses.get(&status) == Some(&report.sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_mutual_tls_shuts_out_who_has_no_certificate_and_nobody_else() -> Result<()> {
    let _turn = alone().await;
    let shop = Shop::open(&[]).await?;
    let outsider = shop.mesh.outsider("outsider", [10, 244, 9, 9])?;
    // By the Pod's address: an outsider has nobody to tell it what a cluster IP means.
    let from_outside = || Requests::to(URL, (shop.v1.0.address, 8080)).send(&outsider, shop.mesh.dir());
    let report = from_outside().await?;
    assert!(answered(&report, 200), "by default both are let in: {report:?}");

    let load = requests()
        .count(20_000)
        .rate(200)
        .connections(8)
        .seconds(60)
        .start(&shop.client.pod, shop.mesh.dir())?;
    for _ in 0..3 {
        shop.mesh.state.write("config", &[peer_authentication("STRICT")])?;
        wait::until_true("the outsider is shut out", SOON, async || {
            Ok(from_outside().await?.statuses.is_empty())
        })
        .await?;
        shop.mesh.state.write("config", &[peer_authentication("PERMISSIVE")])?;
        wait::until_true("the outsider is let in", SOON, async || Ok(answered(&from_outside().await?, 200)))
            .await?;
    }
    let report = load.stop().await?;
    assert_eq!(report.failed(), 0, "{report:?}");
    shop.nothing_rejected().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_enforced_by_identity_and_request() -> Result<()> {
    let _turn = alone().await;
    let shop = Shop::open(&[]).await?;
    shop.mesh.state.write("connections", &[fresh_connections()])?;
    let other = Workload::new("shop", "other", "v1", [10, 244, 1, 20]);
    shop.mesh
        .state
        .write("other", &[workload::service("shop", "other", [10, 96, 1, 20], &[]), other.pod()])?;
    let other = shop.mesh.sidecar(&other, &[8080], &[]).await?;
    let as_client = |path: &str| shop.ask(Requests::to(&format!("{URL}{path}"), SERVER).count(BOTH));
    let as_other = |path: &str| {
        Requests::to(&format!("{URL}{path}"), SERVER).count(BOTH).send(&other.pod, shop.mesh.dir())
    };
    let report = as_other("").await?;
    assert!(answered(&report, 200), "{report:?}");

    shop.mesh.state.write(
        "config",
        &[authorization(
            "clients",
            json!({"action": "ALLOW", "rules": [
                {"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/client"]}}]},
                {"to": [{"operation": {"paths": ["/public/*"]}}]},
            ]}),
        )],
    )?;
    wait::until_true("the policy holds", SOON, async || Ok(answered(&as_other("").await?, 403))).await?;
    let report = as_client("").await?;
    assert!(answered(&report, 200), "{report:?}");
    let report = as_other("public/x").await?;
    assert!(answered(&report, 200), "{report:?}");
    let report = as_other("public/../secret").await?;
    assert!(answered(&report, 403), "a path is judged as it is once it is normal: {report:?}");

    shop.mesh.state.write(
        "config",
        &[authorization(
            "nobody",
            json!({"action": "DENY", "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]}),
        )],
    )?;
    wait::until_true("all are denied", SOON, async || Ok(answered(&as_client("").await?, 403))).await?;
    shop.mesh.state.write("config", &[])?;
    wait::until_true("all are let in again", SOON, async || Ok(answered(&as_other("").await?, 200))).await?;
    shop.nothing_rejected().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_required_and_checked() -> Result<()> {
    let _turn = alone().await;
    let signer = Signer::new()?;
    let keys = signer.jwks()?;
    let shop = Shop::open(&[
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": {"name": "tokens", "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"app": "server"}}, "jwtRules": [{"issuer": "tests", "jwks": keys}]},
        }),
        authorization("tokens", json!({"rules": [{"from": [{"source": {"requestPrincipals": ["tests/*"]}}]}]})),
    ])
    .await?;
    let with = |token: String| shop.ask(requests().header("authorization", &format!("Bearer {token}")));
    let from = |issuer: &str| json!({"iss": issuer, "sub": "somebody"});
    let report = with(signer.token(from("tests"))?).await?;
    assert!(answered(&report, 200), "{report:?}");
    let report = shop.ask(requests()).await?;
    assert!(answered(&report, 403), "no token: {report:?}");
    let report = with(Signer::new()?.token(from("tests"))?).await?;
    assert!(answered(&report, 401), "signed by somebody else: {report:?}");
    let report = with(signer.token(from("others"))?).await?;
    assert!(answered(&report, 401), "of another issuer: {report:?}");
    shop.nothing_rejected().await
}

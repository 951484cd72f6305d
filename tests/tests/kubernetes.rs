//! Meltemi on a real kube-apiserver: what a loss of it costs, and what it reads there.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use meltemi_api::wkt::Any;
use meltemi_tests::{
    cluster::{Cluster, cluster, endpoints, holds, mesh_configuration, proxy, route, service},
    objects::Objects,
    parity,
    proxy::{Key, Told},
    wait,
    xds_client::types,
};
use serde_json::{Value, json};

fn nothing_removed(told: &[Told]) -> Result<()> {
    for told in told {
        ensure!(told.removed.is_empty(), "removed: {told:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apiserver_that_is_away_for_a_minute_costs_nothing() -> Result<()> {
    let outage = env::var("MELTEMI_OUTAGE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let mut shop = Cluster::open(&parity::definitions()?).await?;
    shop.objects.apply(&[route("/before")]).await?;
    let meltemi = shop.meltemi().await?;
    let client = proxy(&meltemi).await?;
    client.until("the route", Duration::from_secs(5), |held| holds(held, types::ROUTES, "/before")).await?;

    let began = Instant::now();
    let before = client.held();
    shop.apiserver.kill()?;
    let end = tokio::time::Instant::now() + Duration::from_secs(outage);
    // Whoever comes meanwhile gets all that is known.
    let newcomer = proxy(&meltemi).await?;
    assert!(newcomer.held() == before, "a proxy that connects during the outage");
    tokio::time::sleep_until(end).await;
    client.check()?;
    assert!(client.told_since(began).is_empty(), "{:?}", client.told_since(began));

    shop.apiserver.bring_up().await?;
    let returned = Instant::now();
    shop.objects.apply(&[route("/after")]).await?;
    let arrived = client
        .until("the new route", Duration::from_secs(10), |held| holds(held, types::ROUTES, "/after"))
        .await?;
    eprintln!("the first change arrived {:?} after the apiserver's return", arrived - returned);
    ensure!(arrived - returned <= Duration::from_secs(5));
    let told = client.told_since(began);
    nothing_removed(&told)?;
    ensure!(
        told.iter().all(|t| t.kind == types::ROUTES && t.repeated.is_empty()),
        "only the route differs: {told:?}"
    );
    newcomer.check()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_missed_while_watches_expired_are_found_and_nothing_else_is_sent() -> Result<()> {
    let mut shop = Cluster::open(&parity::definitions()?).await?;
    shop.objects.apply(&[route("/before"), service("old", 2)]).await?;
    shop.objects.apply(&endpoints("old", &[9])).await?;
    let meltemi = shop.meltemi().await?;
    let client = proxy(&meltemi).await?;
    let settled = |held: &BTreeMap<Key, Any>| {
        holds(held, types::ROUTES, "/before") && holds(held, types::ENDPOINTS, "10.244.1.9")
    };
    client.until("the state before", Duration::from_secs(5), settled).await?;

    let began = Instant::now();
    shop.apiserver.kill()?;
    let beside = shop.apiserver.beside().await?;
    let elsewhere = Objects::new(beside.client.clone()).await?;
    elsewhere.apply(&endpoints("server", &[2, 3])).await?;
    elsewhere.apply(&[route("/after"), service("new", 3)]).await?;
    elsewhere.delete(&[service("old", 2)]).await?;
    elsewhere.delete(&endpoints("old", &[9])).await?;
    shop.apiserver.compact().await?;
    drop((elsewhere, beside));
    shop.apiserver.bring_up().await?;
    let returned = Instant::now();
    let arrived = client
        .until("what was missed", Duration::from_secs(15), |held| {
            let clusters = [("new", true), ("old", false), ("server", true)];
            holds(held, types::ROUTES, "/after")
                && holds(held, types::ENDPOINTS, "10.244.1.3")
                && clusters
                    .iter()
                    .all(|(s, there)| held.contains_key(&(types::CLUSTER.into(), cluster(s))) == *there)
        })
        .await?;
    eprintln!("all that was missed arrived {:?} after the apiserver's return", arrived - returned);
    ensure!(arrived - returned <= Duration::from_secs(5));
    for told in client.told_since(began) {
        ensure!(told.repeated.is_empty(), "sent again: {told:?}");
        ensure!(
            told.removed.iter().all(|n| n.contains("|old.") || n.contains("10.96.1.2_")),
            "removed: {told:?}"
        );
        if told.kind == types::CLUSTER {
            // A Service and its endpoints come by watches of their own: the one that is deleted may show without
            // endpoints before it goes.
            let expected = [cluster("new"), cluster("old")];
            ensure!(told.changed.iter().all(|n| expected.contains(n)), "no other cluster differs: {told:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_that_are_installed_late_are_read() -> Result<()> {
    let mut shop = Cluster::open(&[]).await?;
    let meltemi = shop.meltemi().await?;
    let client = proxy(&meltemi).await?;
    assert!(client.resource(types::CLUSTER, &cluster("server")).is_some(), "services need no such kinds");
    let began = Instant::now();
    shop.objects.install(&parity::definitions()?).await?;
    shop.objects.apply(&[route("/late")]).await?;
    let installed = Instant::now();
    let arrived = client
        .until("the route", Duration::from_secs(15), |held| holds(held, types::ROUTES, "/late"))
        .await?;
    eprintln!(
        "the first object of a new kind arrived {:?} after it was written",
        arrived.saturating_duration_since(installed)
    );
    nothing_removed(&client.told_since(began))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mesh_configuration_is_followed() -> Result<()> {
    let shop = Cluster::open(&parity::definitions()?).await?;
    let meltemi = shop.meltemi().await?;
    let client = proxy(&meltemi).await?;
    let began = Instant::now();
    let mesh = |file: &str| mesh_configuration(&format!("accessLogFile: {file}\n"));
    for file in ["/dev/stdout", "/tmp/other"] {
        shop.objects.apply(&[mesh(file)]).await?;
        client.until(file, Duration::from_secs(5), |held| holds(held, types::LISTENER, file)).await?;
    }
    // Without it the defaults hold again.
    shop.objects.delete(&[mesh("")]).await?;
    client
        .until("no access log", Duration::from_secs(5), |held| !holds(held, types::LISTENER, "/tmp/other"))
        .await?;
    nothing_removed(&client.told_since(began))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_entries_without_addresses_get_some_of_their_own() -> Result<()> {
    let shop = Cluster::open(&parity::definitions()?).await?;
    let entry = |name: &str, addresses: &[&str]| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "hosts": [format!("{name}.example.com")], "resolution": "DNS", "addresses": addresses,
                "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
            },
        })
    };
    let (first, second, placed) = (entry("first", &[]), entry("second", &[]), entry("placed", &["1.1.1.1"]));
    shop.objects.apply(&[first.clone(), second.clone(), placed.clone()]).await?;
    // Two that do not know of each other choose the same, or the second one's choice is refused.
    let _both = (shop.meltemi().await?, shop.meltemi().await?);
    let allocated = async |object: &Value| {
        let status = shop.objects.get(object).await?["status"]["addresses"].clone();
        let addresses = status.as_array().cloned().unwrap_or_default();
        anyhow::Ok(addresses.iter().filter_map(|a| a["value"].as_str().map(String::from)).collect::<Vec<_>>())
    };
    let (one, two) = wait::until("addresses", Duration::from_secs(20), async || {
        let (one, two) = (allocated(&first).await?, allocated(&second).await?);
        Ok((one.len() == 2 && two.len() == 2).then_some((one, two)))
    })
    .await?;
    assert!(one.iter().all(|a| !two.contains(a)), "{one:?} {two:?}");
    assert!(one[0].starts_with("240.240.") && one[1].starts_with("2001:2:"), "{one:?}");
    assert!(allocated(&placed).await?.is_empty());
    Ok(())
}

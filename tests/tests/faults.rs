//! What goes wrong between Meltemi and the apiserver must be forgotten once it is over, and cost nothing before.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use meltemi_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use meltemi_tests::{
    bootstrap,
    cluster::{Cluster, client, cluster, endpoints, holds, proxy, route, service},
    meltemi::{Meltemi, Source},
    netns::Place,
    parity,
    relay::Relay,
    scratch::Scratch,
    wait, workload,
    xds_client::{Delta, node, types},
};

/// Numbers that look random and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network_to_the_apiserver_leaves_no_trace() -> Result<()> {
    const ROUNDS: u64 = 60;
    let shop = Cluster::open(&parity::definitions()?).await?;
    shop.objects.apply(&[route("/0")]).await?;
    let relay = Relay::start(shop.apiserver.address()).await?;
    let scratch = Scratch::new()?;
    let by_relay = Source::Kubernetes(shop.kubeconfig_by(relay.address)?);
    let meltemi = Meltemi::start(&by_relay, scratch.path()).await?;
    let watched = proxy(&meltemi).await?;
    let began = Instant::now();

    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut there = BTreeSet::new();
    for round in 1..=ROUNDS {
        match dice.roll(6) {
            0 => relay.cut(),
            1 => relay.stall(),
            2 => relay.flow(),
            _ => {}
        }
        match dice.roll(4) {
            0 => shop.objects.apply(&[route(&format!("/{round}"))]).await?,
            1 => {
                let last: Vec<u8> = (2..3 + dice.roll(5) as u8).collect();
                shop.objects.apply(&endpoints("server", &last)).await?;
            }
            _ => {
                let n = 10 + dice.roll(6) as u8;
                let other = service(&format!("other-{n}"), n);
                match there.remove(&n) {
                    true => shop.objects.delete(&[other]).await?,
                    false => {
                        there.insert(n);
                        shop.objects.apply(&[other]).await?;
                    }
                }
            }
        }
        // Not a wait for anything: changes and faults need time between them to meet each other.
        tokio::time::sleep(Duration::from_millis(50 + dice.roll(200))).await;
    }
    relay.flow();
    relay.cut();

    let fresh = shop.meltemi().await?;
    let oracle = proxy(&fresh).await?;
    let healed = Instant::now();
    let equal = wait::until_true(
        "what it serves is what a new process serves",
        Duration::from_secs(15),
        async || {
            watched.check()?;
            Ok(watched.held() == oracle.held())
        },
    );
    if let Err(e) = equal.await {
        let (have, want) = (watched.held(), oracle.held());
        let keys: BTreeSet<_> = have.keys().chain(want.keys()).collect();
        let differ: Vec<_> = keys.into_iter().filter(|k| have.get(*k) != want.get(*k)).collect();
        bail!("{e}: {differ:?}");
    }
    eprintln!("equal {:?} after the network was well", healed.elapsed());
    for told in watched.told_since(began) {
        ensure!(
            !told.removed.contains(&cluster("server")),
            "a service that was there all the time went: {told:?}"
        );
        ensure!(told.repeated.is_empty(), "sent again: {told:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn started_before_the_apiserver_it_waits_for_it() -> Result<()> {
    let mut shop = Cluster::open(&parity::definitions()?).await?;
    shop.apiserver.kill()?;
    let source = Source::Kubernetes(shop.apiserver.kubeconfig().into());
    let scratch = Scratch::new()?;
    let mut meltemi = Meltemi::launch(&source, scratch.path())?;
    let mut asked = wait::until("it answers at all", Duration::from_secs(10), async || {
        meltemi.process.check()?;
        Ok(Some(meltemi.get("/ready").await?))
    })
    .await?;
    ensure!(!asked.status.is_success(), "ready without having read anything");
    let down = Instant::now();
    while down.elapsed() < Duration::from_secs(3) {
        asked = meltemi.get("/ready").await?;
        ensure!(!asked.status.is_success(), "ready without having read anything");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shop.apiserver.bring_up().await?;
    let up = Instant::now();
    meltemi.ready().await?;
    eprintln!("ready {:?} after the apiserver", up.elapsed());
    let proxy = proxy(&meltemi).await?;
    ensure!(proxy.resource(types::CLUSTER, &cluster("server")).is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_no_configuration_sends_nothing() -> Result<()> {
    let shop = Cluster::open(&parity::definitions()?).await?;
    shop.objects.apply(&[route("/")]).await?;
    let meltemi = shop.meltemi().await?;
    let proxy = proxy(&meltemi).await?;
    proxy
        .until("the route", Duration::from_secs(5), |held| holds(held, types::ROUTES, "server.shop"))
        .await?;
    let began = Instant::now();
    for n in 0..50 {
        let mut service = service("server", 1);
        service["metadata"]["annotations"] = serde_json::json!({"example.com/noise": n.to_string()});
        let mut route = route("/");
        route["metadata"]["labels"] = serde_json::json!({"noise": n.to_string()});
        let mut pod = client().pod();
        pod["metadata"]["annotations"] = serde_json::json!({"example.com/noise": n.to_string()});
        shop.objects.apply(&[service, route, pod]).await?;
    }
    // Whatever the noise caused would have come before this.
    shop.objects.apply(&endpoints("server", &[2, 3])).await?;
    proxy
        .until("a real change", Duration::from_secs(5), |held| holds(held, types::ENDPOINTS, "10.244.1.3"))
        .await?;
    for told in proxy.told_since(began) {
        ensure!(told.kind == types::ENDPOINTS && told.repeated.is_empty(), "{told:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_while_a_client_was_away_is_taken_from_it() -> Result<()> {
    let shop = Cluster::open(&parity::definitions()?).await?;
    let others: Vec<_> = (10..30).map(|n| service(&format!("other-{n}"), n)).collect();
    shop.objects.apply(&others).await?;
    let meltemi = shop.meltemi().await?;
    let node = node(&bootstrap::node(&client().pod(), Some(&workload::node())));
    let held = {
        let mut stream = Delta::open(&Place::host(), meltemi.grpc, node.clone()).await?;
        stream.subscribe(types::CLUSTER, &["*"])?;
        stream.expect(types::CLUSTER, Duration::from_secs(5)).await?
    };
    let wanted: BTreeSet<String> = (10..30).map(|n| cluster(&format!("other-{n}"))).collect();
    ensure!(wanted.iter().all(|name| held.resources.iter().any(|r| r.name == *name)));

    let onlooker = proxy(&meltemi).await?;
    shop.objects.delete(&others).await?;
    onlooker
        .until("the deletions", Duration::from_secs(5), |held| {
            !wanted.iter().any(|name| held.contains_key(&(types::CLUSTER.into(), name.clone())))
        })
        .await?;
    let mut stream = Delta::open(&Place::host(), meltemi.grpc, node).await?;
    stream.send(DeltaDiscoveryRequest {
        type_url: types::CLUSTER.into(),
        resource_names_subscribe: vec!["*".into()],
        initial_resource_versions: held
            .resources
            .iter()
            .map(|r| (r.name.clone(), r.version.clone()))
            .collect(),
        ..Default::default()
    })?;
    let response = stream.expect(types::CLUSTER, Duration::from_secs(5)).await?;
    assert_eq!(response.removed_resources.into_iter().collect::<BTreeSet<_>>(), wanted);
    ensure!(response.resources.is_empty(), "nothing else differs");
    Ok(())
}

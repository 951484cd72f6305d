//! What changes under load costs no request, and the basics of two sidecars and a gateway.
//!
//! The mesh: `client` calls `server`, which has two versions; an ingress gateway lets an outsider in.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use meltemi_tests::{
    client::Requests,
    load::Report,
    shop::{GATEWAY_PORT, HTTP, SERVER, Shop, URL, alone, ingress, requests, routes, subsets, to_subset},
    wait,
    workload::{self, Port, Workload},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn assert_all_answered(report: &Report, sent: u64) {
    assert_eq!((report.sent, report.failed()), (sent, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_arrive_between_sidecars_and_through_the_gateway() -> Result<()> {
    let _turn = alone().await;
    let host = "shop.example.com";
    let shop = Shop::open(&[
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {"selector": {"istio": "ingressgateway"}, "servers": [
                {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [host]},
            ]},
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "in", "namespace": "shop"},
            "spec": {"hosts": [host], "gateways": ["shop"], "http": [{"route": [{"destination": {"host": "server"}}]}]},
        }),
    ])
    .await?;

    let report = shop.ask(requests().count(1000).connections(8)).await?;
    assert_all_answered(&report, 1000);
    assert_eq!(report.names.len(), 2, "both versions answer: {report:?}");
    let seen: Value = serde_json::from_str(&report.bodies[&200])?;
    let certificate = seen["headers"]["x-forwarded-client-cert"].as_str().unwrap_or_default();
    assert!(certificate.contains("spiffe://cluster.local/ns/shop/sa/client"), "mutual TLS: {seen:#}");

    let gateway = shop.mesh.gateway(&ingress()).await?;
    let outsider = shop.mesh.outsider("outsider", [10, 244, 9, 9])?;
    let report = Requests::to(&format!("http://{host}/"), (ingress().address, GATEWAY_PORT))
        .count(1000)
        .connections(8)
        .send(&outsider, shop.mesh.dir())
        .await?;
    assert_all_answered(&report, 1000);
    assert_eq!(gateway.envoy.rejected().await?, 0, "{}", gateway.envoy.process.log_tail(20));
    shop.nothing_rejected().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_gets_its_share() -> Result<()> {
    let _turn = alone().await;
    let shop = Shop::open(&[
        subsets(),
        routes(json!({"route": [
            {"destination": {"host": "server", "subset": "v1"}, "weight": 90},
            {"destination": {"host": "server", "subset": "v2"}, "weight": 10},
        ]})),
    ])
    .await?;
    let report = shop.ask(requests().count(2000).connections(8)).await?;
    assert_all_answered(&report, 2000);
    let canary = report.names.get("server-v2").copied().unwrap_or_default();
    // Three standard deviations of a binomial distribution: 3 * sqrt(2000 * 0.1 * 0.9).
    assert!(canary.abs_diff(200) <= 40, "{report:?}");
    shop.nothing_rejected().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_and_timeouts_are_those_of_the_virtual_service() -> Result<()> {
    let _turn = alone().await;
    let shop = Shop::open(&[
        subsets(),
        routes(json!({
            "route": [{"destination": {"host": "server", "subset": "v1"}}],
            "timeout": "1.5s",
            "retries": {"attempts": 2, "perTryTimeout": "0.3s", "retryOn": "5xx,reset,connect-failure"},
        })),
    ])
    .await?;
    let once = |query: &str| Requests::to(&format!("{URL}?{query}"), SERVER);

    let report = shop.ask(once("key=two-fail&fail=2")).await?;
    assert_all_answered(&report, 1);
    assert_eq!(shop.seen("two-fail").await?, 3, "the first try and two retries");

    let report = shop.ask(once("key=all-fail&fail=9")).await?;
    assert_eq!(report.statuses.get(&503), Some(&1), "{report:?}");
    assert_eq!(shop.seen("all-fail").await?, 3, "no more than two retries");

    let report = shop.ask(once("key=slow-once&delay=1000&slow=1")).await?;
    assert_all_answered(&report, 1);
    assert_eq!(shop.seen("slow-once").await?, 2, "a try that is too slow is given up");

    let report = shop.ask(once("key=slow&delay=5000")).await?;
    assert_eq!(report.statuses.get(&504), Some(&1), "{report:?}");
    assert_eq!(shop.seen("slow").await?, 3);
    assert!((800..1600).contains(&report.slowest_ms), "three tries of 0.3 s: {} ms", report.slowest_ms);
    shop.nothing_rejected().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_goes_and_comes_without_an_error() -> Result<()> {
    let _turn = alone().await;
    let mut shop = Shop::open(&[]).await?;
    const CLUSTER: &str = "outbound|80||server.shop.svc.cluster.local";
    let load = requests()
        .count(20_000)
        .rate(200)
        .connections(8)
        .seconds(60)
        .start(&shop.client.pod, shop.mesh.dir())?;
    wait::until_true("both versions answer", Duration::from_secs(10), async || {
        Ok(shop.v1.1.count("").await? > 20 && shop.v2.1.count("").await? > 20)
    })
    .await?;

    for round in 0..5 {
        shop.mesh.state.write("server", &[workload::slice("shop", "server", HTTP, &[&shop.v1.0])])?;
        wait::until_true(format!("v2 is gone, round {round}"), Duration::from_secs(5), async || {
            Ok(shop.client.envoy.endpoints(CLUSTER).await? == ["10.244.1.2:8080"])
        })
        .await?;
        shop.mesh
            .state
            .write("server", &[workload::slice("shop", "server", HTTP, &[&shop.v1.0, &shop.v2.0])])?;
        let before = shop.v2.1.count("").await?;
        wait::until_true(format!("v2 is back, round {round}"), Duration::from_secs(5), async || {
            Ok(shop.v2.1.count("").await? > before + 20)
        })
        .await?;
    }

    // For good: once the proxy has let go of it and its last answers are out, the Pod may end.
    shop.mesh.state.write("server", &[workload::slice("shop", "server", HTTP, &[&shop.v1.0])])?;
    let mut last = u64::MAX;
    wait::until_true("v2 is left in peace", Duration::from_secs(5), async || {
        let before = std::mem::replace(&mut last, shop.v2.1.count("").await?);
        let gone = shop.client.envoy.endpoints(CLUSTER).await? == ["10.244.1.2:8080"];
        let busy =
            shop.client.envoy.stats("outbound.80..server.*upstream_rq_active$").await?.values().sum::<u64>();
        Ok(gone && before == last && busy <= 1)
    })
    .await?;
    let server = shop.v2.1.app.as_mut().context("a server")?;
    server.process.kill()?;
    let before = shop.v1.1.count("").await?;
    wait::until_true("v1 answers alone", Duration::from_secs(10), async || {
        Ok(shop.v1.1.count("").await? > before + 200)
    })
    .await?;
    let report = load.stop().await?;
    assert_eq!(report.failed(), 0, "{report:?}");
    shop.nothing_rejected().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_flipped_under_load_costs_no_error() -> Result<()> {
    let _turn = alone().await;
    let shop = Shop::open(&[subsets(), to_subset("v1")]).await?;
    let load = requests()
        .count(50_000)
        .rate(200)
        .connections(8)
        .seconds(120)
        .start(&shop.client.pod, shop.mesh.dir())?;
    let mut slowest = Duration::ZERO;
    for flip in 1..=50 {
        let before = shop.routes().await?;
        shop.mesh.state.write("config", &[subsets(), to_subset(["v1", "v2"][flip % 2])])?;
        let written = Instant::now();
        shop.routes_after(before).await.with_context(|| format!("flip {flip}"))?;
        slowest = slowest.max(written.elapsed());
    }
    let report = load.stop().await?;
    eprintln!("50 flips, the slowest took {slowest:?} from file to proxy; {} requests", report.sent);
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(report.names.len(), 2, "both versions answered: {report:?}");
    // What was set last holds.
    let report = shop.ask(requests().count(100)).await?;
    assert_eq!(report.names.keys().collect::<Vec<_>>(), ["server-v1"], "{report:?}");
    shop.nothing_rejected().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subset_that_takes_the_place_of_another_costs_no_error() -> Result<()> {
    let _turn = alone().await;
    // The routes to the old subset must be gone before its cluster is, and the new cluster there before its routes.
    let only = |version: &str| {
        let mut rule = subsets();
        rule["spec"]["subsets"] = json!([{"name": version, "labels": {"version": version}}]);
        [rule, to_subset(version)]
    };
    let shop = Shop::open(&only("v1")).await?;
    let load = requests()
        .count(50_000)
        .rate(200)
        .connections(8)
        .seconds(120)
        .start(&shop.client.pod, shop.mesh.dir())?;
    for flip in 1..=30 {
        let before = shop.routes().await?;
        shop.mesh.state.write("config", &only(["v1", "v2"][flip % 2]))?;
        shop.routes_after(before).await.with_context(|| format!("flip {flip}"))?;
    }
    let report = load.stop().await?;
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(report.names.len(), 2, "both versions answered: {report:?}");
    shop.nothing_rejected().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_both_ways_on_a_tcp_port_and_a_service_may_come_later() -> Result<()> {
    let _turn = alone().await;
    const PORTS: &[Port<'_>] = &[("tcp", 9000, 9000)];
    let shop = Shop::open(&[]).await?;
    let echo = Workload::new("shop", "echo", "v1", [10, 244, 1, 30]);
    shop.mesh.state.write(
        "echo",
        &[
            workload::service("shop", "echo", [10, 96, 1, 30], PORTS),
            workload::slice("shop", "echo", PORTS, &[&echo]),
            echo.pod(),
        ],
    )?;
    let echo = shop.mesh.sidecar(&echo, &[8080], &[9000]).await?;
    let service = ([10, 96, 1, 30], 9000).into();
    let mut stream = wait::until("the service is reached", Duration::from_secs(5), async || {
        let mut stream = shop.client.pod.place.connect(service).await?;
        let mut greeting = [0; 8];
        stream.read_exact(&mut greeting).await?;
        Ok((greeting == *b"echo-v1\n").then_some(stream))
    })
    .await?;
    let sent: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[0]).collect();
    let mut received = vec![0; sent.len()];
    let (mut from, mut to) = stream.split();
    let (wrote, read) = tokio::join!(to.write_all(&sent), from.read_exact(&mut received));
    wrote?;
    read?;
    assert!(received == sent, "what came back is not what was sent");
    let encrypted = echo.envoy.stats("ssl.handshake$").await?.values().sum::<u64>();
    assert!(encrypted > 0, "it went in clear");
    assert_eq!(echo.envoy.rejected().await?, 0, "{}", echo.envoy.process.log_tail(20));
    shop.nothing_rejected().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_killed_under_load_costs_no_error() -> Result<()> {
    let _turn = alone().await;
    let mut shop = Shop::open(&[subsets(), to_subset("v1")]).await?;
    let load = requests()
        .count(50_000)
        .rate(200)
        .connections(8)
        .seconds(120)
        .start(&shop.client.pod, shop.mesh.dir())?;
    for round in 0..3 {
        // Dropping it kills it.
        shop.mesh.meltemi = None;
        shop.mesh.state.write("config", &[subsets(), to_subset(["v2", "v1"][round % 2])])?;
        let before = shop.routes().await?;
        shop.mesh.start().await?;
        shop.routes_after(before).await.with_context(|| format!("round {round}: what changed meanwhile"))?;
    }
    let report = load.stop().await?;
    assert_eq!(report.failed(), 0, "{report:?}");
    shop.nothing_rejected().await
}

//! Real requests through stock Envoys that Meltemi configures from files.
//!
//! The mesh: `client` calls `server`, which has two versions; an ingress gateway lets an outsider in.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use meltemi_tests::{
    client::Requests,
    load::Report,
    mesh::{Member, Mesh},
    wait,
    workload::{self, Port, Workload},
};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

/// Rates and counts are only met if the tests don't take each other's processors.
async fn alone() -> MutexGuard<'static, ()> {
    static TURN: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);
    TURN.lock().await
}

const SERVER: ([u8; 4], u16) = ([10, 96, 1, 1], 80);
const URL: &str = "http://server.shop/";
const HTTP: &[Port<'_>] = &[("http", 80, 8080)];
const GATEWAY_PORT: u16 = 8080;

struct Shop {
    mesh: Mesh,
    client: Member,
    v1: (Workload, Member),
    v2: (Workload, Member),
}

impl Shop {
    /// Brings the mesh up with these resources of Istio beside its services.
    async fn open(config: &[Value]) -> Result<Self> {
        let mut mesh = Mesh::new()?;
        let client = Workload::new("shop", "client", "v1", [10, 244, 1, 1]);
        let v1 = Workload::new("shop", "server", "v1", [10, 244, 1, 2]);
        let v2 = Workload::new("shop", "server", "v2", [10, 244, 1, 3]);
        mesh.state.write(
            "cluster",
            &[
                workload::namespace("shop"),
                workload::namespace("istio-system"),
                workload::service("shop", "client", [10, 96, 1, 2], HTTP),
                workload::service("shop", "server", SERVER.0, HTTP),
                workload::service("istio-system", "ingress", [10, 96, 1, 3], &[("http", 80, GATEWAY_PORT)]),
                client.pod(),
                v1.pod(),
                v2.pod(),
                ingress().pod(),
                workload::slice("istio-system", "ingress", &[("http", 80, GATEWAY_PORT)], &[&ingress()]),
                workload::slice("shop", "client", HTTP, &[&client]),
            ],
        )?;
        mesh.state.write("server", &[workload::slice("shop", "server", HTTP, &[&v1, &v2])])?;
        mesh.state.write("config", config)?;
        mesh.start().await?;
        let client = mesh.sidecar(&client, &[8080], &[]).await?;
        let (m1, m2) = (mesh.sidecar(&v1, &[8080], &[]).await?, mesh.sidecar(&v2, &[8080], &[]).await?);
        Ok(Self { mesh, client, v1: (v1, m1), v2: (v2, m2) })
    }

    async fn ask(&self, requests: Requests) -> Result<Report> {
        requests.send(&self.client.pod, self.mesh.dir()).await
    }

    /// How many requests with a key both servers have seen.
    async fn seen(&self, key: &str) -> Result<u64> {
        Ok(self.v1.1.count(key).await? + self.v2.1.count(key).await?)
    }

    /// Fails if a proxy has rejected anything.
    async fn nothing_rejected(&self) -> Result<()> {
        for member in [&self.client, &self.v1.1, &self.v2.1] {
            let rejected = member.envoy.rejected().await?;
            ensure!(
                rejected == 0,
                "{} rejected {rejected}:\n{}",
                member.pod.name,
                member.envoy.process.log_tail(20)
            );
        }
        Ok(())
    }

    /// Waits until the client's proxy has taken routes in since a count of [`Shop::routes`].
    async fn routes_after(&self, before: u64) -> Result<()> {
        let limit = Duration::from_secs(10);
        wait::until_true("new routes", limit, async || Ok(self.routes().await? > before)).await
    }

    /// How often the client's proxy has taken routes in.
    async fn routes(&self) -> Result<u64> {
        Ok(self.client.envoy.stats(r"rds\..*config_reload$").await?.values().sum())
    }
}

fn ingress() -> Workload {
    Workload::new("istio-system", "ingress", "v1", [10, 244, 1, 4]).label("istio", "ingressgateway")
}

/// Requests to `server`.
fn requests() -> Requests {
    Requests::to(URL, SERVER)
}

fn subsets() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "server", "namespace": "shop"},
        "spec": {"host": "server", "subsets": [
            {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}},
        ]},
    })
}

/// A VirtualService of `server` with one HTTP route.
fn routes(route: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "server", "namespace": "shop"},
        "spec": {"hosts": ["server"], "http": [route]},
    })
}

fn to_subset(name: &str) -> Value {
    routes(json!({"route": [{"destination": {"host": "server", "subset": name}}]}))
}

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

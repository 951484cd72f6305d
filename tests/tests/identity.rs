//! Who workloads are, tried with real agents, stock Envoys and real connections: mutual TLS by certificates that the agents
//! were given, their renewal, new roots, and how agents end.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use meltemi_tests::{
    agent::{self, Control, READY, STATUS, token},
    authority::{Authority, Root},
    client::{Requests, Running},
    http,
    interception::intercept_with,
    mesh::{Member, Mesh},
    netns::HUB,
    shop::{HTTP, SERVER, URL, alone},
    wait,
    workload::{self, Workload},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// Short enough to see several renewals in a test.
const SHORT: Duration = Duration::from_secs(12);
/// Requests a second of the loads.
const RATE: u32 = 100;

/// A client and a server whose sidecars have agents.
struct Pair {
    mesh: Mesh,
    authority: Authority,
    client: (Workload, Member),
    server: (Workload, Member),
}

impl Pair {
    async fn open(life: Duration, config: &[Value]) -> Result<Self> {
        let mut mesh = Mesh::new()?;
        let client = Workload::new("shop", "client", "v1", [10, 244, 1, 1]);
        let server = Workload::new("shop", "server", "v1", [10, 244, 1, 2]);
        mesh.state.write(
            "cluster",
            &[
                workload::namespace("shop"),
                workload::namespace("istio-system"),
                workload::service("shop", "client", [10, 96, 1, 2], HTTP),
                workload::service("shop", "server", SERVER.0, HTTP),
                workload::slice("shop", "client", HTTP, &[&client]),
                workload::slice("shop", "server", HTTP, &[&server]),
                client.pod(),
                server.pod(),
            ],
        )?;
        mesh.state.write("config", config)?;
        mesh.start().await?;
        let authority = Authority::start(mesh.hub(), (HUB, 15013).into(), life).await?;
        let control = Control::Led(&authority);
        let first = mesh.agent(&client, &[8080], &control, &[]).await?;
        let second = mesh.agent(&server, &[8080], &control, MORE).await?;
        Ok(Self { mesh, authority, client: (client, first), server: (server, second) })
    }

    fn members(&self) -> [&(Workload, Member); 2] {
        [&self.client, &self.server]
    }

    /// Requests from the client without end, each with a handshake of its own.
    fn load(&self, limit: Duration) -> Result<Running> {
        let load = Requests::to(URL, SERVER).count(u64::MAX).rate(RATE).connections(8);
        load.seconds(limit.as_secs()).start(&self.client.1.pod, self.mesh.dir())
    }

    /// Waits until both Envoys have so many roots.
    async fn roots(&self, count: usize) -> Result<()> {
        wait::until_true(format!("{count} roots"), SOON, async || {
            for (_, member) in self.members() {
                let held = agent::secret(&member.envoy, "ROOTCA").await?;
                if held.matches("BEGIN CERTIFICATE").count() != count {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// Waits until the present signer has given both workloads so many certificates.
    async fn signed(&self, count: u64, limit: Duration) -> Result<()> {
        wait::until_true("new certificates", limit, async || {
            Ok(self.members().iter().all(|(w, _)| self.authority.signed(&token(w)) >= count))
        })
        .await
    }

    /// Waits until the server has answered so many requests more.
    async fn answers(&self, more: u64) -> Result<()> {
        let now = self.server.1.count("").await?;
        wait::until_true("more answers", SOON, async || Ok(self.server.1.count("").await? >= now + more))
            .await
    }
}

/// What the server's Pod template has beside: a probe and metrics of its own.
const MORE: &[(&str, &str)] = &[
    (
        "ISTIO_KUBE_APP_PROBERS",
        r#"{"/app-health/app/readyz":{"httpGet":{"path":"/healthy","port":8080},"timeoutSeconds":5}}"#,
    ),
    ("ISTIO_PROMETHEUS_ANNOTATIONS", r#"{"scrape":"true","path":"/own-metrics","port":"8080"}"#),
];

/// A handshake for each request: one that fails is seen at once.
fn fresh_connections() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "server", "namespace": "shop"},
        "spec": {"host": "server", "trafficPolicy": {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_know_each_other_by_what_their_agents_were_given() -> Result<()> {
    let _turn = alone().await;
    let strict = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "default", "namespace": "shop"},
        "spec": {"mtls": {"mode": "STRICT"}},
    });
    let pair = Pair::open(Duration::from_secs(3600), &[strict]).await?;
    let report = Requests::to(URL, SERVER).count(20).send(&pair.client.1.pod, pair.mesh.dir()).await?;
    ensure!(report.failed() == 0, "{report:?}");
    let body: Value = serde_json::from_str(report.bodies.get(&200).context("an answer")?)?;
    let caller = body["headers"]["x-forwarded-client-cert"].as_str().context("no caller was told")?;
    assert!(caller.contains("URI=spiffe://cluster.local/ns/shop/sa/client"), "{caller}");
    assert!(caller.contains("By=spiffe://cluster.local/ns/shop/sa/server"), "{caller}");

    // By the Pod's address: an outsider has nobody to tell it what a cluster IP means.
    let outsider = pair.mesh.outsider("outsider", [10, 244, 9, 9])?;
    let to = (pair.server.0.address, 8080);
    let report = Requests::to(URL, to).count(5).send(&outsider, pair.mesh.dir()).await?;
    assert_eq!(report.statuses.len(), 0, "plaintext is refused: {report:?}");

    serves_status(&pair, &outsider).await?;
    the_rules_are_set_once(&pair)?;
    ends_in_order(pair).await
}

/// What kubelet and Prometheus ask for, from outside the Pod.
async fn serves_status(pair: &Pair, from: &meltemi_tests::netns::Pod) -> Result<()> {
    let at = |port| SocketAddr::from((pair.server.0.address, port));
    let get = async |port, path| http::get(&from.place, at(port), path).await;
    assert!(get(READY, "/healthz/ready").await?.status.is_success());
    assert!(get(STATUS, "/healthz/ready").await?.status.is_success());
    assert!(get(STATUS, "/app-health/app/readyz").await?.status.is_success());
    let metrics = get(STATUS, "/stats/prometheus").await?.text()?;
    for part in ["istio_agent_num_outgoing_requests", "envoy_server_live", "own-metrics"] {
        assert!(metrics.contains(part), "{part} is not in\n{metrics}");
    }
    assert!(get(15090, "/stats/prometheus").await?.text()?.contains("envoy_server_live"));
    let refused = http::post(&from.place, at(STATUS), "/quitquitquit", "").await?;
    assert_eq!(refused.status.as_u16(), 403, "only the Pod itself may end its agent");
    Ok(())
}

/// Running the init container again changes nothing; cleaning up takes everything away; both see the kernel's rules.
fn the_rules_are_set_once(pair: &Pair) -> Result<()> {
    let pod = &pair.client.1.pod;
    let rules = || {
        let command = pod.place.command("iptables-save");
        let saved = meltemi_tests::process::run(command)?;
        // Counters and times differ.
        Ok::<_, anyhow::Error>(
            saved.lines().filter(|l| l.starts_with("-A")).map(String::from).collect::<Vec<_>>(),
        )
    };
    let before = rules()?;
    assert!(before.iter().any(|r| r.contains("ISTIO_IN_REDIRECT")), "{before:#?}");
    intercept_with(pod, &[])?;
    assert_eq!(rules()?, before);
    let other = ["--istio-local-outbound-ports-exclude", "5432", "--reconcile"];
    intercept_with(pod, &other)?;
    assert!(rules()?.iter().any(|r| r.contains("5432")), "{:#?}", rules()?);
    intercept_with(pod, &["--reconcile"])?;
    assert_eq!(rules()?, before);
    intercept_with(pod, &["--cleanup-only"])?;
    assert_eq!(rules()?, Vec::<String>::new());
    Ok(())
}

/// A signal drains and ends; an Envoy that dies takes its agent with it.
async fn ends_in_order(pair: Pair) -> Result<()> {
    let Pair { mesh, client: (_, mut client), server: (workload, mut server), authority } = pair;
    let began = Instant::now();
    let status = server.envoy.process.stop(Duration::from_secs(20)).await?;
    assert_eq!(status.code(), Some(0), "{}", server.envoy.process.log_tail(10));
    assert!(began.elapsed() >= Duration::from_secs(4), "connections were given {:?}", began.elapsed());
    let envoy = child(client.envoy.process.pid()).context("the agent has no child")?;
    meltemi_tests::process::run(kill(envoy))?;
    let status = client.envoy.process.wait(SOON).await?;
    assert_eq!(status.code(), Some(128 + 9), "{}", client.envoy.process.log_tail(10));
    drop((mesh, workload, authority));
    Ok(())
}

fn kill(pid: u32) -> std::process::Command {
    let mut command = std::process::Command::new("kill");
    command.args(["-KILL", &pid.to_string()]);
    command
}

/// The first child of any thread of a process.
fn child(pid: u32) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let children = threads.filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
    children.flat_map(|c| c.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<_>>()).next()
}

/// Certificates are renewed several times under load, and no request notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_loses_nothing() -> Result<()> {
    renewals(SHORT, 4).await
}

/// The same for ten minutes with a life of a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes"]
async fn ten_minutes_of_renewal_lose_nothing() -> Result<()> {
    renewals(Duration::from_secs(60), 21).await
}

async fn renewals(life: Duration, count: u64) -> Result<()> {
    let _turn = alone().await;
    let pair = Pair::open(life, &[fresh_connections()]).await?;
    let limit = life.mul_f64(0.52) * u32::try_from(count)? + SOON;
    let load = pair.load(limit + SOON)?;
    pair.signed(count, limit).await?;
    pair.answers(u64::from(RATE)).await?;
    let report = load.stop().await?;
    eprintln!("{count} certificates of {life:?}: {} requests, {} failed", report.sent, report.failed());
    ensure!(report.failed() == 0, "{report:?}");
    Ok(())
}

/// A new root takes the place of the old one, by way of both, under load, and no request notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_root_loses_nothing() -> Result<()> {
    rotation(SHORT, 1).await
}

/// The same again and again, with a life of a minute: about ten minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes"]
async fn ten_minutes_of_new_roots_lose_nothing() -> Result<()> {
    rotation(Duration::from_secs(60), 9).await
}

async fn rotation(life: Duration, times: u64) -> Result<()> {
    let _turn = alone().await;
    let mut pair = Pair::open(life, &[fresh_connections()]).await?;
    let load = pair.load(Duration::from_secs(3600))?;
    pair.answers(u64::from(RATE)).await?;
    for n in 0..times {
        let (old, new) = (pair.authority.signer(), Root::new(&format!("root {n}"))?);
        pair.authority.trust(&[old, new.clone()])?;
        pair.roots(2).await?;
        pair.authority.sign_by(&new)?;
        pair.signed(1, life).await?;
        pair.answers(u64::from(RATE)).await?;
        pair.authority.trust(std::slice::from_ref(&new))?;
        pair.signed(2, life).await?;
        pair.roots(1).await?;
        pair.answers(u64::from(RATE)).await?;
    }
    let report = load.stop().await?;
    eprintln!("{times} new roots: {} requests, {} failed", report.sent, report.failed());
    ensure!(report.failed() == 0, "{report:?}");
    Ok(())
}

//! Identities from end to end: Pods of a real apiserver, their real tokens, the control plane's own certificate authority,
//! agents, and stock Envoys.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meltemi_tests::{
    agent::{self, Control},
    app::App,
    client::Requests,
    cluster::{self, Cluster},
    envoy::Envoy,
    interception::intercept,
    meltemi::Meltemi,
    netns::{Network, Pod},
    relay::Relay,
    scratch::Scratch,
    shop::{SERVER, URL},
    wait,
    workload::Workload,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

fn server() -> Workload {
    Workload::new("shop", "server", "v1", [10, 244, 1, 2])
}

fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "shop"}})
}

/// The roots that the control plane has written for the Pods of a namespace.
async fn roots(cluster: &Cluster) -> Result<String> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio-ca-root-cert", "namespace": "shop"},
    });
    wait::until("the roots of the namespace", SOON, async || {
        let found = cluster.objects.get(&map).await.ok();
        Ok(found.and_then(|m| m["data"]["root-cert.pem"].as_str().map(String::from)))
    })
    .await
}

/// A Pod with an agent, whose certificates live for 20 s.
struct Member {
    envoy: Envoy,
    pod: Pod,
    _app: App,
}

async fn member(
    cluster: &Cluster,
    network: &Network,
    workload: &Workload,
    roots: &str,
    dir: &std::path::Path,
) -> Result<Member> {
    let pod = network.pod(&workload.pod_name(), workload.address)?;
    let app = App::start(&pod, &workload.name(), &[8080], &[], dir).await?;
    intercept(&pod)?;
    let token =
        cluster.objects.token(&workload.namespace, &workload.app, &workload.pod_name(), "istio-ca").await?;
    let control = Control::Istiod { token: &token, roots };
    let envoy = agent::start(&pod, workload, &control, &[("SECRET_TTL", "20s")], dir).await?;
    Ok(Member { envoy, pod, _app: app })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_get_identities_for_their_tokens_and_keep_them() -> Result<()> {
    let cluster = Cluster::open(&[]).await?;
    cluster.objects.apply(&[account("client"), account("server")]).await?;
    let (scratch, network) = (Scratch::new()?, Network::new()?);
    // The control plane finds the apiserver where it is for everybody else: on the loopback address.
    let here = network.hub().listen(cluster.apiserver.address()).await?;
    let _relay = Relay::on(here, cluster.apiserver.address())?;
    let _meltemi = Meltemi::start_secure_in(&network, cluster.apiserver.kubeconfig(), scratch.path()).await?;
    let roots = roots(&cluster).await?;
    let client = member(&cluster, &network, &cluster::client(), &roots, scratch.path()).await?;
    let server = member(&cluster, &network, &server(), &roots, scratch.path()).await?;

    let first = agent::secret(&server.envoy, "default").await?;
    let load = Requests::to(URL, SERVER).count(100_000).rate(100).connections(4).no_keep_alive();
    let load = load.seconds(120).start(&client.pod, scratch.path())?;
    wait::until_true("a renewed certificate", SOON, async || {
        Ok(agent::secret(&server.envoy, "default").await? != first)
    })
    .await?;
    let report = load.stop().await?;
    ensure!(report.sent > 500 && report.failed() == 0, "{report:?}");
    let body: Value = serde_json::from_str(report.bodies.get(&200).context("an answer")?)?;
    let caller = body["headers"]["x-forwarded-client-cert"].as_str().context("no caller was told")?;
    assert!(caller.contains("URI=spiffe://cluster.local/ns/shop/sa/client"), "{caller}");

    for member in [client, server] {
        assert_eq!(member.envoy.rejected().await?, 0, "{}", member.envoy.process.log_tail(10));
    }
    Ok(())
}

//! A cluster read from an apiserver and the same one read from files must be served as the same bytes.
//!
//! One process follows the apiserver from case to case; for the files of each case a new one starts. So this also holds
//! what a process has become, change by change, against what a process makes of the same state at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use meltemi_tests::{
    apiserver::ApiServer,
    cluster::mesh_configuration,
    meltemi::{Meltemi, Source},
    netns::Place,
    objects::{self, Objects},
    parity::{self, Case},
    proxy::Proxy,
    scratch::Scratch,
    state::State,
    wait, workload,
};
use serde_json::{Value, json};

/// Cases of different kinds of resources.
const CASES: &[&str] = &[
    "smoke/apps-plain",
    "samples/bookinfo-ingress",
    "samples/bookinfo-gwapi",
    "virtualservice/match-headers-query",
    "destinationrule/merge",
    "meshconfig/access-log-json",
    "serviceentry/workload-entries",
    "services/endpoint-conditions",
    "security/authz-operations",
    "sidecar/egress-hosts",
    "gateway/ingress",
    "envoyfilter/routes",
];

/// The cases to run: `MELTEMI_CASES` may be `all` (but those of the Gateway API alone), a suite or a case.
fn cases() -> Result<Vec<Case>> {
    let cases = match env::var("MELTEMI_CASES") {
        Ok(all) if all == "all" => {
            Case::all("")?.into_iter().filter(|case| !case.name.starts_with("gatewayapi/")).collect()
        }
        Ok(only) => Case::all(&only)?,
        Err(_) => CASES.iter().map(|name| Case::open(name)).collect::<Result<_>>()?,
    };
    ensure!(!cases.is_empty(), "no case has the name in MELTEMI_CASES");
    Ok(cases)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_and_an_apiserver_give_equal_bytes() -> Result<()> {
    let apiserver = ApiServer::start().await?;
    let mut objects = Objects::new(apiserver.client().await?).await?;
    objects.install(&parity::definitions()?).await?;
    objects.apply(&[workload::namespace("istio-system")]).await?;
    let scratch = Scratch::new()?;
    // Addresses for ServiceEntries can be written to an apiserver only, so none are to be had.
    let none = [
        ("PILOT_IP_AUTOALLOCATE_IPV4_PREFIX", "240.240.0.0/32"),
        ("PILOT_IP_AUTOALLOCATE_IPV6_PREFIX", "2001:2::/128"),
    ];
    let source = Source::Kubernetes(apiserver.kubeconfig().into());
    let follower = Meltemi::start_with(&source, scratch.path(), &none).await?;
    let mut failures = Vec::new();
    for case in cases()? {
        let state = objects::parse(&case.state()?)?;
        let outcome = async {
            objects.apply(&[mesh_configuration(&case.mesh())]).await?;
            create_at_once(&objects, &state).await?;
            compare(&case, &follower).await
        };
        if let Err(e) = outcome.await {
            failures.push(format!("{}: {e:#}", case.name));
        }
        clear(&objects, &state).await.with_context(|| format!("clearing after {}", case.name))?;
    }
    ensure!(failures.is_empty(), "{} cases differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Whether an object is the apiserver's own, and so can't be deleted.
fn is_builtin(object: &Value) -> bool {
    object["metadata"]["name"] == "kubernetes" && object["kind"] == "Service"
        || object["metadata"]["name"] == "default" && object["kind"] == "Namespace"
}

async fn clear(objects: &Objects, state: &[Value]) -> Result<()> {
    let (namespaces, rest): (Vec<Value>, Vec<Value>) =
        state.iter().filter(|o| !is_builtin(o)).cloned().partition(|o| o["kind"] == "Namespace");
    objects.delete(&rest).await?;
    let plain = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    objects.apply(&[plain]).await?;
    let system = |o: &&Value| o["metadata"]["name"] == "istio-system";
    objects.delete(&namespaces.iter().filter(|o| !system(o)).cloned().collect::<Vec<_>>()).await?;
    objects.apply(&[workload::namespace("istio-system")]).await
}

/// Creates all within one second: of two objects that claim the same the older one wins, and in a file all are equally
/// old.
async fn create_at_once(objects: &Objects, state: &[Value]) -> Result<()> {
    for _ in 0..5 {
        wait::until_true("the start of a second", Duration::from_secs(2), async || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            Ok(now.subsec_millis() < 300)
        })
        .await?;
        objects.apply(state).await?;
        let mut seconds = BTreeMap::new();
        for object in state.iter().filter(|o| !is_builtin(o) && o["kind"] != "Namespace") {
            let at = objects.get(object).await?["metadata"]["creationTimestamp"].clone();
            *seconds.entry(at.to_string()).or_insert(0) += 1;
        }
        if seconds.len() <= 1 {
            return Ok(());
        }
        clear(objects, state).await?;
    }
    bail!("the objects can't be created within one second")
}

/// Fails if, for any proxy of the case, what the follower serves does not become what a new process serves.
async fn compare(case: &Case, follower: &Meltemi) -> Result<()> {
    let scratch = Scratch::new()?;
    let state = State::new(scratch.path())?;
    state.write_text("state", &case.state()?)?;
    let source = Source::Files { dir: state.path().into(), mesh: case.mesh() };
    let fresh = Meltemi::start(&source, scratch.path()).await?;
    for (name, node) in case.proxies_of_both_kinds()? {
        let host = Place::host();
        let from_files = Proxy::connect(&host, fresh.grpc, node.clone()).await?;
        let from_kubernetes = Proxy::connect(&host, follower.grpc, node).await?;
        from_files.synced().await.context(name.clone())?;
        from_kubernetes.synced().await.context(name.clone())?;
        let equal = wait::until_true("equal bytes", Duration::from_secs(5), async || {
            Ok(from_files.held() == from_kubernetes.held())
        });
        if equal.await.is_err() {
            let (left, right) = (from_files.held(), from_kubernetes.held());
            let keys: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            let differ: Vec<_> = keys.into_iter().filter(|key| left.get(*key) != right.get(*key)).collect();
            bail!(
                "{name}: {} of {} resources differ, such as {:?}",
                differ.len(),
                left.len(),
                differ.first()
            );
        }
    }
    Ok(())
}

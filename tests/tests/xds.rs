//! The protocol as a client sees it, spoken with the binary itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meltemi_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use meltemi_api::istio_wire::networking::nds::v1::NameTable;
use meltemi_api::wkt::Any;
use meltemi_server::engine::NAME_TABLE;
use meltemi_tests::{
    bootstrap,
    meltemi::{Meltemi, Source},
    netns::Place,
    proxy::Proxy,
    scratch::Scratch,
    state::State,
    workload::{self, Port, Workload},
    xds_client::{Delta, Sotw, node, types},
};

const HTTP: &[Port<'_>] = &[("http", 80, 8080)];
const CLUSTER: &str = "outbound|80||server.shop.svc.cluster.local";
const SOON: Duration = Duration::from_secs(5);
/// Long enough for an answer that must not come to have come.
const QUIET: Duration = Duration::from_millis(500);

struct Shop {
    meltemi: Meltemi,
    state: State,
    scratch: Scratch,
    client: Workload,
}

impl Shop {
    async fn open() -> Result<Self> {
        let scratch = Scratch::new()?;
        let state = State::new(scratch.path())?;
        let client = Workload::new("shop", "client", "v1", [10, 244, 1, 1]);
        state.write(
            "cluster",
            &[
                workload::namespace("shop"),
                workload::node(),
                workload::service("shop", "server", [10, 96, 1, 1], HTTP),
                client.pod(),
            ],
        )?;
        set_endpoints(&state, &[2])?;
        let meltemi = start(&state, &scratch).await?;
        Ok(Self { meltemi, state, scratch, client })
    }

    async fn delta(&self) -> Result<Delta> {
        let node = node(&bootstrap::node(&self.client.pod(), Some(&workload::node())));
        Delta::open(&Place::host(), self.meltemi.grpc, node).await
    }
}

async fn start(state: &State, scratch: &Scratch) -> Result<Meltemi> {
    Meltemi::start(&Source::Files { dir: state.path().into(), mesh: "{}\n".into() }, scratch.path()).await
}

/// The endpoints of `server`, by the last byte of their address.
fn set_endpoints(state: &State, last: &[u8]) -> Result<()> {
    set_addresses(state, &last.iter().map(|n| [10, 244, 1, *n]).collect::<Vec<_>>())
}

fn set_addresses(state: &State, addresses: &[[u8; 4]]) -> Result<()> {
    let pods: Vec<_> = addresses.iter().map(|a| Workload::new("shop", "server", "v1", *a)).collect();
    let mut objects: Vec<_> = pods.iter().map(Workload::pod).collect();
    objects.push(workload::slice("shop", "server", HTTP, &pods.iter().collect::<Vec<_>>()));
    state.write("server", &objects)
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|r| r.name.as_str()).collect()
}

#[tokio::test]
async fn only_what_changed_is_sent() -> Result<()> {
    let shop = Shop::open().await?;
    let node = node(&bootstrap::node(&shop.client.pod(), Some(&workload::node())));
    let proxy = Proxy::connect(&Place::host(), shop.meltemi.grpc, node).await?;
    proxy.synced().await?;
    let before = proxy.held();
    let changed = Instant::now();
    set_endpoints(&shop.state, &[2, 3])?;
    let key = (types::ENDPOINTS.to_string(), CLUSTER.to_string());
    let arrived = proxy.until("two endpoints", SOON, |held| held.get(&key) != before.get(&key)).await?;
    eprintln!("an endpoint took {:?} from file to client", arrived - changed);
    for told in proxy.told_since(changed) {
        ensure!(told.removed.is_empty() && told.repeated.is_empty(), "{told:?}");
        ensure!(told.changed.iter().all(|name| name == CLUSTER), "{told:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_rejection_is_not_answered_but_the_next_change_is_sent() -> Result<()> {
    let shop = Shop::open().await?;
    let mut stream = shop.delta().await?;
    stream.subscribe(types::ENDPOINTS, &[CLUSTER])?;
    let first = stream.expect(types::ENDPOINTS, SOON).await?;
    assert_eq!(names(&first), [CLUSTER]);
    stream.nack(types::ENDPOINTS, &first.nonce, "I don't like it")?;
    ensure!(stream.next(QUIET).await?.is_none(), "what was rejected must not be sent again unchanged");
    set_endpoints(&shop.state, &[2, 3])?;
    let second = stream.expect(types::ENDPOINTS, SOON).await?;
    assert_eq!(names(&second), [CLUSTER]);
    ensure!(second.nonce != first.nonce);
    Ok(())
}

#[tokio::test]
async fn a_forged_nonce_changes_nothing() -> Result<()> {
    let shop = Shop::open().await?;
    let mut stream = shop.delta().await?;
    stream.subscribe(types::ENDPOINTS, &[CLUSTER])?;
    let first = stream.expect(types::ENDPOINTS, SOON).await?;
    stream.ack(types::ENDPOINTS, "never sent")?;
    stream.nack(types::ENDPOINTS, "never sent either", "nor this")?;
    ensure!(stream.next(QUIET).await?.is_none(), "no answer is due");
    stream.ack(types::ENDPOINTS, &first.nonce)?;
    set_endpoints(&shop.state, &[3])?;
    assert_eq!(names(&stream.expect(types::ENDPOINTS, SOON).await?), [CLUSTER]);
    Ok(())
}

#[tokio::test]
async fn a_client_that_comes_back_is_sent_only_what_differs() -> Result<()> {
    let mut shop = Shop::open().await?;
    let mut stream = shop.delta().await?;
    stream.subscribe(types::CLUSTER, &["*"])?;
    let clusters = stream.expect(types::CLUSTER, SOON).await?;
    stream.ack(types::CLUSTER, &clusters.nonce)?;
    stream.subscribe(types::ENDPOINTS, &[CLUSTER])?;
    let endpoints = stream.expect(types::ENDPOINTS, SOON).await?;
    let again = |kind: &str, response: &DeltaDiscoveryResponse, names: &[&str]| DeltaDiscoveryRequest {
        type_url: kind.into(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        initial_resource_versions: response
            .resources
            .iter()
            .map(|r| (r.name.clone(), r.version.clone()))
            .collect(),
        ..Default::default()
    };

    // A new process knows nothing of the old one's streams: the versions alone must do.
    drop(shop.meltemi);
    set_endpoints(&shop.state, &[2, 3])?;
    shop.meltemi = start(&shop.state, &shop.scratch).await?;
    let mut stream = shop.delta().await?;
    stream.send(again(types::CLUSTER, &clusters, &["*"]))?;
    stream.send(again(types::ENDPOINTS, &endpoints, &[CLUSTER]))?;
    let mut sent = Vec::new();
    while let Some(response) = stream.next(QUIET).await? {
        ensure!(response.removed_resources.is_empty(), "{:?} is gone", response.removed_resources);
        stream.ack(&response.type_url, &response.nonce)?;
        sent.extend(response.resources.into_iter().map(|r| (response.type_url.clone(), r.name)));
    }
    assert_eq!(sent, [(types::ENDPOINTS.to_string(), CLUSTER.to_string())]);
    Ok(())
}

#[tokio::test]
async fn changes_merge_for_a_client_that_does_not_read() -> Result<()> {
    // As large as the window: one response fits, no second one.
    const WINDOW: u32 = 64 << 10;
    let many: Vec<[u8; 4]> = (0..1000u16).map(|n| [10, 244, 2 + (n >> 8) as u8, n as u8]).collect();
    let shop = Shop::open().await?;
    set_addresses(&shop.state, &many)?;
    let node = node(&bootstrap::node(&shop.client.pod(), Some(&workload::node())));
    let quick = Proxy::connect(&Place::host(), shop.meltemi.grpc, node.clone()).await?;
    let key = (types::ENDPOINTS.to_string(), CLUSTER.to_string());
    let large = |size: usize| size > WINDOW as usize;
    quick
        .until("many endpoints", SOON, |held| held.get(&key).is_some_and(|any| large(any.value.len())))
        .await?;
    let mut slow = Delta::open_with_window(&Place::host(), shop.meltemi.grpc, node, WINDOW).await?;
    slow.subscribe(types::ENDPOINTS, &[CLUSTER])?;
    let mut last = slow.expect(types::ENDPOINTS, SOON).await?;
    for n in 1..=20 {
        let before = quick.held();
        set_addresses(&shop.state, &many[..many.len() - n])?;
        quick.until("the change", SOON, |held| held.get(&key) != before.get(&key)).await?;
    }
    let mut responses = 0;
    loop {
        slow.ack(types::ENDPOINTS, &last.nonce)?;
        match slow.next(QUIET).await? {
            Some(response) => (last, responses) = (response, responses + 1),
            None => break,
        }
    }
    // One in the window, one on its way there, and all the rest in one.
    ensure!(responses <= 4, "20 changes came in {responses} responses to a client that read none");
    let newest = last.resources.first().and_then(|r| r.resource.clone());
    assert_eq!(newest, quick.resource(types::ENDPOINTS, CLUSTER), "the newest state");
    Ok(())
}

#[tokio::test]
async fn state_of_the_world_sends_all_clusters_and_is_quiet_after() -> Result<()> {
    let shop = Shop::open().await?;
    let node = node(&bootstrap::node(&shop.client.pod(), Some(&workload::node())));
    let mut stream = Sotw::open(&Place::host(), shop.meltemi.grpc, node).await?;
    stream.subscribe(types::CLUSTER, &[])?;
    let clusters = stream.next(SOON).await?.context("no clusters")?;
    stream.ack(&clusters, &[])?;
    ensure!(stream.next(QUIET).await?.is_none(), "all was acknowledged");
    stream.subscribe(types::ENDPOINTS, &[CLUSTER])?;
    let first = stream.next(SOON).await?.context("no endpoints")?;
    ensure!(first.resources.len() == 1);
    stream.nack(&first, "", &[CLUSTER], "I don't like it")?;
    ensure!(stream.next(QUIET).await?.is_none(), "what was rejected must not be sent again unchanged");
    set_endpoints(&shop.state, &[2, 3])?;
    let second = stream.next(SOON).await?.context("no endpoints after a change")?;
    assert_eq!(second.type_url, types::ENDPOINTS);
    ensure!(second.version_info != first.version_info);
    Ok(())
}

/// pilot-agent asks for one table without naming it, by either protocol.
#[tokio::test]
async fn a_dns_proxy_gets_its_name_table() -> Result<()> {
    let shop = Shop::open().await?;
    let server = |any: Option<&Any>| {
        let table: NameTable = any.context("a table")?.unpack()?;
        let info = table.table.get("server.shop.svc.cluster.local").context("the server's name")?;
        ensure!((info.shortname.as_str(), info.namespace.as_str()) == ("server", "shop"), "{info:?}");
        Ok(info.ips.clone())
    };
    let mut delta = shop.delta().await?;
    delta.subscribe(NAME_TABLE, &[])?;
    let told = delta.expect(NAME_TABLE, SOON).await?;
    assert_eq!(server(told.resources.first().and_then(|r| r.resource.as_ref()))?, ["10.96.1.1"]);
    let of_client = node(&bootstrap::node(&shop.client.pod(), Some(&workload::node())));
    let mut whole = Sotw::open(&Place::host(), shop.meltemi.grpc, of_client).await?;
    whole.subscribe(NAME_TABLE, &[])?;
    let told = whole.next(SOON).await?.context("an answer")?;
    assert_eq!(server(told.resources.first())?, ["10.96.1.1"]);
    Ok(())
}

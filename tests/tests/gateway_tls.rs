//! Certificates of a gateway, by SDS, in a stock Envoy: swapped under traffic, broken, missing, and somebody else's.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use hyper::StatusCode;
use meltemi_tests::{
    bootstrap,
    envoy::Envoy,
    netns::{HUB, Network, Place, Pod},
    plane::Plane,
    scratch::Scratch,
    shop::ingress,
    tls::{Pair, ask},
    wait, workload,
};
use meltemi_world::Kind;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);
const PORT: u16 = 8443;
const IDENTITY: &str = "spiffe://cluster.local/ns/istio-system/sa/ingress";

/// A Gateway with one TLS server for each host, its credential under another name.
fn gateway(servers: &[(&str, &str)]) -> Value {
    let server = |(host, credential): &(&str, &str)| {
        json!({
            "port": {"number": PORT, "name": format!("https-{host}").replace('.', "-"), "protocol": "HTTPS"},
            "hosts": [host], "tls": {"mode": "SIMPLE", "credentialName": credential},
        })
    };
    let servers: Vec<Value> = servers.iter().map(server).collect();
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "gw", "namespace": "istio-system"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": servers},
    })
}

fn routes() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "all", "namespace": "istio-system"},
        "spec": {"hosts": ["*"], "gateways": ["gw"], "http": [{"directResponse": {"status": 200}}]},
    })
}

fn secret(namespace: &str, name: &str, certificate: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls", "stringData": {"tls.crt": certificate, "tls.key": key},
    })
}

fn of(name: &str, pair: &Pair) -> Value {
    secret("istio-system", name, &pair.certificate, &pair.key)
}

/// The gateway, running.
struct Rig {
    plane: Plane,
    envoy: Envoy,
    at: SocketAddr,
    from: Pod,
    _pod: Pod,
    _network: Network,
    _scratch: Scratch,
}

impl Rig {
    async fn start(objects: &[Value]) -> Result<Self> {
        let (network, scratch, ingress) = (Network::new()?, Scratch::new()?, ingress());
        let mut all = vec![workload::namespace("istio-system"), ingress.pod(), routes()];
        all.extend_from_slice(objects);
        let plane = Plane::start(network.hub(), (HUB, 15010).into(), &all).await?;
        let pod = network.pod("gw", ingress.address)?;
        let node = bootstrap::node(&ingress.pod(), Some(&workload::node()));
        let mut config = bootstrap::ads(&node, (HUB, 15010).into(), Path::new("/nowhere"));
        config["dynamic_resources"]["ads_config"]["grpc_services"][0]["initial_metadata"] =
            json!([{"key": "authorization", "value": IDENTITY}]);
        let envoy = Envoy::start(&pod, &config, scratch.path()).await?;
        let from = network.pod("client", [10, 244, 9, 1].into())?;
        let at = SocketAddr::from((ingress.address, PORT));
        Ok(Self { plane, envoy, at, from, _pod: pod, _network: network, _scratch: scratch })
    }

    async fn ask(&self, host: &str, servers: &[&Pair]) -> Result<usize> {
        served(&self.from.place, self.at, host, servers).await
    }

    async fn until(&self, what: &str, host: &str, servers: &[&Pair], which: usize) -> Result<()> {
        wait::until_true(what, SOON, async || Ok(self.ask(host, servers).await? == which)).await
    }

    async fn problem(&self, name: &str, text: &str) -> Result<()> {
        let all = || self.plane.proxies.connections().into_iter().flat_map(|c| c.proxy.problems());
        wait::until_true(&format!("{name}: {text}"), SOON, async || {
            Ok(all().any(|(n, why)| *n == *name && why.contains(text)))
        })
        .await
    }
}

async fn served(from: &Place, at: SocketAddr, host: &str, servers: &[&Pair]) -> Result<usize> {
    let (which, status) = ask(from, at, host, servers).await?;
    ensure!(status == StatusCode::OK, "{status}");
    Ok(which)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_swapped_under_traffic() -> Result<()> {
    let (old, new) = (Pair::new("a.test")?, Pair::new("a.test")?);
    let rig = Rig::start(&[gateway(&[("a.test", "a")]), of("a", &old)]).await?;
    rig.until("the certificate is served", "a.test", &[&old, &new], 0).await?;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = {
        let (stop, sent, pairs) = (stop.clone(), sent.clone(), [old.clone(), new.clone()]);
        let (from, at) = (rig.from.place.clone(), rig.at);
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                served(&from, at, "a.test", &[&pairs[0], &pairs[1]]).await?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        })
    };
    let traffic = async |more: u64| {
        let enough = sent.load(Ordering::Relaxed) + more;
        wait::until_true("traffic", SOON, async || Ok(sent.load(Ordering::Relaxed) >= enough)).await
    };
    for round in 0..4 {
        traffic(10).await?;
        let (pair, which) = if round % 2 == 0 { (&new, 1) } else { (&old, 0) };
        rig.plane.apply(&[of("a", pair)])?;
        rig.until("the other certificate", "a.test", &[&old, &new], which).await?;
    }
    traffic(10).await?;
    stop.store(true, Ordering::Relaxed);
    load.await??;
    assert_eq!(rig.envoy.rejected().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_one_secret_is_wrong_with_its_server_alone() -> Result<()> {
    let hosts = ["good.test", "broken.test", "missing.test", "foreign.test"];
    let pairs = hosts.map(|host| Pair::new(host).expect("a certificate"));
    let [good, broken, missing, foreign] = &pairs;
    let rig = Rig::start(&[
        gateway(&[
            (hosts[0], "good"),
            (hosts[1], "broken"),
            (hosts[2], "missing"),
            (hosts[3], "kubernetes://other/foreign"),
        ]),
        of("good", good),
        secret("istio-system", "broken", &broken.certificate, &missing.key),
        secret("other", "foreign", &foreign.certificate, &foreign.key),
    ])
    .await?;
    rig.until("the good one is served", "good.test", &[good], 0).await?;
    rig.problem("kubernetes://broken", "Secret istio-system/broken, value tls.key: it is not the key")
        .await?;
    rig.problem("kubernetes://missing", "Secret istio-system/missing does not exist").await?;
    rig.problem("kubernetes://other/foreign", "the Secret is in namespace other").await?;
    for (host, pair) in hosts.iter().zip(&pairs).skip(1) {
        if let Ok(which) = rig.ask(host, &[pair]).await {
            bail!("{host} is served with {which}");
        }
    }
    // Each is served once it is put right, and the others notice nothing.
    rig.plane.apply(&[of("broken", broken)])?;
    rig.until("the broken one is served", "broken.test", &[broken], 0).await?;
    rig.plane.apply(&[of("missing", missing)])?;
    rig.until("the missing one is served", "missing.test", &[missing], 0).await?;
    // What was good once stays with Envoy while it is broken or gone.
    rig.plane.apply(&[of("good", &Pair { key: "none".to_owned(), ..good.clone() })])?;
    rig.plane.remove(Kind::Secret, "istio-system", "missing");
    rig.problem("kubernetes://good", "it holds no private key").await?;
    rig.problem("kubernetes://missing", "does not exist").await?;
    for (host, pair) in hosts.iter().zip(&pairs).take(3) {
        assert_eq!(rig.ask(host, &[pair]).await?, 0, "{host}");
    }
    assert!(rig.ask("foreign.test", &[foreign]).await.is_err());
    assert_eq!(rig.envoy.rejected().await?, 0);
    Ok(())
}

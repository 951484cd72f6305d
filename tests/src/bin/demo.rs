//! `make run`: Meltemi on the example mesh `shop`, real stock Envoys against it, and where requests went.
//!
//! Everything listens on loopback addresses, so this needs neither root nor Kubernetes.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use meltemi_tests::{
    bootstrap, http,
    load::{Load, Report},
    meltemi::{Meltemi, Source},
    netns::Place,
    objects, ports,
    process::{Launch, Process},
    root::Root,
    scratch::Scratch,
    sds::Agent,
    server::Server,
    setup, wait,
};
use serde_json::Value;

/// The workloads of the example, with their addresses.
const WORKLOADS: [(&str, Ipv4Addr); 3] = [
    ("catalog-v1", Ipv4Addr::new(127, 0, 1, 11)),
    ("catalog-v2", Ipv4Addr::new(127, 0, 1, 12)),
    ("cart-v1", Ipv4Addr::new(127, 0, 1, 13)),
];

/// Where the ingress gateway listens, and where the shopper's sidecar does.
const GATEWAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1)), 8080);
const SIDECAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9080);

/// A row of the table: what is asked for, how, and how often.
struct Ask {
    what: &'static str,
    url: &'static str,
    through: SocketAddr,
    header: Option<&'static str>,
    count: u64,
}

const ASKS: [Ask; 5] = [
    Ask {
        what: "the catalog, through the gateway (90/10)",
        url: "http://shop.example.com/",
        through: GATEWAY,
        header: None,
        count: 500,
    },
    Ask {
        what: "the cart, through the gateway (by path)",
        url: "http://shop.example.com/cart",
        through: GATEWAY,
        header: None,
        count: 100,
    },
    Ask {
        what: "an unknown host, through the gateway",
        url: "http://nowhere.example.com/",
        through: GATEWAY,
        header: None,
        count: 10,
    },
    Ask {
        what: "the catalog, through the sidecar (90/10)",
        url: "http://catalog:9080/",
        through: SIDECAR,
        header: None,
        count: 500,
    },
    Ask {
        what: "the catalog, as a tester (by header)",
        url: "http://catalog:9080/",
        through: SIDECAR,
        header: Some("x-user: tester"),
        count: 100,
    },
];

#[tokio::main]
#[allow(clippy::print_stdout, reason = "the table is what this program is for")]
async fn main() -> Result<()> {
    let example = setup::repository().join("manifests/examples/shop");
    let scratch = Scratch::new()?;
    for (name, address) in WORKLOADS {
        let server = Server {
            name: name.into(),
            address,
            http: vec![9080],
            tcp: vec![],
            https: vec![],
            cert: None,
            key: None,
        };
        tokio::spawn(server.run());
    }
    println!("Starting Meltemi on {} ...", example.display());
    let source = Source::Files { dir: example.clone(), mesh: "{}\n".into() };
    let meltemi = Meltemi::start(&source, scratch.path()).await?;
    println!("  it is ready; look inside at http://{}/debug while this runs", meltemi.http);

    // In a mesh each proxy has an agent beside it that fetches its certificate; here one stands in for both.
    let secrets = scratch.join("secrets.sock");
    let _agent = Agent::start(&Root::new()?, "shop", "default", &secrets)?;
    let objects = objects::read(&example.join("services.yaml"))?;
    println!("Starting two stock Envoys: the ingress gateway and the shopper's sidecar ...");
    let _gateway = envoy(&objects, "ingress-1", meltemi.grpc, &secrets, scratch.path()).await?;
    let _sidecar = envoy(&objects, "shopper-1", meltemi.grpc, &secrets, scratch.path()).await?;
    for (what, address) in [("the gateway", GATEWAY), ("the sidecar", SIDECAR)] {
        wait::until_true(format!("{what} listens on {address}"), Duration::from_secs(30), async || {
            Ok(Place::host().connect(address).await.is_ok())
        })
        .await?;
        println!("  {what} listens on {address}");
    }

    println!("\n{:44} {:>8}  where they went", "requests for", "sent");
    for ask in &ASKS {
        let report = send(ask).await?;
        println!("{:44} {:>8}  {}", ask.what, report.sent, destinations(&report));
    }
    println!("\nChange a file of the example while Meltemi runs on it, and its proxies follow at once.");
    Ok(())
}

/// Starts the Envoy of a Pod of the example.
async fn envoy(objects: &[Value], pod: &str, xds: SocketAddr, secrets: &Path, dir: &Path) -> Result<Process> {
    let found = objects.iter().find(|o| o["kind"] == "Pod" && o["metadata"]["name"] == pod);
    let node = bootstrap::node(found.with_context(|| format!("the example has no Pod {pod}"))?, None);
    let [admin] = ports::free()?;
    let mut config = bootstrap::ads(&node, xds, secrets);
    config["admin"]["address"] = bootstrap::socket(admin);
    let file = dir.join(format!("{pod}.json"));
    fs::write(&file, config.to_string())?;
    let mut process = Launch::new(pod, setup::envoy()?)
        .args(["-c".into(), file.into_os_string()])
        .args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"])
        .start(dir)?;
    wait::until_true(format!("the Envoy of {pod} is live"), Duration::from_secs(30), async || {
        process.check()?;
        Ok(http::get(&Place::host(), admin, "/ready").await?.status.is_success())
    })
    .await
    .with_context(|| format!("the end of its log:\n{}", process.log_tail(20)))?;
    Ok(process)
}

async fn send(ask: &Ask) -> Result<Report> {
    let load = Load {
        url: ask.url.into(),
        to: ask.through,
        count: ask.count,
        rate: 0.0,
        connections: 4,
        seconds: 30,
        slow: None,
        patience: 15_000,
        header: ask.header.map(Into::into).into_iter().collect(),
        no_keep_alive: false,
        until_eof: false,
    };
    load.run().await
}

/// `name: count` for each server that answered, then statuses other than 200, then errors.
fn destinations(report: &Report) -> String {
    let statuses: BTreeMap<_, _> = report
        .statuses
        .iter()
        .filter(|(s, _)| **s != 200)
        .map(|(s, n)| (format!("status {s}"), *n))
        .collect();
    let errors = report.errors.iter().map(|(e, n)| (format!("error {e}"), *n));
    let all = report.names.clone().into_iter().chain(statuses).chain(errors);
    all.map(|(name, n)| format!("{name}: {n}")).collect::<Vec<_>>().join(", ")
}

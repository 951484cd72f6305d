//! Measures on a real apiserver what a benchmark of one function cannot: what changes that concern nobody cost, what a
//! restart sends to proxies that have nearly everything, and what one slow reader does to memory and to the others.
//!
//! Prints one JSON object for each measurement. Compare on one machine only.

mod cluster;
mod usage;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Parser;
use cluster::Load;
use futures::{StreamExt, stream};
use meltemi_tests::{
    netns::Place,
    swarm::{Swarm, member},
    xds_client::{Delta, types},
};
use serde_json::{Value, json};
use usage::Usage;

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Options {
    /// Services, each with `--endpoints`.
    #[arg(long, default_value_t = 500)]
    services: usize,
    /// Endpoints of each service.
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    /// Connected proxies.
    #[arg(long, default_value_t = 100)]
    proxies: usize,
    /// Seconds of changes beside a slow reader.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Changes that concern no proxy: bytes sent and CPU time of each.
    Unrelated,
    /// A restart, with all proxies connecting anew with what they have, and one change in between.
    Restart,
    /// 100 changes a second, without and with a proxy that reads nothing.
    Slow,
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let load = Load::open(options.services, options.endpoints).await?;
    match options.what {
        What::Unrelated => println!("{}", unrelated(&load, &options).await?),
        What::Restart => println!("{}", restart(&load, &options).await?),
        What::Slow => println!("{}", slow(&load, &options).await?),
    }
    Ok(())
}

async fn unrelated(load: &Load, options: &Options) -> Result<Value> {
    let meltemi = load.meltemi().await?;
    let swarm = Swarm::connect(meltemi.grpc, options.proxies).await?;
    swarm.synced(LIMIT).await?;
    // A change that all see, after which nothing is left to do.
    load.touch(0, 0).await?;
    swarm.reached(0, LIMIT).await?;
    let mut out = serde_json::Map::new();
    for (name, change) in cluster::UNRELATED {
        const TIMES: usize = 100;
        let (bytes, before) = (swarm.bytes(), Usage::of(meltemi.process.pid())?);
        for number in 0..TIMES {
            change(load, number).await?;
        }
        // What was written before this is taken in by then: watches keep the order of one kind, and the kinds are quiet.
        let after = Usage::settled(meltemi.process.pid()).await?;
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e3 / TIMES as f64;
        out.insert(
            (*name).into(),
            json!({"changes": TIMES, "bytes": swarm.bytes() - bytes, "cpu_ms_each": cpu}),
        );
    }
    Ok(Value::Object(out))
}

async fn restart(load: &Load, options: &Options) -> Result<Value> {
    let mut meltemi = load.meltemi().await?;
    let swarm = Swarm::connect(meltemi.grpc, options.proxies).await?;
    swarm.synced(LIMIT).await?;
    let first = swarm.bytes();
    load.touch(0, 0).await?;
    swarm.reached(0, LIMIT).await?;
    let had = swarm.disconnect();
    meltemi.process.kill()?;
    load.touch(1, 1).await?;
    let began = Instant::now();
    let meltemi = load.meltemi().await?;
    let ready = began.elapsed();
    let swarm = Swarm::resume(meltemi.grpc, had).await?;
    let last = swarm.reached(1, LIMIT).await?.duration_since(began);
    // Anything else that were sent would come within a moment, too.
    Usage::settled(meltemi.process.pid()).await?;
    Ok(json!({
        "proxies": options.proxies, "first_sync_bytes": first, "ready_s": ready.as_secs_f64(),
        "all_current_s": last.as_secs_f64(), "bytes": swarm.bytes(),
    }))
}

async fn slow(load: &Load, options: &Options) -> Result<Value> {
    let mut out = serde_json::Map::new();
    for (name, with) in [("without", false), ("with", true)] {
        let meltemi = load.meltemi().await?;
        let swarm = Swarm::connect(meltemi.grpc, options.proxies).await?;
        swarm.synced(LIMIT).await?;
        let _stuck = if with { Some(stuck(&meltemi, options).await?) } else { None };
        let before = Usage::settled(meltemi.process.pid()).await?;
        let sent = changes(load, options.seconds * 100).await?;
        let after = Usage::settled(meltemi.process.pid()).await?;
        let mut took: Vec<f64> = swarm
            .arrivals()
            .into_iter()
            .filter_map(|(number, at)| Some(at.duration_since(*sent.get(&number)?).as_secs_f64() * 1e3))
            .collect();
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied();
        out.insert(
            name.into(),
            json!({
                "changes": sent.len(), "arrivals": took.len(), "p50_ms": at(0.5), "p99_ms": at(0.99),
                "rss_before_kb": before.rss_kb, "rss_after_kb": after.rss_kb, "peak_kb": after.peak_kb,
            }),
        );
    }
    Ok(Value::Object(out))
}

/// A proxy that asks for everything and reads nothing of it.
async fn stuck(meltemi: &meltemi_tests::meltemi::Meltemi, options: &Options) -> Result<Delta> {
    const SMALLEST: u32 = 65_535;
    let node = member(options.proxies);
    let mut stream = Delta::open_with_window(&Place::host(), meltemi.grpc, node, SMALLEST).await?;
    for kind in [types::CLUSTER, types::LISTENER] {
        stream.subscribe(kind, &["*"])?;
    }
    let names = cluster::clusters(options.services);
    stream.subscribe(types::ENDPOINTS, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(stream)
}

/// 100 changes a second, each of another service's endpoints; when each was sent.
async fn changes(load: &Load, count: u64) -> Result<HashMap<usize, Instant>> {
    const PERIOD: Duration = Duration::from_millis(10);
    let mut ticks = tokio::time::interval(PERIOD);
    let mut sent = HashMap::new();
    let mut under_way = stream::FuturesUnordered::new();
    for number in 1..=count as usize {
        ticks.tick().await;
        sent.insert(number, Instant::now());
        under_way.push(load.touch(number, number % load.services));
        while let Some(Some(done)) = futures::FutureExt::now_or_never(under_way.next()) {
            done?;
        }
    }
    while let Some(done) = under_way.next().await {
        done?;
    }
    Ok(sent)
}

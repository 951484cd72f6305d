//! Faults that are injected, and how long a request may take.

use std::time::{Duration, Instant};

use anyhow::ensure;
use meltemi_tests::{call::Call, client::Requests, load::Report, odds, scenario::Scenario};
use serde_json::{Value, json};

use crate::stage::{HTTP, Stage, VIP, routes, service, v1};

/// Milliseconds by which requests are delayed: more than an answer takes on a busy machine.
const DELAY: u64 = 800;

pub fn scenarios() -> Vec<Scenario<Stage>> {
    let config = |name: &str, number, mut route: Value| {
        route["route"] = json!([{"destination": {"host": name}}]);
        [service(name, number, HTTP, &[v1()]), vec![routes(name, json!([route]))]].concat()
    };
    let abort = json!({"fault": {"abort": {"httpStatus": 418, "percentage": {"value": 30}}}});
    let delay =
        json!({"fault": {"delay": {"fixedDelay": format!("{DELAY}ms"), "percentage": {"value": 50}}}});
    let both = json!({
        "match": [{"headers": {"chaos": {"exact": "yes"}}}],
        "fault": {"delay": {"fixedDelay": "300ms", "percentage": {"value": 100}},
                  "abort": {"httpStatus": 503, "percentage": {"value": 100}}},
    });
    let chaos = |mut objects: Vec<Value>| {
        if let Some(routes) = objects.last_mut().and_then(|o| o["spec"]["http"].as_array_mut()) {
            routes.push(json!({"route": [{"destination": {"host": "chaos"}}]}));
        }
        objects
    };
    vec![
        Scenario::new(
            "a percentage of requests is aborted",
            "abort",
            config("abort", 31, abort),
            async |stage: &Stage| {
                let aborted = |r: &Report| r.statuses.get(&418).copied().unwrap_or_default();
                stage.share("aborted requests", "http://abort.shop/", (1000, 0.3), aborted).await
            },
        ),
        Scenario::new(
            "a percentage of requests is delayed",
            "delay",
            config("delay", 32, delay),
            async |stage: &Stage| {
                const REQUESTS: u64 = 200;
                odds::hold("delayed requests", REQUESTS, 0.5, async || {
                    let requests = Requests::to("http://delay.shop/", VIP).count(REQUESTS);
                    Ok(stage.load(requests.connections(40).slow(DELAY)).await?.slow)
                })
                .await
            },
        ),
        Scenario::new(
            "a fault is for the requests that its route matches",
            "chaos",
            chaos(config("chaos", 33, both)),
            async |stage: &Stage| {
                let answer = stage.get("http://chaos.shop/").await?;
                ensure!(answer.server() == "server-v1", "{answer:?}");
                let began = Instant::now();
                let answer = stage.send(Call::get("http://chaos.shop/", VIP).header("chaos", "yes")).await?;
                ensure!(answer.status == 503 && answer.server().is_empty(), "{answer:?}");
                ensure!(began.elapsed() >= Duration::from_millis(300), "after {:?}", began.elapsed());
                Ok(())
            },
        ),
        Scenario::new(
            "a request that takes too long is given up",
            "timeout",
            config("timeout", 34, json!({"timeout": "0.4s", "retries": {"attempts": 0}})),
            async |stage: &Stage| {
                let began = Instant::now();
                let answer = stage.get("http://timeout.shop/?key=timeout&delay=15000").await?;
                let took = began.elapsed();
                ensure!(answer.status == 504, "{answer:?}");
                ensure!((Duration::from_millis(400)..Duration::from_secs(10)).contains(&took), "{took:?}");
                ensure!(stage.count("v1", "timeout").await? == 1, "asked once");
                Ok(())
            },
        ),
    ]
}

//! How a client's sidecar spares servers that are overloaded or broken.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use meltemi_tests::{http::Answer, scenario::Scenario, wait};
use serde_json::{Value, json};

use crate::stage::{HTTP, Stage, dead, routes, rule, service, two_versions, v1};

pub fn scenarios() -> Vec<Scenario<Stage>> {
    let no_retries = |host: &str| {
        routes(host, json!([{"route": [{"destination": {"host": host}}], "retries": {"attempts": 0}}]))
    };
    let circuit =
        json!({"connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}});
    let requests = json!({"connectionPool": {"http": {"http2MaxRequests": 2}}});
    let outlier = json!({
        "outlierDetection": {"consecutive5xxErrors": 3, "interval": "0.5s", "baseEjectionTime": "2s", "maxEjectionPercent": 100},
        "loadBalancer": {"localityLbSetting": {"enabled": false}},
    });
    let retries = json!({"attempts": 3, "retryOn": "gateway-error,retriable-4xx", "perTryTimeout": "2s"});
    let budget = json!({"retryBudget": {"percent": 10, "minRetryConcurrency": 1}});
    let once = json!({"attempts": 1, "retryOn": "5xx"});
    let with = |host: &str, retries: Value| {
        routes(host, json!([{"route": [{"destination": {"host": host}}], "retries": retries}]))
    };
    vec![
        Scenario::new(
            "requests that would have to wait in too long a queue are refused",
            "circuit",
            [service("circuit", 51, HTTP, &[v1()]), vec![rule("circuit", circuit), no_retries("circuit")]]
                .concat(),
            async |stage: &Stage| overloaded(stage, "circuit", "pending").await,
        ),
        Scenario::new(
            "requests beyond the limit of a cluster are refused",
            "requests",
            [
                service("requests", 52, &[("http2", 80, 8080)], &[v1()]),
                vec![rule("requests", requests), no_retries("requests")],
            ]
            .concat(),
            async |stage: &Stage| overloaded(stage, "requests", "active").await,
        ),
        Scenario::new(
            "a server that fails is left alone for a while, and then tried again",
            "outlier",
            [
                service("outlier", 53, HTTP, &two_versions()),
                vec![rule("outlier", outlier), no_retries("outlier")],
            ]
            .concat(),
            ejected_and_back,
        ),
        Scenario::new(
            "a server that refuses connections costs no request",
            "refusing",
            [service("refusing", 54, HTTP, &[v1(), dead()]), vec![dead().plain_pod()]].concat(),
            refused,
        ),
        Scenario::new(
            "a request is tried as often as its route says, for the failures that it names",
            "retries",
            [service("retries", 55, HTTP, &[v1()]), vec![with("retries", retries)]].concat(),
            retried,
        ),
        Scenario::new(
            "retries keep to their budget",
            "budget",
            [service("budget", 56, HTTP, &[v1()]), vec![rule("budget", budget), with("budget", once)]]
                .concat(),
            budgeted,
        ),
    ]
}

/// Asks at once for ten answers that take long: what is over the limit is refused right away.
async fn overloaded(stage: &Stage, host: &str, what: &str) -> Result<()> {
    let url = format!("http://{host}.shop/?delay=1500");
    let answers: Vec<Answer> = try_join_all((0..10).map(|_| stage.get(&url))).await?;
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    ensure!(!served.is_empty() && !refused.is_empty(), "{} of 10 were served", served.len());
    for answer in refused {
        ensure!(answer.status == 503 && answer.header("x-envoy-overloaded") == "true", "{answer:?}");
    }
    let overflow =
        stage.client.envoy.stats(&format!("outbound.80..{host}.*upstream_rq_{what}_overflow$")).await?;
    ensure!(overflow.values().sum::<u64>() > 0, "{overflow:?}");
    Ok(())
}

async fn ejected_and_back(stage: &Stage) -> Result<()> {
    const BAD: &str = "http://outlier.shop/?at=server-v2&status=500";
    let ejected = async || {
        let ejected = stage.client.envoy.stats("outbound.80..outlier.*outlier_detection.ejections_active$");
        Ok::<_, anyhow::Error>(ejected.await?.values().sum::<u64>())
    };
    let both = async |url: &str| {
        let answers = try_join_all((0..10).map(|_| stage.get(url))).await?;
        Ok::<_, anyhow::Error>(answers.iter().any(|a| a.server() == "server-v2"))
    };
    wait::until_true("both are asked", Duration::from_secs(5), async || both("http://outlier.shop/").await)
        .await?;
    for round in 1..=2 {
        // The proxy's workers hear of an ejection one after the other.
        wait::until_true(format!("v2 is ejected, round {round}"), Duration::from_secs(15), async || {
            Ok(!both(BAD).await? && ejected().await? == 1)
        })
        .await?;
        wait::until_true(format!("v2 is back, round {round}"), Duration::from_secs(30), async || {
            both("http://outlier.shop/").await
        })
        .await?;
    }
    Ok(())
}

async fn refused(stage: &Stage) -> Result<()> {
    for _ in 0..30 {
        let answer = stage.get("http://refusing.shop/").await?;
        ensure!(answer.server() == "server-v1", "{answer:?}");
    }
    let failed = stage.client.envoy.stats("outbound.80..refusing.*upstream_cx_connect_fail$").await?;
    ensure!(failed.values().sum::<u64>() > 0, "the other was never tried: {failed:?}");
    Ok(())
}

async fn retried(stage: &Stage) -> Result<()> {
    for (key, query, status, tries) in [
        ("r-three", "fail=3", 200, 4),
        ("r-nine", "fail=9", 503, 4),
        ("r-409", "status=409", 409, 4),
        ("r-500", "status=500", 500, 1),
    ] {
        let answer = stage.get(&format!("http://retries.shop/?key={key}&{query}")).await?;
        ensure!(answer.status == status, "{query}: {answer:?}");
        let seen = stage.count("v1", key).await?;
        ensure!(seen == tries, "{query}: tried {seen} times");
    }
    Ok(())
}

/// Thirty requests fail at about the same time: only few of them may be tried again at once.
async fn budgeted(stage: &Stage) -> Result<()> {
    const REQUESTS: u64 = 30;
    let url = "http://budget.shop/?key=budget&status=503&delay=700";
    let answers = try_join_all((0..REQUESTS).map(|_| stage.get(url))).await?;
    ensure!(answers.iter().all(|a| a.status == 503), "{answers:?}");
    let seen = stage.count("v1", "budget").await?;
    ensure!(seen > REQUESTS && seen < 2 * REQUESTS, "{seen} tries of {REQUESTS} requests");
    let overflow = stage.client.envoy.stats("outbound.80..budget.*upstream_rq_retry_overflow$").await?;
    ensure!(overflow.values().sum::<u64>() > 0, "{overflow:?}");
    Ok(())
}

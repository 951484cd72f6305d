//! Which server a request goes to.

use anyhow::{Result, ensure};
use hyper::Method;
use meltemi_tests::{call::Call, client::Requests, load::Report, odds, scenario::Scenario, wait};
use serde_json::json;
use std::time::Duration;

use crate::stage::{HTTP, Stage, VIP, resource, routes, service, subsets, to, two_versions, v1};

pub fn scenarios() -> Vec<Scenario<Stage>> {
    let service = |name, number| service(name, number, HTTP, &two_versions());
    let matching = json!([
        {"match": [
            {"headers": {"end-user": {"exact": "jason"}}},
            {"headers": {"agent": {"regex": "curl/[0-9]+"}}, "withoutHeaders": {"opt-out": {}}},
            {"queryParams": {"v": {"exact": "2"}}},
            {"method": {"exact": "PUT"}},
            {"uri": {"prefix": "/second/"}},
            {"authority": {"exact": "second.example.com"}},
            {"uri": {"exact": "/LOUD"}, "ignoreUriCase": true},
        ], "route": [{"destination": {"host": "match", "subset": "v2"}}]},
        {"route": [{"destination": {"host": "match", "subset": "v1"}}]},
    ]);
    let weights = routes("weights", json!([{"route": [to("weights", "v1", 80), to("weights", "v2", 20)]}]));
    let mirror = |name, mirrors| {
        let route = json!([{"route": [{"destination": {"host": name, "subset": "v1"}}], "mirrors": mirrors}]);
        [service(name, if name == "mirror" { 13 } else { 14 }), vec![subsets(name), routes(name, route)]]
            .concat()
    };
    let all = json!([{"destination": {"host": "mirror", "subset": "v2"}}]);
    let some = json!([{"destination": {"host": "mirror-some", "subset": "v2"}, "percentage": {"value": 30}}]);
    let mut delegate = resource(
        "VirtualService",
        "catalog",
        json!({"http": [
            {"match": [{"uri": {"prefix": "/catalog/new"}}], "route": [{"destination": {"host": "root.shop.svc.cluster.local", "subset": "v2"}}]},
            {"route": [{"destination": {"host": "root.shop.svc.cluster.local", "subset": "v1"}}], "headers": {"request": {"set": {"x-by": "delegate"}}}},
        ]}),
    );
    delegate["metadata"]["namespace"] = "team".into();
    let root = json!([
        {"match": [{"uri": {"prefix": "/catalog"}}], "delegate": {"name": "catalog", "namespace": "team"}},
        {"route": [{"destination": {"host": "root", "subset": "v2"}}]},
    ]);
    vec![
        Scenario::new(
            "requests are routed by headers, query, method, path and host",
            "match",
            [
                service("match", 11),
                vec![
                    subsets("match"),
                    resource(
                        "VirtualService",
                        "match",
                        json!({"hosts": ["match", "second.example.com"], "http": matching}),
                    ),
                ],
            ]
            .concat(),
            by_match,
        ),
        Scenario::new(
            "subsets get their weights",
            "weights",
            [service("weights", 12), vec![subsets("weights"), weights]].concat(),
            async |stage: &Stage| {
                let v2 = |r: &Report| r.names.get("server-v2").copied().unwrap_or_default();
                stage.share("weight of v2", "http://weights.shop/", (1000, 0.2), v2).await
            },
        ),
        Scenario::new(
            "a mirror sees each request and answers none",
            "mirror",
            mirror("mirror", all),
            mirrored,
        ),
        Scenario::new(
            "a mirror sees its percentage",
            "mirror-some",
            mirror("mirror-some", some),
            partly_mirrored,
        ),
        Scenario::new(
            "a delegate in another namespace routes its part of a host",
            "root",
            [service("root", 15), vec![subsets("root"), routes("root", root), delegate]].concat(),
            delegated,
        ),
        Scenario::new(
            "gRPC goes by HTTP/2 from end to end, and what is unavailable is tried again by default",
            "grpc",
            crate::stage::service("grpc", 16, &[("grpc", 80, 8080)], &[v1()]),
            grpc,
        ),
        Scenario::new(
            "a port for HTTP/2 is asked by HTTP/2, whatever the client speaks",
            "http2",
            crate::stage::service("http2", 17, &[("http2", 80, 8080)], &[v1()]),
            async |stage: &Stage| {
                let seen = stage.seen("http://http2.shop/").await?;
                ensure!(seen["version"] == "HTTP/2.0", "{seen:#}");
                Ok(())
            },
        ),
    ]
}

async fn by_match(stage: &Stage) -> Result<()> {
    let ask = |path: &str| Call::get(format!("http://match.shop{path}"), VIP);
    let curl = || ask("/").header("agent", "curl/8");
    let table = [
        (ask("/"), "server-v1"),
        (ask("/").header("end-user", "jason"), "server-v2"),
        (ask("/").header("end-user", "jasons"), "server-v1"),
        (curl(), "server-v2"),
        (curl().header("opt-out", "anything"), "server-v1"),
        (ask("/").header("agent", "curl/eight"), "server-v1"),
        (ask("/?a=1&v=2"), "server-v2"),
        (ask("/?v=22"), "server-v1"),
        (ask("/").method(Method::PUT), "server-v2"),
        (ask("/second/thing"), "server-v2"),
        (ask("/second"), "server-v1"),
        (ask("/loud"), "server-v2"),
        (ask("/loud/er"), "server-v1"),
        (Call::get("http://second.example.com/", VIP), "server-v2"),
    ];
    for (ask, expected) in table {
        let answer = stage.send(ask.clone()).await?;
        ensure!(answer.server() == expected, "{ask:?} was answered by {answer:?}");
    }
    Ok(())
}

async fn mirrored(stage: &Stage) -> Result<()> {
    for _ in 0..20 {
        let answer = stage.get("http://mirror.shop/?key=mirror").await?;
        ensure!(answer.server() == "server-v1", "{answer:?}");
    }
    wait::until_true("the mirror saw all", Duration::from_secs(10), async || {
        Ok(stage.count("v2", "mirror").await? == 20)
    })
    .await?;
    ensure!(stage.count("v1", "mirror").await? == 20, "the primary saw all");
    Ok(())
}

async fn partly_mirrored(stage: &Stage) -> Result<()> {
    const REQUESTS: u64 = 500;
    let statistic = async |name: &str| {
        let found = stage.client.envoy.stats(&format!("outbound.80.v2.mirror-some.*{name}$")).await?;
        Ok::<_, anyhow::Error>(found.values().sum::<u64>())
    };
    let mut round = 0;
    odds::hold("mirrored requests", REQUESTS, 0.3, async || {
        round += 1;
        let key = format!("some-{round}");
        let before = statistic("upstream_rq_total").await?;
        let requests = Requests::to(&format!("http://mirror-some.shop/?key={key}"), VIP).count(REQUESTS);
        let report = stage.load(requests.connections(8)).await?;
        ensure!(report.names.get("server-v1") == Some(&REQUESTS), "{report:?}");
        // Nobody waits for a mirror's answer: all are there once none is on its way.
        wait::until("mirrored requests have arrived", Duration::from_secs(10), async || {
            let on_the_way =
                statistic("upstream_rq_active").await? + statistic("upstream_rq_pending_active").await?;
            let seen = stage.count("v2", &key).await?;
            let sent = statistic("upstream_rq_total").await? - before;
            Ok((on_the_way == 0 && sent == seen).then_some(seen))
        })
        .await
    })
    .await
}

async fn delegated(stage: &Stage) -> Result<()> {
    for (path, expected, by) in
        [("/catalog/new/1", "server-v2", ""), ("/catalog/1", "server-v1", "delegate"), ("/", "server-v2", "")]
    {
        let seen = stage.seen(&format!("http://root.shop{path}")).await?;
        let header = seen["headers"]["x-by"].as_str().unwrap_or_default();
        ensure!(seen["name"] == expected && header == by, "{path}: {seen:#}");
    }
    Ok(())
}

async fn grpc(stage: &Stage) -> Result<()> {
    let call = |key: &str, fail: u64| {
        Call::get(format!("http://grpc.shop/test.Service/Call?key={key}&fail={fail}"), VIP)
            .method(Method::POST)
            .header("content-type", "application/grpc")
            .http2()
    };
    let answer = stage.send(call("grpc-2", 2)).await?;
    ensure!(answer.header("grpc-status") == "0" && answer.header("x-version") == "HTTP/2.0", "{answer:?}");
    ensure!(stage.count("v1", "grpc-2").await? == 3, "the first try and two more");
    let answer = stage.send(call("grpc-9", 9)).await?;
    ensure!(answer.header("grpc-status") == "14", "{answer:?}");
    Ok(())
}

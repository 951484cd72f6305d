//! Which endpoint of a service a request goes to.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use anyhow::{Result, ensure};
use meltemi_tests::{call::Call, load::Report, scenario::Scenario, wait, workload::Workload};
use serde_json::{Value, json};

use crate::stage::{HTTP, Stage, VIP, endpoints, rule, service};

const SOON: Duration = Duration::from_secs(10);
/// Keys that are told apart: enough for each server to have some.
const KEYS: u8 = 24;
/// The services whose endpoints change.
const HASHED: (&str, u8) = ("hash", 61);
const FAILOVER: (&str, u8) = ("failover", 65);

/// Two servers in the client's zone, one in another of its region, and one in another region.
pub fn servers() -> [Workload; 4] {
    [("a1", 21, "node-a"), ("a2", 22, "node-a"), ("b1", 23, "node-b"), ("c1", 24, "node-c")].map(
        |(version, number, node)| Workload::new("shop", "server", version, [10, 244, 1, number]).on(node),
    )
}

pub fn scenarios() -> Vec<Scenario<Stage>> {
    let hash = |name, number, by| objects((name, number), by_hash(by), &servers());
    let place = |name, number, setting| objects((name, number), by_place(setting), &servers());
    let distribute = json!({"distribute": [
        {"from": "region1/zone-a/*", "to": {"region1/zone-a/*": 70, "region2/zone-c/*": 30}},
    ]});
    vec![
        Scenario::new(
            "a header keeps to its endpoint, and only those of an endpoint that goes move",
            "hash",
            objects(HASHED, by_user(), &servers()),
            by_header,
        ),
        Scenario::new(
            "so it does on a Maglev table",
            "maglev",
            hash("maglev", 62, json!({"httpQueryParameterName": "user", "maglev": {"tableSize": 1009}})),
            async |stage: &Stage| {
                sticky(stage, |key| Call::get(format!("http://maglev.shop/?user={key}"), VIP)).await.map(drop)
            },
        ),
        Scenario::new(
            "a cookie is given, and keeps to its endpoint",
            "cookie",
            hash("cookie", 63, json!({"httpCookie": {"name": "session", "ttl": "60s"}})),
            by_cookie,
        ),
        Scenario::new(
            "an address keeps to its endpoint",
            "source",
            hash("source", 64, json!({"useSourceIp": true})),
            async |stage: &Stage| {
                let address = |key: u8| Ipv4Addr::new(10, 244, 7, key + 1);
                for key in 0..KEYS {
                    stage.client.pod.add_address(address(key))?;
                }
                let ask = |key| Call::get("http://source.shop/", VIP).source(address(key));
                sticky(stage, ask).await.map(drop)
            },
        ),
        Scenario::new(
            "requests stay in their zone, then in their region, as long as there are endpoints",
            "failover",
            objects(FAILOVER, by_place(json!({"enabled": true})), &servers()),
            failover,
        ),
        Scenario::new(
            "localities get their weights",
            "distribute",
            place("distribute", 66, distribute),
            async |stage: &Stage| {
                let far = |r: &Report| r.names.get("server-c1").copied().unwrap_or_default();
                stage.share("requests to c1", "http://distribute.shop/", (1000, 0.3), far).await?;
                let seen = stage.seen("http://distribute.shop/").await?;
                ensure!(seen["name"] != "server-b1", "b1 has no weight");
                Ok(())
            },
        ),
        Scenario::new(
            "endpoints that share labels with the client come first",
            "labels",
            place("labels", 67, json!({"failoverPriority": ["version=c1"]})),
            async |stage: &Stage| {
                for _ in 0..20 {
                    let answer = stage.get("http://labels.shop/").await?;
                    ensure!(answer.server() == "server-c1", "{answer:?}");
                }
                Ok(())
            },
        ),
    ]
}

/// The objects of a service with a traffic policy.
fn objects((name, number): (&str, u8), policy: Value, members: &[Workload]) -> Vec<Value> {
    [service(name, number, HTTP, members), vec![rule(name, policy)]].concat()
}

fn by_hash(by: Value) -> Value {
    json!({"loadBalancer": {"consistentHash": by}})
}

fn by_place(setting: Value) -> Value {
    json!({"outlierDetection": {"consecutive5xxErrors": 100}, "loadBalancer": {"localityLbSetting": setting}})
}

fn by_user() -> Value {
    by_hash(json!({"httpHeaderName": "x-user"}))
}

/// Asks three times for each key, and tells which server answers it.
async fn sticky(stage: &Stage, ask: impl Fn(u8) -> Call) -> Result<BTreeMap<u8, String>> {
    let mut places = BTreeMap::new();
    for key in 0..KEYS {
        let mut answered = Vec::new();
        for _ in 0..3 {
            answered.push(stage.send(ask(key)).await?.server().to_owned());
        }
        ensure!(answered.iter().all(|s| *s == answered[0] && !s.is_empty()), "key {key}: {answered:?}");
        places.insert(key, answered.remove(0));
    }
    let different = places.values().collect::<std::collections::BTreeSet<_>>();
    ensure!(different.len() >= 3, "{KEYS} keys are on {different:?} only");
    Ok(places)
}

/// Replaces the endpoints of a service and waits until the client's proxy has them.
async fn replace(stage: &Stage, service: (&str, u8), policy: Value, members: &[Workload]) -> Result<()> {
    stage.mesh.state.write(service.0, &objects(service, policy, members))?;
    let cluster = format!("outbound|80||{}.shop.svc.cluster.local", service.0);
    wait::until_true("the new endpoints", SOON, async || {
        Ok(stage.client.envoy.endpoints(&cluster).await? == endpoints(members))
    })
    .await
}

async fn by_header(stage: &Stage) -> Result<()> {
    let ask = |key: u8| Call::get("http://hash.shop/", VIP).header("x-user", &format!("user-{key}"));
    let before = sticky(stage, ask).await?;

    let gone = "server-a2";
    let rest: Vec<_> = servers().into_iter().filter(|s| s.name() != gone).collect();
    replace(stage, HASHED, by_user(), &rest).await?;
    // Each worker of the proxy takes the endpoints in by itself.
    let after = wait::until("all keys have a place", SOON, async || {
        let after = sticky(stage, ask).await?;
        Ok(after.values().all(|s| s != gone).then_some(after))
    })
    .await?;
    // The ring keeps its size, so those that stay get more points on it, and with them a few keys of each other.
    let stayed = before.iter().filter(|(_, server)| *server != gone);
    let moved = stayed.clone().filter(|(key, server)| after[key] != **server).count();
    ensure!(moved * 3 <= stayed.count(), "{moved} keys moved: {before:?}, then {after:?}");

    replace(stage, HASHED, by_user(), &servers()).await?;
    wait::until_true("all keys are back", SOON, async || Ok(sticky(stage, ask).await? == before)).await
}

async fn by_cookie(stage: &Stage) -> Result<()> {
    let mut sessions = Vec::new();
    for _ in 0..KEYS {
        let answer = stage.get("http://cookie.shop/").await?;
        let cookie = answer.header("set-cookie");
        ensure!(cookie.starts_with("session=") && cookie.contains("Max-Age=60"), "{answer:?}");
        sessions.push((cookie.split(';').next().unwrap_or_default().to_owned(), answer.server().to_owned()));
    }
    let found = sticky(stage, |key| {
        Call::get("http://cookie.shop/", VIP).header("cookie", &sessions[usize::from(key)].0)
    })
    .await?;
    for (key, server) in found {
        let first = &sessions[usize::from(key)].1;
        ensure!(server == *first, "session {key} began on {first} and went on to {server}");
    }
    Ok(())
}

async fn failover(stage: &Stage) -> Result<()> {
    let all = servers();
    for (from, expected) in [
        (0, &["server-a1", "server-a2"][..]),
        (2, &["server-b1"]),
        (3, &["server-c1"]),
        (0, &["server-a1", "server-a2"]),
    ] {
        replace(stage, FAILOVER, by_place(json!({"enabled": true})), &all[from..]).await?;
        wait::until_true(format!("{expected:?} answer alone"), SOON, async || {
            for _ in 0..20 {
                let answer = stage.get("http://failover.shop/").await?;
                ensure!(answer.status == 200, "{answer:?}");
                if !expected.contains(&answer.server()) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
    }
    Ok(())
}

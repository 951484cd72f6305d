//! Connections that nobody looks into, and services whose Pods are reached by their own addresses.

use anyhow::{Result, ensure};
use meltemi_tests::{call::Call, odds, scenario::Scenario, workload};
use serde_json::{Value, json};

use crate::stage::{Stage, at, cluster_ip, resource, service, subsets, to, two_versions};

const TCP: &[workload::Port<'_>] = &[("tcp", 9000, 9000)];

pub fn scenarios() -> Vec<Scenario<Stage>> {
    let weights = json!({"hosts": ["tcp"], "tcp": [{
        "match": [{"port": 9000}], "route": [to("tcp", "v1", 75), to("tcp", "v2", 25)],
    }]});
    vec![
        Scenario::new(
            "connections are shared out by weight",
            "tcp",
            [
                service("tcp", 41, TCP, &two_versions()),
                vec![subsets("tcp"), resource("VirtualService", "tcp", weights)],
            ]
            .concat(),
            async |stage: &Stage| {
                const CONNECTIONS: u64 = 300;
                odds::hold("connections to v2", CONNECTIONS, 0.25, async || {
                    let mut second = 0;
                    for _ in 0..CONNECTIONS {
                        let name = stage.greeting((cluster_ip(41), 9000)).await?;
                        ensure!(name == "server-v1" || name == "server-v2", "{name:?} answered");
                        second += u64::from(name == "server-v2");
                    }
                    Ok(second)
                })
                .await
            },
        ),
        Scenario::new(
            "a Pod of a headless service is reached by its own address",
            "headless",
            headless(),
            own_addresses,
        ),
    ]
}

fn headless() -> Vec<Value> {
    let ports: &[workload::Port<'_>] = &[("tcp", 9000, 9000), ("http", 8080, 8080)];
    let mut objects = service("headless", 42, ports, &two_versions());
    objects[0]["spec"]["clusterIP"] = "None".into();
    objects[0]["spec"]["clusterIPs"] = json!(["None"]);
    objects
}

async fn own_addresses(stage: &Stage) -> Result<()> {
    for server in two_versions() {
        let name = stage.greeting(at(&server, 9000)).await?;
        ensure!(name == server.name(), "TCP to {} came to {name:?}", server.name());
        for host in ["headless.shop", &format!("{}.headless.shop.svc.cluster.local", server.pod_name())] {
            let answer = stage.send(Call::get(format!("http://{host}:8080/"), at(&server, 8080))).await?;
            ensure!(answer.server() == server.name(), "HTTP to {host} at {}: {answer:?}", server.name());
        }
    }
    // Seen as a destination of the mesh, and not just let through.
    let seen = stage.client.envoy.stats("outbound.9000..headless.*upstream_cx_total$").await?;
    ensure!(seen.values().sum::<u64>() >= 2, "{seen:?}");
    Ok(())
}

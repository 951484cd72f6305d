use super::{Row, check};
use serde_json::{Value as Json, json};

fn rule(policy: Json) -> Json {
    json!({"host": "a", "trafficPolicy": policy})
}

#[test]
fn hosts_subsets_and_exports() {
    let of = |more: Json| {
        let mut rule = json!({"host": "a"});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let subset = |name: &str| json!({"name": name, "labels": {"v": "1"}});
    let rows: [Row<'static>; 14] = [
        (of(json!({"subsets": [subset("v1"), subset("v2")]})), &[], &[]),
        (json!({"host": "*.example.com"}), &[], &[]),
        (json!({"host": "a_b"}), &["host"], &[]),
        (of(json!({"subsets": [subset("v1"), subset("v1")]})), &["subsets[1].name"], &[]),
        (of(json!({"subsets": [subset("")]})), &["subsets[0].name"], &[]),
        (of(json!({"subsets": [subset("v.1")]})), &["subsets[0].name"], &[]),
        (of(json!({"subsets": [{"name": "v1", "labels": {"v": "a b"}}]})), &["subsets[0].labels[v]"], &[]),
        (of(json!({"subsets": [{"name": "v1", "trafficPolicy": {}}]})), &["subsets[0].trafficPolicy"], &[]),
        (of(json!({"exportTo": ["."]})), &[], &[]),
        (of(json!({"exportTo": ["~"]})), &["exportTo[0]"], &[]),
        (of(json!({"workloadSelector": {"matchLabels": {"a": "b"}}, "exportTo": ["own"]})), &[], &[]),
        (
            of(json!({"workloadSelector": {"matchLabels": {"a": "b"}}, "exportTo": ["other"]})),
            &["exportTo"],
            &[],
        ),
        (
            of(json!({"workloadSelector": {"matchLabels": {"a": "*"}}})),
            &["workloadSelector.matchLabels[a]"],
            &[],
        ),
        (of(json!({"workloadSelector": {}})), &[], &["workloadSelector.matchLabels"]),
    ];
    check("DestinationRule", rows);
}

#[test]
fn policies() {
    let tunnel = |tunnel: Json| rule(json!({"tunnel": tunnel}));
    let rows: [Row<'static>; 12] = [
        (rule(json!({})), &["trafficPolicy"], &[]),
        (rule(json!({"retryBudget": {}})), &[], &[]),
        (rule(json!({"proxyProtocol": {"version": "V2"}})), &[], &[]),
        (
            rule(json!({"proxyProtocol": {}, "tunnel": {"targetHost": "a", "targetPort": 1}})),
            &["trafficPolicy.proxyProtocol"],
            &[],
        ),
        (tunnel(json!({"targetHost": "a.com", "targetPort": 443, "protocol": "POST"})), &[], &[]),
        (tunnel(json!({"targetHost": "2001:1::1", "targetPort": 443})), &[], &[]),
        (
            tunnel(json!({"targetHost": "*.com", "protocol": "GET"})),
            &[
                "trafficPolicy.tunnel.protocol",
                "trafficPolicy.tunnel.targetHost",
                "trafficPolicy.tunnel.targetPort",
            ],
            &[],
        ),
        (rule(json!({"portLevelSettings": [{"port": {"number": 80}, "tls": {}}]})), &[], &[]),
        (
            rule(json!({"portLevelSettings": [{"tls": {}}]})),
            &["trafficPolicy.portLevelSettings[0].port"],
            &[],
        ),
        (
            rule(json!({"portLevelSettings": [{"port": {"number": 80}}]})),
            &["trafficPolicy.portLevelSettings[0]"],
            &[],
        ),
        (
            rule(json!({"portLevelSettings": [{"port": {"number": 80}, "connectionPool": {}}]})),
            &["trafficPolicy.portLevelSettings[0].connectionPool"],
            &[],
        ),
        (
            rule(
                json!({"portLevelSettings": [{"port": {"number": 80}, "outlierDetection": {"minHealthPercent": 101}}]}),
            ),
            &["trafficPolicy.portLevelSettings[0].outlierDetection.minHealthPercent"],
            &[],
        ),
    ];
    check("DestinationRule", rows);
}

#[test]
fn connection_pools() {
    let pool = |pool: Json| rule(json!({"connectionPool": pool}));
    let rows: [Row<'static>; 10] = [
        (
            pool(json!({"tcp": {"maxConnections": 1, "connectTimeout": "2s", "idleTimeout": "0s",
            "tcpKeepalive": {"time": "1h", "interval": "1m"}}})),
            &[],
            &[],
        ),
        (pool(json!({})), &["trafficPolicy.connectionPool"], &[]),
        (
            pool(json!({"tcp": {"maxConnections": -1, "connectTimeout": "1ns"}})),
            &[
                "trafficPolicy.connectionPool.tcp.maxConnections",
                "trafficPolicy.connectionPool.tcp.connectTimeout",
            ],
            &[],
        ),
        (
            pool(json!({"tcp": {"idleTimeout": "-1s"}})),
            &["trafficPolicy.connectionPool.tcp.idleTimeout"],
            &[],
        ),
        (
            pool(json!({"tcp": {"tcpKeepalive": {"time": "0s"}}})),
            &["trafficPolicy.connectionPool.tcp.tcpKeepalive.time"],
            &[],
        ),
        (
            pool(
                json!({"http": {"http1MaxPendingRequests": -1, "maxRetries": -1, "maxConcurrentStreams": -1}}),
            ),
            &[
                "trafficPolicy.connectionPool.http.http1MaxPendingRequests",
                "trafficPolicy.connectionPool.http.maxRetries",
                "trafficPolicy.connectionPool.http.maxConcurrentStreams",
            ],
            &[],
        ),
        (
            pool(json!({"http": {"idleTimeout": "0s"}})),
            &["trafficPolicy.connectionPool.http.idleTimeout"],
            &[],
        ),
        (
            pool(json!({"http": {"h2UpgradePolicy": "UPGRADE", "useClientProtocol": true}})),
            &["trafficPolicy.connectionPool.http.useClientProtocol"],
            &[],
        ),
        (
            pool(json!({"http": {"http2KeepAlive": {"interval": "1s"}}})),
            &["trafficPolicy.connectionPool.http.http2KeepAlive.timeout"],
            &[],
        ),
        (pool(json!({"http": {"http2KeepAlive": {"interval": "1s", "timeout": "1s"}}})), &[], &[]),
    ];
    check("DestinationRule", rows);
}

#[test]
fn outlier_detection() {
    let of = |outlier: Json| rule(json!({"outlierDetection": outlier}));
    let rows: [Row<'static>; 6] = [
        (of(json!({})), &[], &[]),
        (of(json!({"interval": "1s", "baseEjectionTime": "1m", "maxEjectionPercent": 100})), &[], &[]),
        (
            of(json!({"interval": "0s", "baseEjectionTime": "1us"})),
            &["trafficPolicy.outlierDetection.baseEjectionTime", "trafficPolicy.outlierDetection.interval"],
            &[],
        ),
        (
            of(json!({"maxEjectionPercent": 101, "minHealthPercent": -1})),
            &[
                "trafficPolicy.outlierDetection.maxEjectionPercent",
                "trafficPolicy.outlierDetection.minHealthPercent",
            ],
            &[],
        ),
        (of(json!({"consecutiveErrors": 3})), &[], &["trafficPolicy.outlierDetection.consecutiveErrors"]),
        (
            of(json!({"consecutiveLocalOriginFailures": 3})),
            &["trafficPolicy.outlierDetection.consecutiveLocalOriginFailures"],
            &[],
        ),
    ];
    check("DestinationRule", rows);
}

#[test]
fn hashes_and_warm_up() {
    let hash = |hash: Json| rule(json!({"loadBalancer": {"consistentHash": hash}}));
    let warm = |warm: Json| rule(json!({"loadBalancer": {"warmup": warm}}));
    let rows: [Row<'static>; 14] = [
        (rule(json!({"loadBalancer": {"simple": "ROUND_ROBIN"}})), &[], &[]),
        (hash(json!({"httpCookie": {"name": "a", "attributes": [{"name": "b"}]}})), &[], &[]),
        (
            hash(json!({"httpCookie": {"path": "/"}})),
            &["trafficPolicy.loadBalancer.consistentHash.httpCookie.name"],
            &[],
        ),
        (
            hash(
                json!({"httpCookie": {"name": "a", "attributes": [{"name": ""}, {"name": "b"}, {"name": "b"}]}}),
            ),
            &[
                "trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[0].name",
                "trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[2].name",
            ],
            &[],
        ),
        (
            hash(json!({"useSourceIp": true, "minimumRingSize": 10})),
            &[],
            &["trafficPolicy.loadBalancer.consistentHash.minimumRingSize"],
        ),
        (
            hash(json!({"useSourceIp": true, "minimumRingSize": 10, "ringHash": {}})),
            &["trafficPolicy.loadBalancer.consistentHash.minimumRingSize"],
            &["trafficPolicy.loadBalancer.consistentHash.minimumRingSize"],
        ),
        (hash(json!({"useSourceIp": true, "maglev": {"tableSize": 1009}})), &[], &[]),
        (
            hash(json!({"useSourceIp": true, "maglev": {}})),
            &["trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"],
            &[],
        ),
        (
            hash(json!({"useSourceIp": true, "maglev": {"tableSize": 1007}})),
            &["trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"],
            &[],
        ),
        (
            hash(json!({"useSourceIp": true, "maglev": {"tableSize": 5_000_011}})),
            &["trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"],
            &[],
        ),
        (warm(json!({"duration": "1m", "minimumPercent": 10, "aggression": 1.5})), &[], &[]),
        (warm(json!({})), &["trafficPolicy.loadBalancer.warmup.duration"], &[]),
        (
            warm(json!({"duration": "1m", "minimumPercent": 101})),
            &["trafficPolicy.loadBalancer.warmup.minimumPercent"],
            &[],
        ),
        (
            warm(json!({"duration": "1m", "aggression": 0})),
            &["trafficPolicy.loadBalancer.warmup.aggression"],
            &[],
        ),
    ];
    check("DestinationRule", rows);
}

#[test]
fn localities() {
    let of =
        |setting: Json| rule(json!({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": setting}}));
    let to = |to: Json| of(json!({"distribute": [{"from": "a", "to": to}]}));
    let from = |all: &[&str]| {
        let all: Vec<Json> = all.iter().map(|from| json!({"from": from, "to": {"*": 100}})).collect();
        of(json!({"distribute": all}))
    };
    const DISTRIBUTE: &[&str] = &["trafficPolicy.loadBalancer.localityLbSetting.distribute"];
    const TO: &[&str] = &["trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to"];
    const FAILOVER: &[&str] = &["trafficPolicy.loadBalancer.localityLbSetting.failover[0]"];
    let rows: [Row<'static>; 26] = [
        (to(json!({"a/b": 80, "a/c": 20})), &[], &[]),
        (to(json!({"a/b": 80, "a/c": 30})), TO, &[]),
        (
            to(json!({"a/b": 101})),
            &["trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to[a/b]"],
            &[],
        ),
        (
            to(json!({"a/b": 100, "a/c": 0})),
            &["trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to[a/c]"],
            &[],
        ),
        (to(json!({"a": 50, "a/b": 50})), TO, &[]),
        (from(&["a/b/c", "a/b/d", "a/e"]), &[], &[]),
        (from(&["a/b/*", "a/c/*"]), &[], &[]),
        (from(&["a/b", "a/*"]), &[], &[]),
        (from(&["a/*", "a/b"]), DISTRIBUTE, &[]),
        (from(&["a/b/*", "a/b/c"]), DISTRIBUTE, &[]),
        (from(&["a/b/c", "a/b"]), DISTRIBUTE, &[]),
        (from(&["a/b/c", "a/b/c"]), DISTRIBUTE, &[]),
        (from(&["a/b", "a"]), DISTRIBUTE, &[]),
        (from(&["*", "a"]), DISTRIBUTE, &[]),
        (from(&["a", "*"]), &[], &[]),
        (from(&["a/*/c"]), DISTRIBUTE, &[]),
        (from(&["a//c"]), DISTRIBUTE, &[]),
        (of(json!({"failover": [{"from": "a", "to": "b"}]})), &[], &[]),
        (of(json!({"failover": [{"from": "a", "to": "a"}]})), FAILOVER, &[]),
        (of(json!({"failover": [{"from": "a/b", "to": "a"}]})), FAILOVER, &[]),
        (of(json!({"failover": [{"from": "a*", "to": "b"}]})), FAILOVER, &[]),
        (
            of(
                json!({"failover": [{"from": "a", "to": "b"}], "distribute": [{"from": "a", "to": {"b": 100}}]}),
            ),
            &["trafficPolicy.loadBalancer.localityLbSetting.failover"],
            &[],
        ),
        (
            of(
                json!({"failover": [{"from": "a", "to": "b"}], "failoverPriority": ["topology.kubernetes.io/region"]}),
            ),
            &["trafficPolicy.loadBalancer.localityLbSetting.failoverPriority"],
            &[],
        ),
        (
            rule(json!({"loadBalancer": {"localityLbSetting": {"failover": [{"from": "a", "to": "b"}]}}})),
            &[],
            &["trafficPolicy.loadBalancer.localityLbSetting"],
        ),
        (
            rule(json!({"loadBalancer": {"localityLbSetting": {}, "zoneAwareLbSetting": {}}})),
            &["trafficPolicy.loadBalancer.zoneAwareLbSetting"],
            &[],
        ),
        (
            rule(json!({"outlierDetection": {}, "loadBalancer": {"zoneAwareLbSetting":
            {"failoverPriority": ["a", "topology.istio.io/subzone"], "failover": [{"from": "a", "to": "a/b"}]}}})),
            &[
                "trafficPolicy.loadBalancer.zoneAwareLbSetting.failoverPriority[1]",
                "trafficPolicy.loadBalancer.zoneAwareLbSetting.failover[0]",
            ],
            &[],
        ),
    ];
    check("DestinationRule", rows);
}

#[test]
fn tls() {
    let of = |tls: Json| rule(json!({"tls": tls}));
    let rows: [Row<'static>; 12] = [
        (of(json!({"mode": "ISTIO_MUTUAL"})), &[], &[]),
        (of(json!({"mode": "MUTUAL", "clientCertificate": "a", "privateKey": "b"})), &[], &[]),
        (
            of(json!({"mode": "MUTUAL"})),
            &["trafficPolicy.tls.clientCertificate", "trafficPolicy.tls.privateKey"],
            &[],
        ),
        (of(json!({"mode": "MUTUAL", "credentialName": "a"})), &[], &[]),
        (
            of(json!({"mode": "SIMPLE", "credentialName": "a", "caCertificates": "b"})),
            &["trafficPolicy.tls.credentialName"],
            &[],
        ),
        (of(json!({"mode": "SIMPLE", "insecureSkipVerify": true})), &[], &[]),
        (
            of(json!({"mode": "SIMPLE", "insecureSkipVerify": true, "subjectAltNames": ["a"]})),
            &["trafficPolicy.tls.insecureSkipVerify"],
            &[],
        ),
        (
            of(json!({"mode": "SIMPLE", "insecureSkipVerify": true, "credentialName": "a"})),
            &["trafficPolicy.tls.insecureSkipVerify"],
            &[],
        ),
        (of(json!({"mode": "MUTUAL", "insecureSkipVerify": true, "credentialName": "a"})), &[], &[]),
        (of(json!({"mode": "SIMPLE", "credentialName": "configmap://own/a"})), &[], &[]),
        (
            of(json!({"mode": "SIMPLE", "credentialName": "configmap://other/a"})),
            &["trafficPolicy.tls.credentialName"],
            &[],
        ),
        (
            of(json!({"mode": "SIMPLE", "credentialName": "configmap://own"})),
            &["trafficPolicy.tls.credentialName"],
            &[],
        ),
    ];
    check("DestinationRule", rows);
}

use super::{Row, check};
use serde_json::{Value as Json, json};

fn ingress(more: Json) -> Json {
    let mut listener =
        json!({"port": {"number": 90, "protocol": "HTTP", "name": "a"}, "defaultEndpoint": "127.0.0.1:80"});
    listener.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"ingress": [listener]})
}

fn egress(listeners: Json) -> Json {
    json!({"egress": listeners})
}

#[test]
fn ingress_listeners() {
    let endpoint = |text: &str| ingress(json!({"defaultEndpoint": text}));
    let tls = |tls: Json| ingress(json!({"tls": tls, "port": {"number": 90, "protocol": "HTTPS"}}));
    let rows: [Row<'static>; 24] = [
        (ingress(json!({})), &[], &[]),
        (endpoint("0.0.0.0:80"), &[], &[]),
        (endpoint("[::1]:80"), &[], &[]),
        (endpoint(":80"), &[], &[]),
        (endpoint("unix:///a"), &[], &[]),
        (endpoint("unix://a"), &["ingress[0].defaultEndpoint"], &[]),
        (endpoint("::1:80"), &["ingress[0].defaultEndpoint"], &[]),
        (endpoint("10.0.0.1:80"), &["ingress[0].defaultEndpoint"], &[]),
        (endpoint("127.0.0.1"), &["ingress[0].defaultEndpoint"], &[]),
        (endpoint("127.0.0.1:http"), &["ingress[0].defaultEndpoint"], &[]),
        (endpoint("127.0.0.1:0"), &["ingress[0].defaultEndpoint"], &[]),
        (ingress(json!({"port": null})), &["ingress[0].port"], &[]),
        (
            ingress(json!({"port": {"number": 0, "protocol": "X", "name": "_"}})),
            &["ingress[0].port.name", "ingress[0].port.protocol", "ingress[0].port.number"],
            &[],
        ),
        (ingress(json!({"port": {"number": 1, "targetPort": 2}})), &["ingress[0].port.targetPort"], &[]),
        (ingress(json!({"bind": "a"})), &["ingress[0].bind"], &[]),
        (
            json!({"ingress": [{"port": {"number": 1}}, {"port": {"number": 1}, "bind": "10.0.0.1"}]}),
            &["ingress[1].port.number"],
            &[],
        ),
        (tls(json!({"mode": "SIMPLE", "serverCertificate": "a", "privateKey": "b"})), &[], &[]),
        (tls(json!({"mode": "ISTIO_MUTUAL"})), &["ingress[0].tls.mode"], &[]),
        (tls(json!({"mode": "SIMPLE", "credentialName": "a"})), &["ingress[0].tls.credentialName"], &[]),
        (
            tls(json!({"mode": "SIMPLE", "serverCertificate": "a", "privateKey": "b", "httpsRedirect": true,
            "subjectAltNames": ["a"]})),
            &["ingress[0].tls.subjectAltNames", "ingress[0].tls.httpsRedirect"],
            &[],
        ),
        (
            ingress(json!({"tls": {"mode": "SIMPLE", "serverCertificate": "a", "privateKey": "b"}})),
            &["ingress[0].tls"],
            &[],
        ),
        (ingress(json!({"connectionPool": {}})), &["ingress[0].connectionPool"], &[]),
        (
            ingress(
                json!({"connectionPool": {"http": {"maxRetries": 1}}, "port": {"number": 1, "protocol": "TCP"}}),
            ),
            &[],
            &["ingress[0].connectionPool.http"],
        ),
        (
            json!({"inboundConnectionPool": {"tcp": {"maxConnections": -1}}}),
            &["inboundConnectionPool.tcp.maxConnections"],
            &[],
        ),
    ];
    check("Sidecar", rows);
}

#[test]
fn egress_listeners() {
    let hosts = || json!(["./*"]);
    let one = |listener: Json| egress(json!([listener]));
    let rows: [Row<'static>; 15] = [
        (one(json!({"hosts": hosts()})), &[], &[]),
        (one(json!({})), &["egress[0].hosts"], &[]),
        (egress(json!([{"hosts": hosts()}, {"hosts": hosts()}])), &["egress[0].port"], &[]),
        (egress(json!([{"hosts": hosts(), "port": {"number": 1}}, {"hosts": hosts()}])), &[], &[]),
        (
            egress(
                json!([{"hosts": hosts(), "port": {"number": 1}}, {"hosts": hosts(), "port": {"number": 1}}]),
            ),
            &["egress[1].port.number"],
            &[],
        ),
        (one(json!({"hosts": hosts(), "port": {"number": 0}})), &["egress[0].port.number"], &[]),
        (one(json!({"hosts": hosts(), "port": {"number": 70000}})), &["egress[0].port.number"], &[]),
        (one(json!({"hosts": hosts(), "port": {"number": 1}, "bind": "a"})), &["egress[0].bind"], &[]),
        (one(json!({"hosts": hosts(), "port": {"number": 0}, "bind": "unix:///a"})), &[], &[]),
        (
            one(
                json!({"hosts": hosts(), "port": {"number": 0}, "bind": "unix:///a", "captureMode": "IPTABLES"}),
            ),
            &["egress[0].captureMode"],
            &[],
        ),
        (
            egress(json!([{"hosts": hosts(), "port": {"number": 0}, "bind": "unix:///a"},
            {"hosts": hosts(), "port": {"number": 0}, "bind": "unix:///a"}])),
            &["egress[1].bind"],
            &[],
        ),
        (one(json!({"hosts": ["a.com"]})), &["egress[0].hosts[0]"], &[]),
        (one(json!({"hosts": ["a/b.com", "~c/d.com", "*/*.e.com"]})), &[], &[]),
        (
            one(json!({"hosts": ["./a.com", "own/*", "b/c.com", "b/c.com"]})),
            &[],
            &["egress[0].hosts[1]", "egress[0].hosts[3]"],
        ),
        (one(json!({"hosts": ["*/*", "a/b.com"]})), &[], &["egress[0].hosts"]),
    ];
    check("Sidecar", rows);
}

#[test]
fn selectors_and_outbound_traffic() {
    let policy = |policy: Json| json!({"outboundTrafficPolicy": policy});
    let rows: [Row<'static>; 9] = [
        (
            json!({"workloadSelector": {"labels": {"app": "*"}}, "egress": [{"hosts": ["./*"]}]}),
            &["workloadSelector.labels[app]"],
            &[],
        ),
        (json!({"workloadSelector": {}, "egress": [{"hosts": ["./*"]}]}), &[], &["workloadSelector.labels"]),
        (policy(json!({"mode": "REGISTRY_ONLY"})), &[], &[]),
        (policy(json!({"mode": 7})), &["outboundTrafficPolicy.mode"], &[]),
        (
            policy(json!({"mode": "ALLOW_ANY", "egressProxy": {"host": "a.com", "port": {"number": 80}}})),
            &[],
            &[],
        ),
        (
            policy(
                json!({"mode": "REGISTRY_ONLY", "egressProxy": {"host": "a.com", "port": {"number": 80}}}),
            ),
            &["outboundTrafficPolicy.egressProxy"],
            &[],
        ),
        (
            policy(json!({"mode": "ALLOW_ANY", "egressProxy": {"host": "a.com"}})),
            &["outboundTrafficPolicy.egressProxy.port"],
            &[],
        ),
        (
            policy(json!({"mode": "ALLOW_ANY", "egressProxy": {"host": "*.a.com", "port": {"number": 80}}})),
            &["outboundTrafficPolicy.egressProxy.host"],
            &[],
        ),
        (
            policy(
                json!({"mode": "ALLOW_ANY", "egressProxy": {"host": "a.com", "subset": "_", "port": {"number": 0}}}),
            ),
            &["outboundTrafficPolicy.egressProxy.subset", "outboundTrafficPolicy.egressProxy.port.number"],
            &[],
        ),
    ];
    check("Sidecar", rows);
}

use super::super::table::fields;
use super::{address, config, networks};
use crate::istio::mesh::v1alpha1::{MeshConfig, MeshNetworks};
use serde_json::{Value, json};

/// What a configuration must have, which the defaults give.
fn with(more: Value) -> MeshConfig {
    let mut mesh = json!({
        "proxyListenPort": 15001, "connectTimeout": "10s", "trustDomain": "cluster.local",
        "defaultConfig": {
            "configPath": "./etc/istio/proxy", "binaryPath": "/usr/local/bin/envoy", "serviceCluster": "istio-proxy",
            "drainDuration": "45s", "discoveryAddress": "istiod.istio-system.svc:15012", "proxyAdminPort": 15000,
            "statusPort": 15020, "controlPlaneAuthPolicy": "MUTUAL_TLS",
        },
    });
    for (key, value) in more.as_object().unwrap() {
        match (&mut mesh[key], value) {
            (Value::Object(old), Value::Object(new)) => old.extend(new.clone()),
            (place, value) => *place = value.clone(),
        }
    }
    crate::object::decode(mesh).unwrap().value
}

fn check(rows: &[(Value, &[&str], &[&str])]) {
    for (more, errors, warnings) in rows {
        let found = config(&with(more.clone()));
        assert_eq!(fields(&found), (errors.to_vec(), warnings.to_vec()), "{more}: {found:?}");
    }
}

#[test]
fn settings_of_the_mesh() {
    check(&[
        (json!({}), &[], &[]),
        (json!({"proxyListenPort": 0}), &["proxyListenPort"], &[]),
        (json!({"proxyListenPort": -1}), &["proxyListenPort"], &[]),
        (json!({"connectTimeout": "0s"}), &["connectTimeout"], &[]),
        (json!({"connectTimeout": "3601s"}), &["connectTimeout"], &[]),
        (json!({"protocolDetectionTimeout": "0s"}), &[], &[]),
        (json!({"protocolDetectionTimeout": "0.0001s"}), &["protocolDetectionTimeout"], &[]),
        (json!({"serviceSettings": [{"hosts": ["*.a.com", "a_b"]}]}), &["serviceSettings[0].hosts[1]"], &[]),
        (json!({"trustDomain": "a_b"}), &["trustDomain"], &[]),
        (json!({"trustDomain": ""}), &["trustDomain"], &[]),
        (json!({"trustDomain": "a.b."}), &[], &[]),
        (json!({"trustDomainAliases": ["a.b", "a..b"]}), &["trustDomainAliases[1]"], &[]),
        (json!({"meshMTLS": {"ecdhCurves": ["P-256"]}}), &["meshMTLS.ecdhCurves"], &[]),
        (
            json!({"tlsDefaults": {"ecdhCurves": ["P-256", "P-1", "P-256"]}}),
            &[],
            &["tlsDefaults.ecdhCurves[1]", "tlsDefaults.ecdhCurves[2]"],
        ),
        (
            json!({"defaultTrafficPolicy": {"connectionPool": {"tcp": {"maxConnections": -1}}}}),
            &["defaultTrafficPolicy.connectionPool.tcp.maxConnections"],
            &[],
        ),
    ]);
}

#[test]
fn settings_of_proxies() {
    let proxy = |more: Value| json!({"defaultConfig": more});
    check(&[
        (proxy(json!({"configPath": ""})), &["defaultConfig.configPath"], &[]),
        (proxy(json!({"binaryPath": ""})), &["defaultConfig.binaryPath"], &[]),
        (proxy(json!({"serviceCluster": ""})), &["defaultConfig.serviceCluster"], &[]),
        (proxy(json!({"drainDuration": "1.5s"})), &["defaultConfig.drainDuration"], &[]),
        (proxy(json!({"drainDuration": "0s"})), &["defaultConfig.drainDuration"], &[]),
        (proxy(json!({"discoveryAddress": ""})), &["defaultConfig.discoveryAddress"], &[]),
        (proxy(json!({"discoveryAddress": "istiod"})), &["defaultConfig.discoveryAddress"], &[]),
        (
            proxy(json!({"proxyAdminPort": 0, "statusPort": 70000})),
            &["defaultConfig.proxyAdminPort", "defaultConfig.statusPort"],
            &[],
        ),
        (proxy(json!({"controlPlaneAuthPolicy": "INHERIT"})), &["defaultConfig.controlPlaneAuthPolicy"], &[]),
        (proxy(json!({"tracing": {"zipkin": {"address": "$(HOST_IP):9411"}}})), &[], &[]),
        (
            proxy(json!({"tracing": {"zipkin": {"address": "zipkin"}}})),
            &["defaultConfig.tracing.zipkin.address"],
            &[],
        ),
        (
            proxy(json!({"tracing": {"lightstep": {"address": "a:1"}}})),
            &["defaultConfig.tracing.lightstep.accessToken"],
            &[],
        ),
        (proxy(json!({"statsdUdpAddress": "a.b"})), &["defaultConfig.statsdUdpAddress"], &[]),
        (
            proxy(json!({"envoyAccessLogService": {"address": "a:0"}})),
            &["defaultConfig.envoyAccessLogService.address"],
            &[],
        ),
        (
            proxy(json!({"proxyMetadata": {"ISTIO_META_DNS_AUTO_ALLOCATE": "true"}})),
            &[],
            &["defaultConfig.proxyMetadata[ISTIO_META_DNS_AUTO_ALLOCATE]"],
        ),
        (proxy(json!({"privateKeyProvider": {}})), &["defaultConfig.privateKeyProvider"], &[]),
        (
            proxy(json!({"privateKeyProvider": {"qat": {}}})),
            &["defaultConfig.privateKeyProvider.qat.pollDelay"],
            &[],
        ),
        (proxy(json!({"privateKeyProvider": {"cryptomb": {"pollDelay": "10ms"}}})), &[], &[]),
        (
            proxy(json!({"connectionSettings": {"httpMaxConcurrentStreams": 0}})),
            &["defaultConfig.connectionSettings.httpMaxConcurrentStreams"],
            &[],
        ),
        (
            proxy(json!({"connectionSettings": {"http2InitialStreamWindowSize": 65534}})),
            &["defaultConfig.connectionSettings.http2InitialStreamWindowSize"],
            &[],
        ),
        (
            proxy(json!({"connectionSettings": {"httpIdleTimeout": "-1s"}})),
            &["defaultConfig.connectionSettings.httpIdleTimeout"],
            &[],
        ),
    ]);
}

#[test]
fn providers_are_warned_of() {
    let one = |kind: &str, provider: Value| json!({"extensionProviders": [{"name": "a", kind: provider}]});
    let at = |service: &str, port: u32| json!({"service": service, "port": port});
    check(&[
        (one("envoyExtAuthzGrpc", at("ns/a.com", 80)), &[], &[]),
        (one("zipkin", at("a", 80)), &[], &[]),
        (one("zipkin", at("10.0.0.1", 80)), &[], &[]),
        (one("zipkin", at("", 80)), &[], &["extensionProviders[a].zipkin.service"]),
        (one("datadog", at("ns/", 80)), &[], &["extensionProviders[a].datadog.service"]),
        (one("envoyOtelAls", at("a.com", 0)), &[], &["extensionProviders[a].envoyOtelAls.port"]),
        (
            one("envoyExtAuthzHttp", json!({"service": "a.com", "port": 80, "statusOnError": "999"})),
            &[],
            &["extensionProviders[a].envoyExtAuthzHttp.statusOnError"],
        ),
        (
            one("envoyExtAuthzHttp", json!({"service": "a.com", "port": 80, "pathPrefix": "a"})),
            &[],
            &["extensionProviders[a].envoyExtAuthzHttp.pathPrefix"],
        ),
        (
            one("opentelemetry", json!({"service": "a.com", "port": 80, "grpc": {}, "http": {}})),
            &[],
            &["extensionProviders[a].opentelemetry"],
        ),
        (json!({"extensionProviders": [{"name": "a"}]}), &[], &["extensionProviders[a]"]),
        (
            json!({"extensionProviders": [{"name": "a", "prometheus": {}}, {"name": "a", "prometheus": {}}, {"prometheus": {}}]}),
            &[],
            &["extensionProviders[a].name", "extensionProviders[2].name"],
        ),
    ]);
}

#[test]
fn networks_have_places_and_gateways() {
    for (network, errors) in [
        (
            json!({"endpoints": [{"fromRegistry": "Kubernetes"}, {"fromCidr": "10.0.0.0/8"}], "gateways": [{"address": "1.1.1.1", "port": 15443}]}),
            &[][..],
        ),
        (json!({"endpoints": [{"fromCidr": "10.0.0.0/33"}]}), &["networks[n].endpoints[0].fromCidr"]),
        (json!({"endpoints": [{"fromRegistry": "a_b"}]}), &["networks[n].endpoints[0].fromRegistry"]),
        (
            json!({"gateways": [{"address": "gateway.example.com", "port": 1}, {"registryServiceName": "a.b.svc", "port": 1}]}),
            &[],
        ),
        (json!({"gateways": [{"address": "a b", "port": 1}]}), &["networks[n].gateways[0].address"]),
        (
            json!({"gateways": [{"registryServiceName": "a_b", "port": 0}]}),
            &["networks[n].gateways[0].registryServiceName", "networks[n].gateways[0].port"],
        ),
    ] {
        let mesh: MeshNetworks = crate::object::decode(json!({"networks": {"n": network}})).unwrap().value;
        assert_eq!(fields(&networks(&mesh)).0, errors, "{network}");
    }
}

#[test]
fn addresses_have_ports() {
    for (text, good) in [
        ("a.b:80", true),
        ("10.0.0.1:80", true),
        ("[::1]:80", true),
        ("::1:80", false),
        ("[::1:80", false),
        ("a.b", false),
        ("a.b:0", false),
        ("a_b:80", false),
        (":80", false),
    ] {
        assert_eq!(address(text).is_none(), good, "{text}");
    }
}

//! What the rig itself must do, shown without a control plane: if these fail, no other test of this crate tells anything.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Pod as PodResource};
use kube::{Api, api::WatchParams, core::WatchEvent};
use meltemi_tests::{
    apiserver::ApiServer,
    app::App,
    bootstrap::{self, typed},
    client::Requests,
    envoy::Envoy,
    interception::intercept,
    netns::Network,
    objects::{self, Objects},
    scratch::Scratch,
    setup,
};
use serde_json::{Value, json};

/// An Envoy that knows no mesh: outbound HTTP to the virtual address goes to `server`, inbound TCP to where it was going.
fn static_proxy(server: Ipv4Addr) -> Value {
    let router = typed("envoy.extensions.filters.http.router.v3.Router", json!({}));
    let manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "out",
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server"}}],
                "request_headers_to_add": [{"header": {"key": "x-through", "value": "outbound"}}],
            }]},
        }),
    );
    let inbound = typed(
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        json!({"stat_prefix": "in", "cluster": "original"}),
    );
    let listener = |port: u16, name: &str, config: &Value| {
        json!({
            "name": name, "address": bootstrap::socket((Ipv4Addr::UNSPECIFIED, port).into()),
            "listener_filters": [{"name": "envoy.filters.listener.original_dst", "typed_config":
                typed("envoy.extensions.filters.listener.original_dst.v3.OriginalDst", json!({}))}],
            "filter_chains": [{"filters": [{"name": name, "typed_config": config}]}],
        })
    };
    json!({
        "admin": {"address": bootstrap::socket(bootstrap::ADMIN)},
        "static_resources": {
            "listeners": [listener(15001, "outbound", &manager), listener(15006, "inbound", &inbound)],
            "clusters": [
                bootstrap::cluster("server", bootstrap::socket((server, 8080).into()), false),
                {"name": "original", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "1s",
                 "upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}}},
            ],
        },
    })
}

#[tokio::test]
async fn connections_between_two_pods_go_through_both_proxies() -> Result<()> {
    let scratch = Scratch::new()?;
    let network = Network::new()?;
    let [client_address, server_address] = [Ipv4Addr::new(10, 244, 1, 10), Ipv4Addr::new(10, 244, 2, 10)];
    let client = network.pod("client", client_address)?;
    let server = network.pod("server", server_address)?;
    let app = App::start(&server, "server-v1", &[8080], &[9000], scratch.path()).await?;
    let mut proxies = Vec::new();
    for pod in [&client, &server] {
        intercept(pod)?;
        let mut envoy = Envoy::start(pod, &static_proxy(server_address), scratch.path()).await?;
        envoy.live().await?;
        proxies.push(envoy);
    }

    // A cluster IP: no such address exists, only the client's proxy knows what is meant.
    let report = Requests::to("http://server.default/?key=a", (Ipv4Addr::new(10, 96, 1, 1), 80))
        .count(100)
        .connections(4)
        .send(&client, scratch.path())
        .await?;
    assert_eq!((report.sent, report.failed()), (100, 0), "{report:?}");
    assert_eq!(report.names.get("server-v1"), Some(&100), "{report:?}");
    let body: Value = serde_json::from_str(&report.bodies[&200])?;
    assert_eq!(body["headers"]["x-through"], "outbound");
    assert_eq!(app.count("a").await?, 100);
    let inbound = proxies[1].stats("^tcp.in.downstream_cx_total").await?;
    assert!(inbound.values().sum::<u64>() > 0, "nothing came in through the server's proxy: {inbound:?}");
    Ok(())
}

const SHOP: &str = "\
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {serviceAccountName: nobody-made-it, nodeName: none, containers: [{name: app, image: app}]}
status: {phase: Running, podIP: 10.244.0.10, podIPs: [{ip: 10.244.0.10}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.1.7, clusterIPs: [10.96.1.7], type: LoadBalancer, ports: [{port: 80, nodePort: 30080}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}
";

#[tokio::test]
async fn an_apiserver_comes_back_with_its_data_and_forgets_old_versions() -> Result<()> {
    let mut apiserver = ApiServer::start().await?;
    let client = apiserver.client().await?;
    let mut objects = Objects::new(client.clone()).await?;
    let definitions = setup::shared()?.join("parity/crds");
    for file in ["crd-all.gen.yaml", "gateway-api-crd.yaml"] {
        objects.install(&objects::read(&definitions.join(file))?).await?;
    }
    objects.apply_yaml(SHOP).await?;
    let pods: Api<PodResource> = Api::namespaced(client.clone(), "shop");
    let pod = pods.get("web").await?;
    assert_eq!(pod.status.and_then(|s| s.pod_ip).as_deref(), Some("10.244.0.10"));
    let old = pod.metadata.resource_version.context("no version")?;

    let gone = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}});
    objects.apply(std::slice::from_ref(&gone)).await?;
    objects.delete(std::slice::from_ref(&gone)).await?;
    assert!(objects.get(&gone).await.is_err(), "a namespace is deleted at once");

    apiserver.kill()?;
    assert!(pods.get("web").await.is_err(), "the apiserver is down");
    let beside = apiserver.beside().await?;
    let elsewhere: Api<ConfigMap> = Api::namespaced(beside.client.clone(), "shop");
    let made = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("during".into()), ..Default::default() },
        ..Default::default()
    };
    elsewhere.create(&Default::default(), &made).await?;
    apiserver.compact().await?;
    drop(beside);
    apiserver.bring_up().await?;

    let here: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    here.get("during").await.context("what the other apiserver wrote")?;
    let watch = pods.watch(&WatchParams::default(), &old).await?;
    pin_mut!(watch);
    let first =
        tokio::time::timeout(Duration::from_secs(10), watch.next()).await?.context("the watch ended")??;
    ensure!(matches!(&first, WatchEvent::Error(e) if e.code == 410), "expected 410 Gone, got {first:?}");
    Ok(())
}

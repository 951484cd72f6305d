//! The start configuration of an Envoy of the mesh, in the parts of Istio's own that the served configuration refers to.
//!
//! Node extensions are left out: Envoy fills them in, and by them the control plane knows that it is a stock one.

use std::{net::SocketAddr, path::Path};

use serde_json::{Map, Value, json};

/// Where every Envoy's admin pages are, in its own namespace.
pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15000);

/// The node that the Envoy of a Pod announces, as Istio's agent derives it. `node` is the Kubernetes node it runs on.
pub fn node(pod: &Value, node: Option<&Value>) -> Value {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    let (name, namespace) = (text(&metadata["name"]), text(&metadata["namespace"]));
    let labels = &metadata["labels"];
    let address = text(&pod["status"]["podIP"]);
    let owner = metadata["ownerReferences"][0]["name"].as_str().unwrap_or(&name);
    let workload = owner.rsplit_once('-').map_or(owner, |(workload, _)| workload);
    let router = labels["istio"].as_str().is_some_and(|l| l.contains("gateway"))
        || !labels["gateway.networking.k8s.io/gateway-name"].is_null();
    let mut facts = json!({
        "NAME": name, "NAMESPACE": namespace, "CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local",
        "ISTIO_VERSION": "1.31.0", "INSTANCE_IPS": address, "LABELS": labels, "WORKLOAD_NAME": workload,
        "SERVICE_ACCOUNT": spec["serviceAccountName"].as_str().unwrap_or("default"), "NODE_NAME": spec["nodeName"],
        "OWNER": format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{workload}"),
    });
    if !router {
        facts["INTERCEPTION_MODE"] = "REDIRECT".into();
    }
    let mut locality = Map::new();
    for part in ["region", "zone"] {
        let label = node.map(|n| &n["metadata"]["labels"][format!("topology.kubernetes.io/{part}")]);
        if let Some(Value::String(place)) = label {
            locality.insert(part.into(), place.clone().into());
        }
    }
    let kind = if router { "router" } else { "sidecar" };
    json!({
        "id": format!("{kind}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
        "cluster": format!("{}.{namespace}", labels["app"].as_str().unwrap_or(workload)),
        "locality": locality,
        "metadata": facts,
    })
}

/// A start configuration that takes everything from `xds` by one delta stream, and secrets from the socket `sds`.
pub fn ads(node: &Value, xds: SocketAddr, sds: &Path) -> Value {
    let from_ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    let unused = |name: &str| cluster(name, socket(SocketAddr::from(([127, 0, 0, 1], 9))), false);
    json!({
        "node": node,
        "admin": {"address": socket(ADMIN)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "cds_config": from_ads, "lds_config": from_ads,
        },
        "static_resources": {"clusters": [
            cluster("xds-grpc", socket(xds), true),
            cluster("sds-grpc", json!({"pipe": {"path": sds}}), true),
            unused("prometheus_stats"), unused("agent"), unused("zipkin"),
        ]},
    })
}

/// A static cluster with one endpoint.
pub fn cluster(name: &str, address: Value, http2: bool) -> Value {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let mut cluster = json!({
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    });
    if http2 {
        let options = json!({"explicit_http_config": {"http2_protocol_options": {}}});
        cluster["typed_extension_protocol_options"] = json!({OPTIONS: typed(OPTIONS, options)});
    }
    cluster
}

/// A socket address, as Envoy writes one.
pub fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A message with its type, as an extension is configured with.
pub fn typed(message: &str, mut value: Value) -> Value {
    value["@type"] = format!("type.googleapis.com/{message}").into();
    value
}

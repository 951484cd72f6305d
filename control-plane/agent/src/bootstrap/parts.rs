//! Clusters and listeners of the start configuration.

use std::{net::IpAddr, path::Path};

use serde_json::{Value, json};

use crate::Error;

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// A message with its type, as an extension is configured with.
pub(super) fn typed(message: &str, mut value: Value) -> Value {
    value["@type"] = json!(format!("type.googleapis.com/{message}"));
    value
}

/// A TCP address.
pub(super) fn socket(host: IpAddr, port: u16) -> Value {
    json!({"socket_address": {"address": host.to_string(), "port_value": port}})
}

/// A Unix socket. Envoy resolves a relative path by its own folder, which is the agent's.
pub(super) fn pipe(path: &Path) -> Value {
    json!({"pipe": {"path": path}})
}

/// A cluster of this machine.
pub(super) fn cluster(name: &str, address: Value, http2: bool) -> Value {
    make(name, "STATIC", address, http2)
}

/// A cluster elsewhere, by `host:port`.
pub(super) fn remote(name: &str, address: &str, http2: bool) -> Result<Value, Error> {
    let bad = || Error::setting(&format!("the address of {name}"), format!("is {address:?}; use host:port"));
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    let host = host.trim_matches(['[', ']']);
    let kind = if host.parse::<IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" };
    let address = json!({"socket_address": {"address": host, "port_value": port}});
    Ok(make(name, kind, address, http2))
}

fn make(name: &str, kind: &str, address: Value, http2: bool) -> Value {
    let mut cluster = json!({
        "name": name,
        // The mark that Istio's statistics end a cluster's name with.
        "alt_stat_name": format!("{name};"),
        "type": kind,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    });
    if http2 {
        let options = json!({"explicit_http_config": {"http2_protocol_options": {}}});
        cluster["typed_extension_protocol_options"] = json!({HTTP_OPTIONS: typed(HTTP_OPTIONS, options)});
    }
    cluster
}

/// A listener that passes one path on to a cluster. It counts neither as load nor as a client.
pub(super) fn listener(host: IpAddr, port: u16, prefix: &str, path: &str, to: &str) -> Value {
    let manager = json!({
        "codec_type": "AUTO",
        "stat_prefix": prefix,
        "route_config": {"virtual_hosts": [{
            "name": "backend", "domains": ["*"],
            "routes": [{"match": {"prefix": path}, "route": {"cluster": to}}],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({})),
        }],
    });
    json!({
        "name": format!("{host}_{port}"),
        "address": socket(host, port),
        "ignore_global_conn_limit": true,
        "bypass_overload_manager": true,
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": typed(CONNECTION_MANAGER, manager),
        }]}],
    })
}

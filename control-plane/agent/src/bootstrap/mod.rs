//! Envoy's start configuration: who it is, where it takes the rest from, and what it serves before it has that.
//!
//! Names of clusters and listeners are those of Istio's template, since what istiod sends refers to them.

mod parts;
mod stats;

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::{
    Error,
    settings::{Metadata, ProxyConfig, Settings},
};
use parts::{cluster, listener, pipe, remote, socket, typed};

/// Writes the configuration; where it is.
pub fn write(settings: &Settings) -> Result<PathBuf, Error> {
    if let Some(path) = &settings.bootstrap {
        return custom(path);
    }
    let dir = settings.proxy.config_path();
    fs::create_dir_all(&dir).map_err(|e| Error::file(&dir, e))?;
    let path = dir.join("envoy-rev.json");
    let text = build(settings)?.to_string();
    let written = fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| Error::file(&path, e))?;
    Ok(path)
}

/// The user's own configuration, if it is one as it stands.
fn custom(path: &Path) -> Result<PathBuf, Error> {
    let text = fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    if text.contains("{{") {
        let problem =
            "is a Go template, which this agent does not run; write it out, or use ISTIO_BOOTSTRAP_OVERRIDE";
        return Err(Error::file(path, problem));
    }
    Ok(path.to_owned())
}

/// What is laid over the configuration (`--config-yaml`), if anything is.
pub fn overlay(settings: &Settings) -> Result<Option<String>, Error> {
    let Some(path) = &settings.bootstrap_override else { return Ok(None) };
    let text = fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    let host = if settings.host_ip.contains(':') {
        format!("[{}]", settings.host_ip)
    } else {
        settings.host_ip.clone()
    };
    let text = text.replace("[$(HOST_IP)]", &host).replace("$(HOST_IP)", &host);
    let value: Value = serde_saphyr::from_str(&text).map_err(|e| Error::file(path, e))?;
    Ok(Some(value.to_string()))
}

/// The configuration.
pub fn build(settings: &Settings) -> Result<Value, Error> {
    let proxy = &settings.proxy;
    let from_ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    let mut manager = json!({"enable_deferred_cluster_creation": true});
    if let Some(path) = &settings.outlier_log {
        manager["outlier_detection"] = json!({"event_log_path": path});
    }
    Ok(json!({
        "node": {
            "id": settings.node_id(),
            "cluster": service_cluster(proxy, &settings.metadata, &settings.namespace),
            "locality": settings.metadata.locality(),
            "metadata": settings.metadata.0,
        },
        "layered_runtime": {"layers": [
            {"name": "global config", "static_layer": runtime(proxy)},
            {"name": "admin", "admin_layer": {}},
        ]},
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": typed(
                "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
                json!({"buffer_size_kb": 64}),
            ),
        }],
        "stats_config": stats::config(settings),
        "admin": {
            "profile_path": "/var/lib/istio/data/envoy.prof",
            "address": socket(settings.localhost(), proxy.port("proxyAdminPort")),
        },
        "dynamic_resources": {
            "lds_config": from_ads, "cds_config": from_ads,
            "ads_config": {
                "api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {
            "clusters": clusters(settings)?,
            "listeners": [
                listener(settings.wildcard(), settings.prometheus_port, "stats", "/stats/prometheus", "prometheus_stats"),
                listener(settings.wildcard(), settings.status_port, "agent", "/healthz/ready", "agent"),
            ],
        },
        "overload_manager": {"resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": typed(
                "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                json!({"max_active_downstream_connections": most_connections(proxy)}),
            ),
        }]},
        "cluster_manager": manager,
        "deferred_stat_options": {"enable_deferred_creation_stats": true},
    }))
}

fn clusters(settings: &Settings) -> Result<Vec<Value>, Error> {
    let (proxy, localhost) = (&settings.proxy, settings.localhost());
    let mut xds = cluster("xds-grpc", pipe(&settings.xds_socket()), true);
    let most = 100_000;
    let limits = |priority: &str| json!({"priority": priority, "max_connections": most, "max_pending_requests": most, "max_requests": most});
    xds["circuit_breakers"] = json!({"thresholds": [limits("DEFAULT"), limits("HIGH")]});
    xds["max_requests_per_connection"] = json!(1);
    let mut clusters = vec![
        cluster("prometheus_stats", socket(localhost, proxy.port("proxyAdminPort")), false),
        cluster("agent", socket(localhost, proxy.port("statusPort")), false),
        cluster("sds-grpc", pipe(&settings.certificates.socket), true),
        xds,
    ];
    let tracing = proxy.get("tracing");
    if let Some(address) = tracing["zipkin"]["address"].as_str().filter(|a| !a.is_empty()) {
        clusters.push(remote("zipkin", address, false)?);
    }
    for tracer in ["lightstep", "datadog", "stackdriver", "openCensusAgent"] {
        if !tracing[tracer].is_null() {
            tracing::warn!(
                "the ProxyConfig's tracing.{tracer} has no effect: this agent has no cluster for it"
            );
        }
    }
    for (field, name) in [
        ("envoyAccessLogService", "envoy_accesslog_service"),
        ("envoyMetricsService", "envoy_metrics_service"),
    ] {
        let service = proxy.get(field);
        if let Some(address) = service["address"].as_str().filter(|a| !a.is_empty()) {
            if !matches!(service["tlsSettings"]["mode"].as_str(), None | Some("DISABLE")) {
                return Err(Error::setting(
                    &format!("{field}.tlsSettings of the ProxyConfig"),
                    "is not offered by this agent; use an extension provider of MeshConfig",
                ));
            }
            clusters.push(remote(name, address, true)?);
        }
    }
    Ok(clusters)
}

/// Envoy's runtime: Istio's defaults, and `runtimeValues` over them. An empty value takes a default away.
fn runtime(proxy: &ProxyConfig) -> Value {
    let defaults = json!({
        "re2.max_program_size.error_level": "32768",
        "envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst": true,
        "envoy.reloadable_features.http_reject_path_with_fragment": false,
        "envoy.reloadable_features.fixed_heap_use_allocated": true,
        "envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update": false,
    });
    let Value::Object(mut values) = defaults else { return defaults };
    for (name, value) in proxy.get("runtimeValues").as_object().into_iter().flatten() {
        match value.as_str().unwrap_or_default() {
            "" => {
                values.remove(name);
            }
            // Texts by Istio's API, but Envoy wants flags as what they are.
            "true" => {
                values.insert(name.clone(), json!(true));
            }
            "false" => {
                values.insert(name.clone(), json!(false));
            }
            text => {
                values.insert(name.clone(), json!(text));
            }
        }
    }
    Value::Object(values)
}

/// `ISTIO_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS`, else the runtime value that had this meaning before.
fn most_connections(proxy: &ProxyConfig) -> i32 {
    const NAME: &str = "ISTIO_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS";
    let metadata = proxy.metadata().into_iter().find(|(k, _)| k == NAME).map(|(_, v)| v);
    let runtime = &proxy.get("runtimeValues")["overload.global_downstream_max_connections"];
    let text = metadata.or_else(|| runtime.as_str().map(String::from));
    text.and_then(|t| t.parse().ok()).unwrap_or(i32::MAX)
}

/// The name under which Envoy's node reports: what tracers call the service.
fn service_cluster(proxy: &ProxyConfig, metadata: &Metadata, namespace: &str) -> String {
    const UNNAMED: &str = "istio-proxy";
    let workload = metadata.text("WORKLOAD_NAME");
    let canonical = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]
        .iter()
        .find_map(|l| metadata.label(l))
        .or(workload)
        .unwrap_or(UNNAMED);
    let name = match proxy.get("tracingServiceName").as_str() {
        Some("CANONICAL_NAME_ONLY") => canonical.to_owned(),
        Some("CANONICAL_NAME_AND_NAMESPACE") => return format!("{canonical}.{namespace}"),
        Some(_) => UNNAMED.to_owned(),
        None => proxy.text("serviceCluster"),
    };
    if !name.is_empty() && name != UNNAMED {
        return name;
    }
    let app = metadata.label("app").or_else(|| metadata.label("app.kubernetes.io/name"));
    format!("{}.{namespace}", app.or(workload).unwrap_or(UNNAMED))
}

/// Fields of an object, for what is put together by hand.
fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests;

//! The ProxyConfig that is in force for this proxy.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use meltemi_api::{istio::mesh::v1alpha1 as mesh, object};
use serde_json::{Map, Value, json};

use super::{Env, env::duration};
use crate::{Error, cli::Proxy};

/// The ProxyConfig as JSON: what istiod is told of it is just what was read, with nothing lost.
#[derive(Clone, Debug)]
pub struct ProxyConfig(Map<String, Value>);

impl ProxyConfig {
    /// Istio's defaults, and over them the mesh configuration's file (gateways mount it), the variable `PROXY_CONFIG`
    /// (the injector sets it) and the Pod's annotation. Fields replace each other; `proxyMetadata` is merged by key.
    pub fn read(flags: &Proxy, env: &Env, annotations: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut config = Self(defaults());
        if let Ok(text) = fs::read_to_string(&flags.mesh_config) {
            let parsed = yaml("--meshConfig", &text)?;
            config.lay_over(parsed.get("defaultConfig").cloned().unwrap_or_default());
        }
        if let Some(text) = env.get("PROXY_CONFIG") {
            config.lay_over(yaml("PROXY_CONFIG", &text)?);
        }
        if let Some(text) = annotations.get("proxy.istio.io/config") {
            config.lay_over(yaml("annotation proxy.istio.io/config", text)?);
        }
        for (annotation, field) in [
            ("sidecar.istio.io/discoveryAddress", "discoveryAddress"),
            ("sidecar.istio.io/statusPort", "statusPort"),
        ] {
            if let Some(value) = annotations.get(annotation) {
                let number = value.parse::<u16>().ok().filter(|_| field == "statusPort");
                config.0.insert(field.into(), number.map_or_else(|| json!(value), |n| json!(n)));
            }
        }
        if !config.0.contains_key("concurrency") {
            let cpus = env.number("ISTIO_CPU_LIMIT", 0u32)?;
            if cpus > 0 {
                config.0.insert("concurrency".into(), cpus.into());
            }
        }
        if flags.concurrency > 0 {
            config.0.insert("concurrency".into(), flags.concurrency.into());
        }
        object::decode::<mesh::ProxyConfig>(config.json())
            .map_err(|e| Error::setting("the effective ProxyConfig", e))?;
        Ok(config)
    }

    fn lay_over(&mut self, layer: Value) {
        let Value::Object(fields) = layer else { return };
        for (name, value) in fields {
            match (name.as_str(), value, self.0.get_mut(&name)) {
                (_, Value::Null, _) => {}
                ("proxyMetadata", Value::Object(new), Some(Value::Object(old))) => old.extend(new),
                // Two members of one oneof.
                ("tracingServiceName", value, _) => {
                    self.0.remove("serviceCluster");
                    self.0.insert(name, value);
                }
                (_, value, _) => {
                    self.0.insert(name, value);
                }
            }
        }
    }

    /// The whole of it.
    pub fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// A field.
    pub fn get(&self, field: &str) -> &Value {
        self.0.get(field).unwrap_or(&Value::Null)
    }

    /// A field that is a text; empty if it is not set.
    pub fn text(&self, field: &str) -> String {
        self.get(field).as_str().unwrap_or_default().to_owned()
    }

    /// A field that is a port; 0 if it is not set, which turns its server off.
    pub fn port(&self, field: &str) -> u16 {
        self.get(field).as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0)
    }

    /// A field that is a duration.
    pub fn duration(&self, field: &str) -> Result<Duration, Error> {
        duration(&format!("{field} of the ProxyConfig"), &self.text(field))
    }

    /// `proxyMetadata`: environment variables of the proxy.
    pub fn metadata(&self) -> Vec<(String, String)> {
        let entries = self.get("proxyMetadata").as_object().into_iter().flatten();
        entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
    }

    /// The folder of Envoy's bootstrap and the xDS socket.
    pub fn config_path(&self) -> PathBuf {
        self.text("configPath").into()
    }
}

/// Reads YAML (or JSON) of an object; `name` is where it stands, for errors.
fn yaml(name: &str, text: &str) -> Result<Value, Error> {
    match serde_saphyr::from_str(text).map_err(|e| Error::setting(name, e))? {
        Value::Null => Ok(Value::Object(Map::new())),
        object @ Value::Object(_) => Ok(object),
        _ => Err(Error::setting(name, "is no mapping of field names to values")),
    }
}

/// Istio's `DefaultProxyConfig`.
fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "configPath": "./etc/istio/proxy",
        "binaryPath": "/usr/local/bin/envoy",
        "serviceCluster": "istio-proxy",
        "drainDuration": "45s",
        "terminationDrainDuration": "5s",
        "discoveryAddress": "istiod.istio-system.svc:15012",
        "proxyAdminPort": 15000,
        "controlPlaneAuthPolicy": "MUTUAL_TLS",
        "statNameLength": 189,
        "statusPort": 15020,
    });
    match defaults {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str) -> Result<ProxyConfig, Error> {
        let env = Env::of([("PROXY_CONFIG", config), ("ISTIO_CPU_LIMIT", "3")]);
        let annotations = BTreeMap::from([(
            "proxy.istio.io/config".to_owned(),
            "proxyMetadata: {B: '3'}\nconcurrency: 7\n".to_owned(),
        )]);
        ProxyConfig::read(&Proxy::default(), &env, &annotations)
    }

    #[test]
    fn later_layers_win_and_metadata_is_merged() {
        let config = read(r#"{"proxyMetadata":{"A":"1","B":"2"},"drainDuration":"1m"}"#).unwrap();
        assert_eq!(config.metadata(), [("A".into(), "1".into()), ("B".into(), "3".into())]);
        assert_eq!(config.get("concurrency"), 7, "set, so the CPU limit has no say");
        assert_eq!(config.duration("drainDuration").unwrap(), Duration::from_secs(60));
        assert_eq!(config.port("proxyAdminPort"), 15000);
    }

    #[test]
    fn a_wrong_type_names_the_field() {
        let error = read(r#"{"statusPort":"x"}"#).unwrap_err().to_string();
        assert!(error.contains("statusPort"), "{error}");
    }
}

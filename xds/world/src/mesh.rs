//! Mesh-wide settings: MeshConfig with istiod's defaults, and how a user's YAML is laid over them.

use meltemi_api::istio::mesh::v1alpha1::MeshConfig;
use serde_json::Value;

/// istiod's defaults, as proto3 JSON. Source: Istio `pkg/config/mesh`, `DefaultMeshConfig`.
const DEFAULTS: &str = include_str!("mesh_defaults.json");

/// Why a MeshConfig could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The text is not a MeshConfig; the message names the field.
    #[error("mesh configuration: {0}")]
    Invalid(String),
}

/// istiod's default MeshConfig.
///
/// # Panics
/// Never: the defaults are part of this crate and a test reads them.
pub fn defaults() -> MeshConfig {
    overlay(&Value::Null).unwrap_or_else(|e| unreachable!("built-in defaults: {e}"))
}

/// The defaults with `user` laid over them as istiod does (`ApplyMeshConfig`): `defaultConfig` is merged field by
/// field, its `proxyMetadata` key by key, `extensionProviders` by name; every other field replaces the default.
///
/// # Errors
/// If `user` is not an object, or a field of it has the wrong type.
pub fn overlay(user: &Value) -> Result<MeshConfig, MeshError> {
    overlay_all([user])
}

/// The defaults with several layers laid over them, one after the other.
///
/// # Errors
/// If a layer is not an object, or a field has the wrong type.
pub fn overlay_all<'a>(layers: impl IntoIterator<Item = &'a Value>) -> Result<MeshConfig, MeshError> {
    let mut merged: Value = serde_json::from_str(DEFAULTS).map_err(|e| MeshError::Invalid(e.to_string()))?;
    for layer in layers {
        match layer {
            Value::Null => {}
            Value::Object(fields) => {
                for (key, value) in fields {
                    lay_over(&mut merged, key, value);
                }
            }
            _ => return Err(MeshError::Invalid("expected a mapping of field names to values".into())),
        }
    }
    let decoded =
        meltemi_api::object::decode::<MeshConfig>(merged).map_err(|e| MeshError::Invalid(e.to_string()))?;
    Ok(decoded.value)
}

fn lay_over(merged: &mut Value, key: &str, value: &Value) {
    match (key, value) {
        (_, Value::Null) => {}
        ("defaultConfig", Value::Object(fields)) => {
            for (k, v) in fields {
                match (k.as_str(), v, merged[key].get_mut(k)) {
                    (_, Value::Null, _) => {}
                    ("proxyMetadata", Value::Object(new), Some(Value::Object(old))) => {
                        old.extend(new.clone())
                    }
                    _ => merged[key][k] = v.clone(),
                }
            }
        }
        ("extensionProviders", Value::Array(new)) => {
            for provider in new {
                let Some(all) = merged[key].as_array_mut() else { continue };
                match all.iter_mut().find(|p| p["name"] == provider["name"]) {
                    Some(old) => *old = provider.clone(),
                    None => all.push(provider.clone()),
                }
            }
        }
        _ => merged[key] = value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_can_be_read() {
        let mesh = defaults();
        assert_eq!(mesh.root_namespace, "istio-system");
        assert_eq!(mesh.proxy_inbound_listen_port, 15006);
    }

    #[test]
    fn a_users_fields_win_and_the_rest_stays() {
        let mesh = overlay(&json!({"defaultConfig": {"statusPort": 1}, "trustDomain": "td"})).unwrap();
        assert_eq!(mesh.trust_domain, "td");
        let proxy = mesh.default_config.unwrap();
        assert_eq!((proxy.status_port, proxy.proxy_admin_port), (1, 15000));
    }

    #[test]
    fn a_wrong_type_names_the_field() {
        let error = overlay(&json!({"proxyListenPort": "x"})).unwrap_err().to_string();
        assert!(error.contains("proxyListenPort"), "{error}");
    }
}

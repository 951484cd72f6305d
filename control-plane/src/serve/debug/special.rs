//! The same pages over xDS, as istioctl asks for them: `istio.io/debug` and its two typed relatives.
//!
//! Source: Istio `pilot/pkg/xds/{debuggen,statusgen}.go`.

use bytes::Bytes;
use meltemi_api::envoy::admin::v3::UpdateFailureState;
use meltemi_api::envoy::config::core::v3::Node;
use meltemi_api::envoy::service::status::v3::client_config::GenericXdsConfig;
use meltemi_api::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use meltemi_api::json::{UnknownFields, from_json};
use meltemi_api::wkt::{Any, json_to_struct};
use meltemi_server::{Asked, Connection, HEALTH, Reply, Special, TypeState};
use meltemi_world::NsName;
use meltemi_world::identity::service_account;
use serde_json::{Map, Value, json};

use super::{Answer, Look, dump};
use crate::version::BUILD;

const DEBUG: &str = "istio.io/debug";
const SYNCZ: &str = "istio.io/debug/syncz";
const CONFIG_DUMP: &str = "istio.io/debug/config_dump";

/// Pages that a namespace's own workloads may see of their own proxies.
const OWN_PAGES: [&str; 3] = ["config_dump", "ndsz", "edsz"];

/// Answers istioctl.
pub struct Pages {
    look: Look,
    /// The name of this Pod.
    instance: String,
}

impl Pages {
    /// Answers from `look`; `instance` is the name of this Pod.
    pub fn new(look: Look, instance: &str) -> Self {
        Self { look, instance: instance.to_owned() }
    }

    /// Of which namespace's proxies the caller may know: `None` for all, `Err` for none.
    fn scope(&self, asked: &Asked<'_>) -> Result<Option<String>, ()> {
        let switches = &self.look.switches;
        let identity = asked.connection.peer.identities.iter().find_map(|id| service_account(id));
        match identity {
            // Only what tells nothing of the configuration is open to callers without identity, and only if that is wanted.
            None if asked.type_url != DEBUG && !switches.auth => Ok(None),
            None => Err(()),
            Some(_) if !switches.auth => Ok(None),
            Some(NsName { namespace, .. }) => {
                let root = &self.look.world.snapshot().mesh.root_namespace;
                let all =
                    *namespace == **root || switches.allowed_namespaces.iter().any(|n| **n == *namespace);
                Ok((!all).then(|| namespace.to_string()))
            }
        }
    }

    fn page(&self, command: &str, scope: Option<&str>) -> Option<Bytes> {
        let path = command.split('?').next().unwrap_or_default();
        if scope.is_some_and(|namespace| !OWN_PAGES.contains(&path) || !self.is_own(command, namespace)) {
            return None;
        }
        let (answer, pretty) = super::answer(&self.look, command)?;
        Some(match answer {
            Answer::Json(value) if pretty => format!("{value:#}").into(),
            Answer::Json(value) => value.to_string().into(),
            Answer::Text(text) => text.into(),
            Answer::Problem(_, text) => format!("{text}\n").into(),
        })
    }

    /// Whether a page is about a proxy of this namespace.
    fn is_own(&self, command: &str, namespace: &str) -> bool {
        let (_, query) = command.split_once('?').unwrap_or_default();
        let query = super::Query::read(query);
        super::proxies::find(&self.look, &query).is_ok_and(|c| c.metadata("NAMESPACE") == Some(namespace))
    }

    fn syncz(&self, scope: Option<&str>) -> Vec<(String, Any)> {
        let connections = self.look.proxies.connections();
        let wanted =
            |c: &Connection| is_proxy(c) && scope.is_none_or(|ns| c.metadata("NAMESPACE") == Some(ns));
        connections.iter().filter(|c| wanted(c)).map(|c| (c.node.id.clone(), Any::pack(&client(c)))).collect()
    }

    fn config_dump(&self, names: &[String], scope: Option<&str>) -> Vec<(String, Any)> {
        let [id] = names else { return Vec::new() };
        let command = format!("config_dump?proxyID={id}");
        if scope.is_some_and(|namespace| !self.is_own(&command, namespace)) {
            return Vec::new();
        }
        let Ok(mut dump) = dump::of_proxy(&self.look, id) else { return Vec::new() };
        let Some(Value::Array(configs)) = dump.get_mut("configs").map(Value::take) else { return Vec::new() };
        configs.into_iter().filter_map(packed).map(|any| (String::new(), any)).collect()
    }
}

impl Special for Pages {
    fn handles(&self, type_url: &str) -> bool {
        type_url.starts_with(DEBUG) || type_url == HEALTH
    }

    fn answer(&self, asked: Asked<'_>) -> Option<Reply> {
        if asked.type_url == HEALTH {
            return None;
        }
        let Ok(scope) = self.scope(&asked) else {
            tracing::warn!(proxy = &*asked.connection.id, "asks for debugging without an identity that may");
            return Some(Reply::default());
        };
        let scope = scope.as_deref();
        Some(match asked.type_url {
            SYNCZ => {
                Reply { resources: self.syncz(scope), control_plane: Some(control_plane(&self.instance)) }
            }
            CONFIG_DUMP => Reply { resources: self.config_dump(asked.names, scope), control_plane: None },
            _ => {
                let [command] = asked.names else { return Some(Reply::default()) };
                let page = self.page(command, scope);
                let resource = page.map(|body| (command.clone(), Any::from_encoded(DEBUG, body)));
                Reply { resources: resource.into_iter().collect(), control_plane: None }
            }
        })
    }
}

/// Who answers, as istioctl's `version` reads it.
fn control_plane(instance: &str) -> String {
    json!({"Component": "istiod", "ID": instance, "Info": BUILD}).to_string()
}

/// Whether this is a proxy, and not istioctl asking.
fn is_proxy(connection: &Connection) -> bool {
    let has_config =
        |c: &Connection| c.node.metadata.as_ref().is_some_and(|m| m.fields.contains_key("PROXY_CONFIG"));
    has_config(connection) || connection.node.id.starts_with("ztunnel~")
}

fn client(connection: &Connection) -> ClientConfig {
    let metadata: Map<String, Value> = ["CLUSTER_ID", "NAMESPACE", "ISTIO_VERSION"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), connection.metadata(key)?.into())))
        .collect();
    ClientConfig {
        node: Some(Node {
            id: connection.node.id.clone(),
            metadata: Some(json_to_struct(&metadata)),
            ..Node::default()
        }),
        generic_xds_configs: connection.types().iter().map(state).collect(),
        ..ClientConfig::default()
    }
}

fn state(state: &TypeState) -> GenericXdsConfig {
    let status = &state.status;
    let sent_at = state.sent_at.map(Into::into);
    let config_status = match (&status.error, &status.nonce_sent) {
        (Some(_), _) => ConfigStatus::Error,
        (None, None) => ConfigStatus::NotSent,
        (None, sent) if *sent == status.nonce_acked => ConfigStatus::Synced,
        _ => ConfigStatus::Stale,
    };
    GenericXdsConfig {
        type_url: status.type_url.to_string(),
        config_status: config_status.into(),
        last_updated: sent_at,
        error_state: status.error.as_ref().map(|error| UpdateFailureState {
            last_update_attempt: sent_at,
            details: error.to_string(),
            ..UpdateFailureState::default()
        }),
        ..GenericXdsConfig::default()
    }
}

/// The message that a part of a dump is.
fn packed(mut part: Value) -> Option<Any> {
    let type_url = part.as_object_mut()?.remove("@type")?.as_str()?.to_owned();
    match from_json(&type_url, part, UnknownFields::Ignore) {
        Ok(body) => Some(Any::from_encoded(type_url, body)),
        Err(error) => {
            tracing::warn!(r#type = type_url, %error, "a part of a dump cannot be sent");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_dump_becomes_a_message() {
        let cluster = json!({"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "a"});
        let part = json!({"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "dynamicActiveClusters": [{"cluster": cluster}]});
        let any = packed(part).unwrap();
        assert_eq!(any.name(), "envoy.admin.v3.ClustersConfigDump");
        assert!(any.value.len() > 10);
        assert!(packed(json!({"@type": "type.googleapis.com/no.such.Type"})).is_none());
    }
}

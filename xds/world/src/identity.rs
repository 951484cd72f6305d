//! Who is at the other end of a stream: the service account that its certificate or token proves.

use crate::{NsName, Proxy, Str};

/// The service account, by namespace and name, of `spiffe://DOMAIN/ns/NAMESPACE/sa/NAME`; `None` for any other form.
/// Source: Istio `pkg/spiffe` (`ParseIdentity`).
pub fn service_account(id: &str) -> Option<NsName> {
    match id.strip_prefix("spiffe://")?.split('/').collect::<Vec<_>>()[..] {
        [_, "ns", namespace, "sa", name] => Some(NsName::new(namespace, name)),
        _ => None,
    }
}

/// Whether the service account of a gateway may list the Secrets of its namespace, as the apiserver said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretAccess {
    /// The account, by namespace and name.
    pub account: NsName,
    /// Why it may not; `None` if it may.
    pub denied: Option<Str>,
}

impl Proxy {
    /// Which of the identities that a stream proved is this proxy's: the first one of its namespace and, if it
    /// announces one, of its service account. Source: Istio `checkConnectionIdentity`.
    pub fn identity_among(&self, identities: &[String]) -> Option<NsName> {
        let account = &self.metadata.service_account;
        identities.iter().filter_map(|id| service_account(id)).find(|id| {
            (self.namespace.is_empty() || id.namespace == self.namespace)
                && (account.is_empty() || *id.name == **account)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_api::envoy::config::core::v3::Node;
    use meltemi_api::wkt::json_to_struct;
    use serde_json::{Map, json};

    #[test]
    fn identities_are_service_accounts() {
        assert_eq!(service_account("spiffe://td/ns/a/sa/b"), Some(NsName::new("a", "b")));
        for other in
            ["spiffe://td/x", "https://td/ns/a/sa/b", "spiffe://td/ns/a/sa/b/c", "spiffe://td/sa/a/ns/b"]
        {
            assert_eq!(service_account(other), None, "{other}");
        }
    }

    #[test]
    fn a_proxy_is_who_it_says_only_with_the_identity_for_it() {
        let proxy = |namespace: &str, account: Option<&str>| {
            let mut metadata = Map::new();
            metadata.insert("NAMESPACE".into(), namespace.into());
            if let Some(account) = account {
                metadata.insert("SERVICE_ACCOUNT".into(), json!(account));
            }
            let node = Node {
                id: "router~10.0.0.1~gw.other~other.svc.cluster.local".into(),
                metadata: Some(json_to_struct(&metadata)),
                ..Node::default()
            };
            Proxy::from_node(&node, "cluster.local").unwrap()
        };
        let proved = ["spiffe://td/ns/a/sa/x".to_owned(), "spiffe://td/ns/b/sa/y".to_owned()];
        let who = |namespace, account| proxy(namespace, account).identity_among(&proved);
        assert_eq!(who("a", Some("x")), Some(NsName::new("a", "x")));
        assert_eq!(who("b", None), Some(NsName::new("b", "y")));
        assert_eq!(who("a", Some("y")), None);
        assert_eq!(who("c", None), None);
    }
}

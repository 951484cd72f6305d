//! Secrets and ConfigMaps without what a mesh never reads: they may be big, and there are many.

use meltemi_world::{Config, Object, Str};
use std::sync::Arc;

/// What certificates, keys, revocation lists and registry credentials are called. Source: Istio
/// `pilot/pkg/credentials/kube/secrets.go`.
const SECRET_KEYS: [&str; 10] = [
    "cert",
    "key",
    "cacert",
    "crl",
    "tls.crt",
    "tls.key",
    "tls.ocsp-staple",
    "ca.crt",
    "ca.crl",
    ".dockerconfigjson",
];
/// What CA certificates are called in ConfigMaps.
const CONFIG_MAP_KEYS: [&str; 2] = ["ca.crt", "ca.crl"];

/// Cuts objects down.
#[derive(Debug, Default)]
pub(super) struct Slim {
    /// Kubernetes puts the cluster's CA into every namespace, so one copy does for most.
    last: Option<Str>,
}

impl Slim {
    /// The object as it is kept; `None` if nothing of it is.
    pub fn cut(&mut self, object: Object) -> Option<Object> {
        match object {
            // One without any such key stays: it is there, and whoever refers to it is told what it lacks.
            Object::Secret(secret) => {
                let mut secret = Arc::unwrap_or_clone(secret);
                secret.spec.data.retain(|key, _| SECRET_KEYS.contains(&&**key));
                Some(Object::Secret(Arc::new(secret)))
            }
            Object::ConfigMap(map) => {
                let Config { meta, mut spec } = Arc::unwrap_or_clone(map);
                spec.retain(|key, _| CONFIG_MAP_KEYS.contains(&&**key));
                spec.values_mut().for_each(|value| self.share(value));
                (!spec.is_empty()).then(|| Object::ConfigMap(Arc::new(Config { meta, spec })))
            }
            other => Some(other),
        }
    }

    fn share(&mut self, value: &mut Str) {
        match &self.last {
            Some(last) if last == value => *value = last.clone(),
            _ => self.last = Some(value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::decode::{Outcome, value};
    use serde_json::json;

    fn object(kind: &str, data: serde_json::Value) -> Object {
        let json = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, "data": data});
        match value(json, "default") {
            Outcome::Read(mut read) => read.objects.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_read_is_kept() {
        let mut slim = Slim::default();
        let Some(Object::Secret(secret)) =
            slim.cut(object("Secret", json!({"tls.crt": "eA==", "app": "eA=="})))
        else {
            panic!()
        };
        assert_eq!(secret.spec.data.keys().map(|k| &**k).collect::<Vec<_>>(), ["tls.crt"]);
        assert!(slim.cut(object("ConfigMap", json!({"app": "x"}))).is_none());
        let text = |object| match object {
            Some(Object::ConfigMap(map)) => map.spec["ca.crt"].clone(),
            other => panic!("{other:?}"),
        };
        let [a, b] = [(); 2].map(|()| text(slim.cut(object("ConfigMap", json!({"ca.crt": "x", "y": "z"})))));
        assert!(Arc::ptr_eq(&a, &b));
    }
}

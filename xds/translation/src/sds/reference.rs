//! What the name of a secret refers to.
//!
//! Source: Istio `pilot/pkg/model/credentials/resource.go` (`ParseResourceName`).

use super::{CA_SUFFIX, CONFIG_MAP, GATEWAY, INVALID, KUBERNETES};
use meltemi_world::{Kind, NsName};

/// Under whose authority a secret is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `kubernetes://`: a Secret of the proxy's own namespace.
    Kubernetes,
    /// `kubernetes-gateway://`: a Secret that a Gateway refers to.
    Gateway,
    /// `configmap://`: the public certificates in a ConfigMap.
    ConfigMap,
}

/// An object of the cluster that a secret is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Under whose authority it is named.
    pub origin: Origin,
    /// The object. The name of a ConfigMap is without [`CA_SUFFIX`], that of a Secret as it was written.
    pub object: NsName,
    /// Whether only the certificates of authorities are asked for.
    pub roots_only: bool,
}

/// A name that refers to nothing that there could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// It stands for a secret that is never valid, on purpose.
    Never,
    /// It cannot be read.
    Unreadable(&'static str),
}

impl Reference {
    /// Reads a name. `namespace` is the namespace of the proxy.
    ///
    /// # Errors
    /// If it refers to nothing.
    pub fn read(name: &str, namespace: &str) -> Result<Self, Nothing> {
        let (origin, path) = if let Some(path) = name.strip_prefix(KUBERNETES) {
            (Origin::Kubernetes, path)
        } else if let Some(path) = name.strip_prefix(CONFIG_MAP) {
            (Origin::ConfigMap, path)
        } else if let Some(path) = name.strip_prefix(GATEWAY) {
            (Origin::Gateway, path)
        } else if name.starts_with(INVALID) {
            return Err(Nothing::Never);
        } else {
            return Err(Nothing::Unreadable(
                "it begins with none of kubernetes://, kubernetes-gateway:// and configmap://",
            ));
        };
        let mut parts = path.split('/');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        let (namespace, name) = match (origin, second) {
            (_, Some(name)) => (first, name),
            (Origin::Kubernetes, None) => (namespace, first),
            (Origin::Gateway | Origin::ConfigMap, None) => {
                return Err(Nothing::Unreadable("it lacks a namespace: write NAMESPACE/NAME"));
            }
        };
        if namespace.is_empty() || name.is_empty() {
            return Err(Nothing::Unreadable("it lacks a namespace or a name"));
        }
        let bare = name.strip_suffix(CA_SUFFIX);
        let (name, roots_only) = match origin {
            Origin::ConfigMap => (bare.unwrap_or(name), true),
            Origin::Kubernetes | Origin::Gateway => (name, bare.is_some()),
        };
        Ok(Self { origin, object: NsName::new(namespace, name), roots_only })
    }

    /// The Secrets or the ConfigMap that the secret may be made of, the first one first.
    pub fn candidates(&self) -> Vec<(Kind, NsName)> {
        let object = &self.object;
        if self.origin == Origin::ConfigMap {
            return vec![(Kind::ConfigMap, object.clone())];
        }
        let mut all = vec![(Kind::Secret, object.clone())];
        if let (true, Some(bare)) = (self.roots_only, object.name.strip_suffix(CA_SUFFIX)) {
            all.push((Kind::Secret, NsName::new(object.namespace.clone(), bare)));
        }
        all
    }

    /// Whether the secret may differ once these objects have changed.
    pub fn concerns(&self, changed: &dyn Fn(Kind, &NsName) -> bool) -> bool {
        self.candidates().iter().any(|(kind, name)| changed(*kind, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refer_to_objects() {
        let read = |name: &str| {
            let r = Reference::read(name, "own").ok()?;
            let candidates: Vec<_> = r.candidates().iter().map(|(k, n)| format!("{k} {n}")).collect();
            Some((r.origin, r.roots_only, candidates.join(", ")))
        };
        let table = [
            ("kubernetes://a", Origin::Kubernetes, false, "Secret own/a"),
            ("kubernetes://b/a", Origin::Kubernetes, false, "Secret b/a"),
            ("kubernetes://a-cacert", Origin::Kubernetes, true, "Secret own/a-cacert, Secret own/a"),
            ("kubernetes-gateway://b/a", Origin::Gateway, false, "Secret b/a"),
            ("kubernetes-gateway://b/a-cacert", Origin::Gateway, true, "Secret b/a-cacert, Secret b/a"),
            ("configmap://b/a", Origin::ConfigMap, true, "ConfigMap b/a"),
            ("configmap://b/a-cacert", Origin::ConfigMap, true, "ConfigMap b/a"),
        ];
        for (name, origin, roots_only, candidates) in table {
            assert_eq!(read(name), Some((origin, roots_only, candidates.to_owned())), "{name}");
        }
        for name in
            ["a", "sds://a", "kubernetes-gateway://a", "configmap://a", "configmap:///a", "kubernetes://"]
        {
            assert!(matches!(Reference::read(name, "own"), Err(Nothing::Unreadable(_))), "{name}");
        }
        assert_eq!(Reference::read("invalid://x", "own"), Err(Nothing::Never));
    }
}

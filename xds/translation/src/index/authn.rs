//! PeerAuthentications: which mutual TLS the servers of a mesh, namespace, workload or port want.
//!
//! The narrowest policy that says something wins; of several in one place, the oldest.
//! Source: Istio `pilot/pkg/model/authentication.go`, `pilot/pkg/security/authn` (`ComposePeerAuthentication`).

use meltemi_api::istio::security::v1beta1::{
    PeerAuthentication, peer_authentication::MutualTls, peer_authentication::mutual_tls,
};
use meltemi_world::labels::Labels;
use meltemi_world::{Config, Snapshot, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a server does with mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MtlsMode {
    /// Plain text only.
    Disable,
    /// Mutual TLS and plain text.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

impl MtlsMode {
    /// The mode that a policy sets; `None` where it sets none.
    fn of(mtls: Option<&MutualTls>) -> Option<Self> {
        match mtls?.mode() {
            mutual_tls::Mode::Unset => None,
            mutual_tls::Mode::Disable => Some(Self::Disable),
            mutual_tls::Mode::Permissive => Some(Self::Permissive),
            mutual_tls::Mode::Strict => Some(Self::Strict),
        }
    }
}

/// What applies to one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadMtls {
    /// The mode of ports that are not named.
    pub mode: MtlsMode,
    /// The modes of ports that a policy of the workload names.
    pub ports: BTreeMap<u32, MtlsMode>,
}

impl WorkloadMtls {
    /// The mode of a port of the workload.
    pub fn of_port(&self, port: u32) -> MtlsMode {
        self.ports.get(&port).copied().unwrap_or(self.mode)
    }
}

/// All PeerAuthentications.
#[derive(Clone, Debug, Default)]
pub struct PeerAuthentications {
    root: String,
    /// By namespace, the oldest first; of those without a selector only the first.
    by_namespace: BTreeMap<Str, Vec<Arc<Config<PeerAuthentication>>>>,
    /// The mode of the whole mesh, where a policy of the root namespace exists.
    mesh: Option<MtlsMode>,
    /// The modes of namespaces that have a policy.
    namespaces: BTreeMap<Str, MtlsMode>,
}

impl PeerAuthentications {
    /// Arranges the snapshot's PeerAuthentications.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut all: Vec<_> = snapshot.peer_authentications.values().cloned().collect();
        all.sort_by(|a, b| a.meta.by_age(&b.meta));
        let mut out = Self { root: snapshot.root_namespace().to_owned(), ..Self::default() };
        for policy in all {
            let known = out.by_namespace.entry(policy.meta.namespace.clone()).or_default();
            if selects(&policy) || known.iter().all(|p| selects(p)) {
                known.push(policy);
            }
        }
        let whole = |policies: &[Arc<Config<PeerAuthentication>>]| {
            let policy = policies.iter().find(|p| !selects(p))?;
            Some(MtlsMode::of(policy.spec.mtls.as_ref()))
        };
        let mesh = out.by_namespace.get(out.root.as_str()).and_then(|p| whole(p));
        out.mesh = mesh.map(|mode| mode.unwrap_or(MtlsMode::Permissive));
        let inherited = out.mesh.unwrap_or(MtlsMode::Permissive);
        for (namespace, policies) in
            out.by_namespace.iter().filter(|(namespace, _)| ***namespace != *out.root)
        {
            if let Some(mode) = whole(policies) {
                out.namespaces.insert(namespace.clone(), mode.unwrap_or(inherited));
            }
        }
        out
    }

    /// The mode of a namespace: by its own policy or the mesh's; `None` where there is neither.
    pub fn of_namespace(&self, namespace: &str) -> Option<MtlsMode> {
        self.namespaces.get(namespace).copied().or(self.mesh)
    }

    /// What applies to the workload with these labels.
    pub fn of_workload(&self, namespace: &str, labels: &Labels) -> WorkloadMtls {
        let inherited = self.of_namespace(namespace).unwrap_or(MtlsMode::Permissive);
        let Some(policy) = self.workload_policy(namespace, labels) else {
            return WorkloadMtls { mode: inherited, ports: BTreeMap::new() };
        };
        let mode = MtlsMode::of(policy.mtls.as_ref()).unwrap_or(inherited);
        let ports = policy.port_level_mtls.iter();
        WorkloadMtls {
            mode,
            ports: ports.map(|(p, m)| (*p, MtlsMode::of(Some(m)).unwrap_or(mode))).collect(),
        }
    }

    /// The mode of one port of the workload with these labels.
    pub fn of_port(&self, namespace: &str, labels: &Labels, port: u32) -> MtlsMode {
        let policy = self.workload_policy(namespace, labels);
        let of_port = policy.and_then(|p| MtlsMode::of(p.port_level_mtls.get(&port)));
        of_port
            .or_else(|| MtlsMode::of(policy?.mtls.as_ref()))
            .or_else(|| self.of_namespace(namespace))
            .unwrap_or(MtlsMode::Permissive)
    }

    /// The policy that selects the workload; in the root namespace none does, whatever its selector says.
    fn workload_policy(&self, namespace: &str, labels: &Labels) -> Option<&PeerAuthentication> {
        let own = self.by_namespace.get(namespace).filter(|_| namespace != self.root)?;
        own.iter().find(|p| selects(p) && matches(p, labels)).map(|p| &p.spec)
    }
}

/// Whether a policy is for some workloads only.
fn selects(policy: &Config<PeerAuthentication>) -> bool {
    policy.spec.selector.as_ref().is_some_and(|s| !s.match_labels.is_empty())
}

fn matches(policy: &Config<PeerAuthentication>, labels: &Labels) -> bool {
    policy.spec.selector.as_ref().is_none_or(|s| labels.matches(&s.match_labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_api::istio::r#type::v1beta1::WorkloadSelector;
    use meltemi_world::snapshot::Settings;
    use meltemi_world::{Meta, NsName};
    use mutual_tls::Mode;

    fn policy(namespace: &str, name: &str, app: Option<&str>, mode: Mode) -> Config<PeerAuthentication> {
        let meta = Meta { name: name.into(), namespace: namespace.into(), ..Default::default() };
        let selector =
            app.map(|app| WorkloadSelector { match_labels: [("app".to_owned(), app.to_owned())].into() });
        let mtls = Some(MutualTls { mode: mode as i32 });
        Config { meta, spec: PeerAuthentication { selector, mtls, ..Default::default() } }
    }

    fn index(policies: Vec<Config<PeerAuthentication>>) -> PeerAuthentications {
        let mut snapshot = Snapshot::empty(Settings::default());
        for p in policies {
            let key = NsName::new(p.meta.namespace.clone(), p.meta.name.clone());
            snapshot.peer_authentications.insert(key, Arc::new(p));
        }
        PeerAuthentications::build(&snapshot)
    }

    #[test]
    fn the_narrowest_policy_wins_and_unset_inherits() {
        let mut ports = policy("ns", "w", Some("a"), Mode::Unset);
        ports.spec.port_level_mtls.insert(80, MutualTls { mode: Mode::Disable as i32 });
        ports.spec.port_level_mtls.insert(81, MutualTls { mode: Mode::Unset as i32 });
        let index = index(vec![
            policy("istio-system", "mesh", None, Mode::Strict),
            policy("ns", "default", None, Mode::Unset),
            policy("other", "default", None, Mode::Disable),
            ports,
        ]);
        assert_eq!(index.of_namespace("ns"), Some(MtlsMode::Strict));
        assert_eq!(index.of_namespace("other"), Some(MtlsMode::Disable));
        let labels: Labels = [("app", "a")].into_iter().collect();
        let of = index.of_workload("ns", &labels);
        assert_eq!(index.of_port("ns", &labels, 80), MtlsMode::Disable);
        assert_eq!(
            (of.of_port(80), of.of_port(81), of.of_port(82)),
            (MtlsMode::Disable, MtlsMode::Strict, MtlsMode::Strict)
        );
    }

    #[test]
    fn without_policies_nothing_is_known_of_a_namespace() {
        let index = index(vec![policy("istio-system", "w", Some("a"), Mode::Strict)]);
        assert_eq!(index.of_namespace("ns"), None);
        assert_eq!(
            index.of_workload("istio-system", &[("app", "a")].into_iter().collect()).mode,
            MtlsMode::Permissive
        );
    }
}

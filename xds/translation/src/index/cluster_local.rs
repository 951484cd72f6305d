//! Hosts whose endpoints only proxies of the same cluster may reach.
//!
//! Source: Istio `pilot/pkg/model/cluster_local.go`.

use crate::host_map::HostMap;
use meltemi_world::{Snapshot, host};

/// Hosts by whether they are local to a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterLocal(HostMap<bool>);

impl ClusterLocal {
    /// Reads MeshConfig `serviceSettings`. The apiserver, `kube-system` and the control plane are local unless a
    /// setting says otherwise.
    pub fn build(snapshot: &Snapshot) -> Self {
        let domain = &snapshot.settings.domain;
        let mut defaults =
            vec![format!("*.kube-system.svc.{domain}"), format!("kubernetes.default.svc.{domain}")];
        defaults.extend(discovery_host(snapshot));
        let mut out = Self::default();
        for setting in &snapshot.mesh.service_settings {
            let local = setting.settings.is_some_and(|s| s.cluster_local);
            for hostname in &setting.hosts {
                if !local {
                    defaults
                        .retain(|d| d != hostname && !(host::is_wildcard(d) && hostname.ends_with(&d[1..])));
                }
                out.0.insert(hostname, local);
            }
        }
        for hostname in defaults {
            out.0.insert(&hostname, true);
        }
        out
    }

    /// Whether endpoints of `hostname` are for proxies of their own cluster only.
    pub fn contains(&self, hostname: &str) -> bool {
        self.0.most_specific(hostname).copied().unwrap_or(false)
    }
}

/// The control plane's host, as proxies are told to reach it.
fn discovery_host(snapshot: &Snapshot) -> Option<String> {
    let (name, port) = snapshot.mesh.default_config.as_ref()?.discovery_address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let domain = &*snapshot.settings.domain;
    Some(if name.ends_with(domain) { name.to_owned() } else { format!("{name}.{domain}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_api::istio::mesh::v1alpha1::mesh_config::{ServiceSettings, service_settings::Settings};
    use std::sync::Arc;

    #[test]
    fn a_setting_overrides_a_default() {
        let mut snapshot = Snapshot::empty(meltemi_world::snapshot::Settings::default());
        let host = "a.kube-system.svc.cluster.local";
        assert!(ClusterLocal::build(&snapshot).contains(host));
        assert!(ClusterLocal::build(&snapshot).contains("istiod.istio-system.svc.cluster.local"));
        assert!(!ClusterLocal::build(&snapshot).contains("a.default.svc.cluster.local"));
        let settings = Some(Settings { cluster_local: false });
        Arc::make_mut(&mut snapshot.mesh).service_settings =
            vec![ServiceSettings { settings, hosts: vec!["*.kube-system.svc.cluster.local".into()] }];
        assert!(!ClusterLocal::build(&snapshot).contains(host));
    }
}

//! Pods, nodes and namespaces, projected to what a mesh needs of them.

use crate::Str;
use crate::labels::Labels;

/// A Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: Str,
    /// Its namespace.
    pub namespace: Str,
    /// Its UID.
    pub uid: Str,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations, as far as a mesh reads them (those of istio.io).
    pub annotations: Labels,
    /// Its addresses, the primary one first.
    pub ips: Vec<Str>,
    /// The node that it runs on.
    pub node: Str,
    /// Its service account.
    pub service_account: Str,
    /// The name of its workload: the Deployment behind a ReplicaSet, the CronJob behind a Job, else the controller.
    pub workload: Str,
    /// The kind of its workload (`Deployment`, `StatefulSet`, `Pod`, …).
    pub workload_kind: Str,
    /// Whether it uses the node's network.
    pub host_network: bool,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or empty.
    pub phase: Str,
    /// Whether the condition `Ready` is true.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The ports that its containers declare.
    pub ports: Vec<ContainerPort>,
    /// `spec.hostname`, or empty.
    pub hostname: Str,
    /// `spec.subdomain`, or empty.
    pub subdomain: Str,
}

impl Pod {
    /// The key of the Pod.
    pub fn key(&self) -> crate::NsName {
        crate::NsName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The primary address, empty where it has none yet.
    pub fn ip(&self) -> &str {
        self.ips.first().map_or("", |ip| &**ip)
    }

    /// Its host name within its headless Service, and that Service; both empty where it names none.
    pub fn dns_name(&self) -> (Str, Str) {
        match (self.subdomain.is_empty(), self.hostname.is_empty()) {
            (true, _) => ("".into(), "".into()),
            (false, true) => (self.name.clone(), self.subdomain.clone()),
            (false, false) => (self.hostname.clone(), self.subdomain.clone()),
        }
    }

    /// Whether its containers have ended for good.
    pub fn is_finished(&self) -> bool {
        matches!(&*self.phase, "Succeeded" | "Failed")
    }

    /// Whether it may serve as an endpoint: it has an address, is ready, and neither finished nor being deleted.
    pub fn is_serving(&self) -> bool {
        self.ready && !self.ips.is_empty() && !self.terminating && !self.is_finished()
    }
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Its name, or empty.
    pub name: Str,
    /// Its number.
    pub port: u32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Str,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: Str,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses with their types (`ExternalIP`, `InternalIP`, …).
    pub addresses: Vec<(Str, Str)>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// Its name.
    pub name: Str,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
}

//! What must be recomputed after a batch of changes.

use crate::workload::Pod;
use crate::{NsName, ServiceKey, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a batch of changes may have changed.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Everything, since the mesh's own settings changed.
    pub(super) all: bool,
    /// Services to recompute, with their endpoints.
    pub(super) services: BTreeSet<ServiceKey>,
    /// Services whose endpoints alone are to be recomputed.
    pub(super) endpoints: BTreeSet<ServiceKey>,
    /// Hosts whose aliases may have changed.
    pub(super) hosts: BTreeSet<Str>,
    /// Namespaces whose defaults for services changed.
    pub(super) namespaces: BTreeSet<Str>,
    /// Pods that changed, as they were before.
    pub(super) pods: BTreeMap<NsName, Option<Arc<Pod>>>,
    /// WorkloadEntries that changed.
    pub(super) instances: BTreeSet<NsName>,
    /// Pods whose surroundings changed.
    pub(super) moved: BTreeSet<NsName>,
    /// Ingresses that changed, or what they refer to.
    pub(super) ingresses: BTreeSet<NsName>,
    /// Hosts of Ingresses as they were before.
    pub(super) ingress_hosts: BTreeSet<Str>,
}

//! Gives ServiceEntries without addresses some, in `status.addresses`, so that proxies that resolve names themselves can
//! tell their services apart.
//!
//! What is written comes back as any other change of an object. Several control planes may do so at once: a status is
//! written only if nobody has written the object meanwhile, and who comes second finds that nothing is left to do.
//! Source: Istio `pilot/pkg/controllers/ipallocate`.

mod plan;
mod range;

use anyhow::{Context, Result};
use ipnet::IpNet;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use meltemi_world::features::Features;
use meltemi_world::{NsName, Snapshot, Str};
use plan::{Allocator, Update};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How soon what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long the apiserver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Starts to allocate, unless `PILOT_ENABLE_IP_AUTOALLOCATE` is off, until the store is gone.
///
/// # Errors
/// If a range cannot be read.
pub fn start(
    client: Client,
    features: &Features,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
) -> Result<()> {
    if features.ip_autoallocate {
        let ranges = [
            range("PILOT_IP_AUTOALLOCATE_IPV4_PREFIX", &features.ip_autoallocate_v4)?,
            range("PILOT_IP_AUTOALLOCATE_IPV6_PREFIX", &features.ip_autoallocate_v6)?,
        ];
        let allocator = Allocator::new(ranges);
        tokio::spawn(Writer { client, allocator, written: BTreeMap::new() }.run(snapshots));
    }
    Ok(())
}

fn range(variable: &str, text: &str) -> Result<IpNet> {
    text.parse()
        .with_context(|| format!("environment variable {variable}: {text:?} is no range of addresses"))
}

struct Writer {
    client: Client,
    allocator: Allocator,
    /// The version of each object whose status was written and has not come back yet.
    written: BTreeMap<NsName, Str>,
}

impl Writer {
    async fn run(mut self, mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>) {
        let mut done: Option<Arc<Snapshot>> = None;
        let mut failed = false;
        loop {
            let changed = if failed {
                tokio::time::timeout(RETRY, snapshots.changed()).await.unwrap_or(Ok(()))
            } else {
                snapshots.changed().await
            };
            if changed.is_err() {
                return;
            }
            let Some(snapshot) = snapshots.borrow_and_update().clone() else { continue };
            let same = done.as_ref().is_some_and(|d| d.service_entries.ptr_eq(&snapshot.service_entries));
            if !same || failed {
                failed = !self.write_all(&snapshot).await;
                done = Some(snapshot);
            }
        }
    }

    /// Writes what a snapshot lacks; false if something could not be written.
    async fn write_all(&mut self, snapshot: &Snapshot) -> bool {
        self.written.retain(|name, version| {
            snapshot.service_entries.get(name).is_some_and(|e| e.meta.resource_version == *version)
        });
        let mut all = true;
        for update in self.allocator.plan(snapshot) {
            if self.written.contains_key(&update.name) {
                self.allocator.give_back(&update.fresh);
                continue;
            }
            match tokio::time::timeout(TIMEOUT, self.write(&update)).await {
                Ok(Ok(())) => {
                    self.written.insert(update.name, update.version);
                }
                outcome => {
                    let reason = outcome.map_or("no answer in time".to_owned(), |r| {
                        r.err().map(|e| e.to_string()).unwrap_or_default()
                    });
                    tracing::warn!(
                        "ServiceEntry {}, field status.addresses: not written: {reason}",
                        update.name
                    );
                    self.allocator.give_back(&update.fresh);
                    all = false;
                }
            }
        }
        all
    }

    async fn write(&self, update: &Update) -> kube::Result<()> {
        let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "ServiceEntry");
        let resource = ApiResource::from_gvk_with_plural(&kind, "serviceentries");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &update.name.namespace, &resource);
        let addresses: Vec<_> =
            update.addresses.iter().map(|(host, value)| json!({"host": host, "value": value})).collect();
        // With the version the apiserver refuses if the object is another one by now.
        let patch = json!({
            "metadata": {"resourceVersion": &*update.version},
            "status": {"addresses": addresses},
        });
        api.patch_status(&update.name.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        tracing::debug!(service_entry = %update.name, ?addresses, "addresses allocated");
        Ok(())
    }
}

//! Everything from a cluster's apiserver.
//!
//! ```text
//!  namespaces ─► selection ─┐
//!  mesh ConfigMap ──────────┤ then  ┌─ services, pods, …
//!                           └───────┴─ CRDs ─► virtualservices, … (from when the CRD is there)
//! ```

mod backoff;
mod client;
mod intake;
mod kinds;
mod mesh;
mod reflect;
mod selection;
mod slim;
mod wire;

use anyhow::Result;
use kube::Client;
use meltemi_world::{Kind, Str};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::decode::kinds::{RESOURCES, Resource};
use super::mesh::{Layer, MeshInputs};
use super::{Batches, Part};
use intake::Objects;
use kinds::Crds;
use mesh::MeshMap;
use reflect::{Reflect, What};
use selection::{Selected, Selection};

pub use client::connect;
pub use selection::selects;

/// What of a cluster is watched.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kubeconfig; without one, the cluster of the Pod.
    pub kubeconfig: Option<PathBuf>,
    /// The control plane's namespace.
    pub own_namespace: Str,
    /// The only namespace to watch.
    pub watch_namespace: Option<String>,
    /// Objects of other revisions are left out; without one, objects of all are taken.
    pub revision: Option<Str>,
    /// The ConfigMap of the mesh.
    pub config_map: String,
    /// The ConfigMap that it is laid over.
    pub shared_config_map: Option<String>,
}

/// The parts that must be read before the first snapshot stands.
pub fn parts() -> Vec<Part> {
    let core = RESOURCES.iter().filter(|r| !r.crd).map(|r| Part::Watch(r.plural));
    core.chain([Part::Kinds, Part::Mesh]).collect()
}

/// What all watches share.
#[derive(Clone)]
struct Kube {
    client: Client,
    batches: Batches,
    selection: Arc<Selection>,
    revision: Option<Str>,
    namespace: Option<String>,
    stop: CancellationToken,
}

impl Kube {
    fn selected(&self) -> watch::Receiver<Selected> {
        self.selection.selected()
    }

    fn watch_objects(&self, resource: &'static Resource, objects: Objects) {
        let what = what(resource, resource.versions[0], self.namespace.as_deref());
        self.watch(what, objects);
    }

    fn watch(&self, what: What, intake: impl intake::Intake + 'static) {
        let mut reflect = Reflect::new(self.client.clone(), what, intake, self.selected(), self.stop.clone());
        tokio::spawn(async move {
            // Kubernetes' own kinds are always served, so an apiserver that denies it is not ready yet.
            while reflect.run().await == reflect::End::NotServed {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
    }
}

/// Starts to watch a cluster, until `stop`.
///
/// # Errors
/// If there is no cluster to watch.
pub async fn start(
    options: Options,
    batches: Batches,
    inputs: MeshInputs,
    stop: CancellationToken,
) -> Result<()> {
    let kube = Kube {
        client: client::connect(options.kubeconfig.as_deref()).await?,
        batches,
        selection: Arc::new(Selection::new()),
        revision: options.revision.clone(),
        namespace: options.watch_namespace.clone(),
        stop,
    };
    let maps = [(Layer::Own, Some(options.config_map)), (Layer::Shared, options.shared_config_map)];
    for (layer, name) in maps.into_iter().filter_map(|(layer, name)| Some((layer, name?))) {
        kube.watch(one_config_map(&options.own_namespace, &name), MeshMap::new(layer, &name, inputs.clone()));
    }
    tokio::spawn(async move {
        // What else is looked at depends on the mesh's selectors and on the namespaces' labels.
        let mut mesh = inputs.in_force();
        let known = mesh.wait_for(Option::is_some).await.is_ok();
        let first = mesh.borrow_and_update().clone();
        if let (true, Some(config)) = (known, first) {
            kube.selection.mesh(&config);
        }
        watch_everything(&kube).await;
        while mesh.changed().await.is_ok() {
            if let Some(config) = mesh.borrow_and_update().clone() {
                kube.selection.mesh(&config);
            }
        }
    });
    Ok(())
}

async fn watch_everything(kube: &Kube) {
    for resource in RESOURCES.iter().filter(|r| !r.crd) {
        let objects = Objects::new(resource, kube.batches.clone());
        if resource.kind == Kind::Namespace {
            let (objects, listed) = objects.telling(kube.selection.clone());
            kube.watch_objects(resource, objects);
            // The others would be listed twice if they started before.
            let _ = listed.await;
        } else {
            kube.watch_objects(resource, objects);
        }
    }
    let crds = What {
        path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(),
        path_in: String::new(),
        fields: "".into(),
        accept: [
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        ],
    };
    kube.watch(crds, Crds::new(kube.clone(), kube.stop.clone()));
}

const JSON: [&str; 2] = ["application/json"; 2];

/// How a kind is asked for. Pods that failed and secrets that are none of the mesh's are many, and never looked at
/// (Istio leaves out the same).
fn what(resource: &Resource, version: &str, namespace: Option<&str>) -> What {
    let base =
        if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
    let (base, plural) = (format!("{base}/{version}"), resource.plural);
    let path_in =
        if resource.namespaced { format!("{base}/namespaces/{{}}/{plural}") } else { String::new() };
    let path = match namespace.filter(|_| resource.namespaced) {
        Some(namespace) => path_in.replace("{}", namespace),
        None => format!("{base}/{plural}"),
    };
    let fields = match resource.kind {
        Kind::Pod => "status.phase%21%3DFailed",
        Kind::Secret => "type%21%3Dhelm.sh%2Frelease.v1%2Ctype%21%3Dkubernetes.io%2Fservice-account-token",
        _ => "",
    };
    What { path, path_in, fields: fields.into(), accept: JSON }
}

fn one_config_map(namespace: &str, name: &str) -> What {
    What {
        path: format!("/api/v1/namespaces/{namespace}/configmaps"),
        path_in: String::new(),
        fields: format!("metadata.name%3D{name}").into(),
        accept: JSON,
    }
}

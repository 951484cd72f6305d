//! A cluster of many services on a real apiserver, and changes to it.

use std::{future::Future, pin::Pin};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Namespace, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use meltemi_tests::{
    apiserver::ApiServer,
    meltemi::{Meltemi, Source},
    scratch::Scratch,
    swarm::mark,
};
use serde_json::{Value, json};

const NAMESPACES: usize = 10;

/// The cluster.
pub struct Load {
    apiserver: ApiServer,
    client: Client,
    scratch: Scratch,
    /// How many services there are.
    pub services: usize,
    endpoints: usize,
}

/// Something done to a cluster, by the number of the time.
type Change = fn(&Load, usize) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>;

/// Changes that concern no proxy.
pub const UNRELATED: &[(&str, Change)] = &[
    ("annotation of a Service", |load, number| {
        let patch = json!({"metadata": {"annotations": {"example.com/note": number.to_string()}}});
        Box::pin(load.patch::<Service>("ns-1", "svc-1", patch, false))
    }),
    ("status of a Service", |load, number| {
        let condition = json!({"type": "Noted", "status": "True", "reason": format!("N{number}"), "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        Box::pin(load.patch::<Service>("ns-1", "svc-1", json!({"status": {"conditions": [condition]}}), true))
    }),
    ("label of a Pod that nothing selects", |load, number| {
        let patch = json!({"metadata": {"labels": {"note": format!("n{number}")}}});
        Box::pin(load.patch::<Pod>("load", "bystander", patch, false))
    }),
    ("Lease", |load, number| {
        let patch = json!({"spec": {"holderIdentity": number.to_string()}});
        Box::pin(load.patch::<Lease>("load", "lease", patch, false))
    }),
];

/// The names of the clusters of all services.
pub fn clusters(services: usize) -> Vec<String> {
    let name = |i| format!("outbound|80||svc-{i}.{}.svc.cluster.local", namespace(i));
    (0..services).map(name).collect()
}

fn namespace(service: usize) -> String {
    format!("ns-{}", service % NAMESPACES)
}

impl Load {
    /// Starts an apiserver and fills it.
    pub async fn open(services: usize, endpoints: usize) -> Result<Self> {
        let apiserver = ApiServer::start().await?;
        let client = apiserver.client().await?;
        let this = Self { apiserver, client, scratch: Scratch::new()?, services, endpoints };
        let names = (0..NAMESPACES).map(|i| format!("ns-{i}"));
        for name in names.chain(["load".into(), "istio-system".into()]) {
            let api = Api::<Namespace>::all(this.client.clone());
            api.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": name}}))?)
                .await?;
        }
        stream::iter(0..services).map(|i| this.add(i)).buffer_unordered(8).try_collect::<()>().await?;
        let bystander = json!({"metadata": {"name": "bystander", "labels": {"note": "none"}},
            "spec": {"containers": [{"name": "a", "image": "a"}], "serviceAccountName": "default"}});
        this.create::<Pod>("load", bystander).await?;
        this.create::<Lease>(
            "load",
            json!({"metadata": {"name": "lease"}, "spec": {"holderIdentity": "none"}}),
        )
        .await?;
        Ok(this)
    }

    /// Starts a control plane on it.
    pub async fn meltemi(&self) -> Result<Meltemi> {
        Meltemi::start(&Source::Kubernetes(self.apiserver.kubeconfig().into()), self.scratch.path()).await
    }

    async fn add(&self, i: usize) -> Result<()> {
        let ip = format!("10.96.{}.{}", 10 + i / 250, i % 250 + 1);
        let service = json!({"metadata": {"name": format!("svc-{i}")}, "spec": {"clusterIP": ip,
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
        self.create::<Service>(&namespace(i), service).await?;
        self.create::<EndpointSlice>(&namespace(i), self.slice(i, None)).await
    }

    /// The slice of a service, with the endpoint that marks a change.
    fn slice(&self, i: usize, change: Option<usize>) -> Value {
        let own = (0..self.endpoints).map(|j| format!("10.{}.{}.{}", 100 + i / 200, i % 200, j + 1));
        let endpoints: Vec<_> = own
            .chain(change.map(mark))
            .map(|a| json!({"addresses": [a], "conditions": {"ready": true}}))
            .collect();
        let name = format!("svc-{i}");
        json!({"metadata": {"name": format!("{name}-x"), "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
    }

    /// Changes the endpoints of service `i`; the change is seen by its number.
    pub async fn touch(&self, number: usize, i: usize) -> Result<()> {
        let slice = self.slice(i, Some(number));
        let patch = json!({"endpoints": slice["endpoints"]});
        self.patch::<EndpointSlice>(&namespace(i), &format!("svc-{i}-x"), patch, false).await
    }

    async fn create<K: Object>(&self, namespace: &str, object: Value) -> Result<()> {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    async fn patch<K: Object>(&self, namespace: &str, name: &str, patch: Value, status: bool) -> Result<()> {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        match status {
            true => api.patch_status(name, &params, &patch).await?,
            false => api.patch(name, &params, &patch).await?,
        };
        Ok(())
    }
}

/// A kind of object that lies in a namespace.
trait Object:
    kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + serde::Serialize
    + serde::de::DeserializeOwned
{
}

impl<K> Object for K where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned
{
}

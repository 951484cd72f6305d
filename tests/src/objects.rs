//! Kubernetes objects from YAML, and writing them to an apiserver as they are, status included.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, PostParams},
    core::GroupVersionKind,
    discovery::{Discovery, Scope},
};
use serde_json::{Value, json};

use crate::wait;

/// The objects of a YAML text of one or more documents, with the items of a `List` taken out of it.
pub fn parse(yaml: &str) -> Result<Vec<Value>> {
    // As Kubernetes reads it: `y` is a text.
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(yaml, options)?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|k| k == "List") => {
                let Some(Value::Array(items)) = list.remove("items") else { continue };
                objects.extend(items);
            }
            object => objects.push(object),
        }
    }
    Ok(objects)
}

/// The objects of a YAML file.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text).with_context(|| format!("parsing {}", path.display()))
}

/// Writes objects to one apiserver.
pub struct Objects {
    client: Client,
    discovery: Discovery,
}

impl Objects {
    /// Asks the apiserver which kinds it has.
    pub async fn new(client: Client) -> Result<Self> {
        let discovery = Discovery::new(client.clone()).run().await?;
        Ok(Self { client, discovery })
    }

    /// Installs CustomResourceDefinitions and waits until they serve.
    pub async fn install(&mut self, definitions: &[Value]) -> Result<()> {
        self.apply(definitions).await?;
        let named = |o: &Value| o["metadata"]["name"].as_str().map(String::from);
        let mut missing: BTreeSet<String> = definitions
            .iter()
            .filter(|o| o["kind"] == "CustomResourceDefinition")
            .filter_map(named)
            .collect();
        for definition in definitions.iter().filter(|o| named(o).is_some_and(|n| missing.contains(&n))) {
            let api = self.api(definition)?;
            let name = named(definition).context("a definition without a name")?;
            wait::until_true(format!("{name} is established"), Duration::from_secs(30), async || {
                let now = api.get(&name).await?;
                let conditions = now.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
                Ok(conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True"))
            })
            .await?;
        }
        // "Established" comes a moment before the kind is discovered.
        let client = self.client.clone();
        self.discovery = wait::until("all kinds are discovered", Duration::from_secs(30), async || {
            let discovery = Discovery::new(client.clone()).run().await?;
            for group in discovery.groups() {
                for kind in group.versions().flat_map(|v| group.versioned_resources(v)).map(|(kind, _)| kind)
                {
                    missing.remove(&format!("{}.{}", kind.plural, kind.group));
                }
            }
            Ok(missing.is_empty().then_some(discovery))
        })
        .await?;
        Ok(())
    }

    /// Creates or overwrites objects, and their status where they have one: first those that others need (definitions and
    /// namespaces), then the rest, several at a time.
    ///
    /// Not by server-side apply, which refuses lists with double keys that the apiserver takes otherwise.
    pub async fn apply(&self, objects: &[Value]) -> Result<()> {
        let first = |o: &&Value| o["kind"] == "Namespace" || o["kind"] == "CustomResourceDefinition";
        for group in
            [objects.iter().filter(first).collect::<Vec<_>>(), objects.iter().filter(|o| !first(o)).collect()]
        {
            stream::iter(group).map(|o| self.apply_one(o)).buffer_unordered(8).try_collect::<()>().await?;
        }
        Ok(())
    }

    async fn apply_one(&self, object: &Value) -> Result<()> {
        let what = describe(object);
        let api = self.api(object)?;
        let mut wanted: DynamicObject =
            serde_json::from_value(object.clone()).with_context(|| what.clone())?;
        // The apiserver sets it.
        wanted.metadata.creation_timestamp = None;
        let status = wanted.data["status"].take();
        // Asked for first: an attempt to create a Service again fails for its address, not for being there.
        let exists = api
            .get_metadata_opt(&wanted.name_any())
            .await
            .with_context(|| format!("reading {what}"))?
            .is_some();
        let written = match exists {
            true => replace(&api, wanted).await,
            false => api.create(&PostParams::default(), &wanted).await,
        };
        let mut written = written.with_context(|| format!("writing {what}"))?;
        if status.as_object().is_some_and(|s| !s.is_empty()) {
            let name = written.name_any();
            written.data["status"] = status;
            api.replace_status(&name, &PostParams::default(), &written)
                .await
                .with_context(|| format!("writing the status of {what}"))?;
        }
        Ok(())
    }

    /// Applies the objects of a YAML text.
    pub async fn apply_yaml(&self, yaml: &str) -> Result<()> {
        self.apply(&parse(yaml)?).await
    }

    /// Reads an object as it is now; only kind, namespace and name of the argument matter.
    pub async fn get(&self, object: &Value) -> Result<Value> {
        let name = object["metadata"]["name"].as_str().context("no name")?;
        Ok(serde_json::to_value(self.api(object)?.get(name).await?)?)
    }

    /// A token of a service account for a Pod, as the kubelet asks for one; both must be there.
    pub async fn token(&self, namespace: &str, account: &str, pod: &str, audience: &str) -> Result<String> {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": namespace}});
        let uid = self.get(&pod).await?["metadata"]["uid"].clone();
        let request = json!({
            "spec": {
                "audiences": [audience], "expirationSeconds": 3600,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": uid},
            },
        });
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = serde_json::from_value(request)?;
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
        answer.status.and_then(|s| s.token).context("no token")
    }

    /// Deletes objects, where they exist.
    pub async fn delete(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let name = object["metadata"]["name"].as_str().context("no name")?;
            match self.api(object)?.delete(name, &DeleteParams::background().grace_period(0)).await {
                Ok(_) => {}
                Err(kube::Error::Api(e)) if e.code == 404 => {}
                Err(e) => return Err(e).with_context(|| format!("deleting {}", describe(object))),
            }
            if object["kind"] == "Namespace" {
                self.finalize(name).await?;
            }
        }
        Ok(())
    }

    /// Takes a namespace that is being deleted away: the controller that would do so does not run.
    async fn finalize(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let Some(mut namespace) = api.get_opt(name).await? else { return Ok(()) };
        if let Some(spec) = &mut namespace.spec {
            spec.finalizers = None;
        }
        let _: Namespace =
            api.replace_subresource("finalize", name, &PostParams::default(), &namespace).await?;
        Ok(())
    }

    fn api(&self, object: &Value) -> Result<Api<DynamicObject>> {
        let what = describe(object);
        let version = object["apiVersion"].as_str().with_context(|| format!("{what}: no apiVersion"))?;
        let kind = object["kind"].as_str().with_context(|| format!("{what}: no kind"))?;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let found = self.discovery.resolve_gvk(&gvk);
        ensure!(found.is_some(), "the apiserver has no kind {group}/{version} {kind}");
        let (resource, capabilities) = found.expect("checked above");
        Ok(match (capabilities.scope, object["metadata"]["namespace"].as_str()) {
            (Scope::Cluster, _) => Api::all_with(self.client.clone(), &resource),
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
            (Scope::Namespaced, None) => Api::namespaced_with(self.client.clone(), "default", &resource),
        })
    }
}

/// Overwrites an object, whatever it is now.
async fn replace(api: &Api<DynamicObject>, mut wanted: DynamicObject) -> kube::Result<DynamicObject> {
    let name = wanted.name_any();
    loop {
        wanted.metadata.resource_version = api.get_metadata(&name).await?.metadata.resource_version;
        match api.replace(&name, &PostParams::default(), &wanted).await {
            // Somebody else wrote it in between.
            Err(kube::Error::Api(e)) if e.is_conflict() => {}
            written => return written,
        }
    }
}

fn describe(object: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or("?").to_string();
    let metadata = &object["metadata"];
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{} {namespace}/{}", text(&object["kind"]), text(&metadata["name"])),
        None => format!("{} {}", text(&object["kind"]), text(&metadata["name"])),
    }
}

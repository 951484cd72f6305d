//! Worlds from YAML, as users write it.
#![allow(dead_code)]

use meltemi_api::k8s;
use meltemi_world::config::Status;
use meltemi_world::convert::project;
use meltemi_world::snapshot::Settings;
use meltemi_world::{Change, Config, Endpoint, Object, Service, ServiceKey, Snapshot, World};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// The objects of a YAML stream.
pub fn objects(yaml: &str) -> Vec<Object> {
    let docs: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    docs.into_iter().filter(|d| !d.is_null()).flat_map(object).collect()
}

/// A world of the objects of a YAML stream.
pub fn world(yaml: &str) -> World {
    world_with(Settings::default(), yaml)
}

/// A world of the objects of a YAML stream.
pub fn world_with(settings: Settings, yaml: &str) -> World {
    let mut world = World::new(Snapshot::empty(settings));
    world.apply(upserts(yaml));
    world
}

/// Changes that add or change the objects of a YAML stream.
pub fn upserts(yaml: &str) -> Vec<Change> {
    objects(yaml).into_iter().map(Change::Upsert).collect()
}

/// Changes that remove the objects of a YAML stream.
pub fn removals(yaml: &str) -> Vec<Change> {
    let ids = objects(yaml).into_iter().map(|o| o.id());
    ids.map(|(kind, name)| Change::Remove(kind, name)).collect()
}

/// The service of a host in a namespace.
pub fn service(world: &World, namespace: &str, host: &str) -> Arc<Service> {
    let key = ServiceKey::new(namespace, host);
    world.snapshot().registry.service(&key).unwrap_or_else(|| panic!("no service {key}")).clone()
}

/// The endpoints of a host in a namespace, each as `address:port/name`.
pub fn addresses(world: &World, namespace: &str, host: &str) -> Vec<String> {
    endpoints(world, namespace, host)
        .iter()
        .map(|e| format!("{}:{}/{}", e.addresses.join("+"), e.port, e.port_name))
        .collect()
}

/// The endpoints of a host in a namespace.
pub fn endpoints(world: &World, namespace: &str, host: &str) -> Vec<Endpoint> {
    world.snapshot().registry.endpoints(&ServiceKey::new(namespace, host)).to_vec()
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    meltemi_api::object::decode::<T>(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}")).value
}

fn config<T: DeserializeOwned>(value: &Value) -> Arc<Config<T>> {
    let mut meta = project::meta(&read::<k8s::ObjectMeta>(value["metadata"].clone()));
    let addresses = value["status"]["addresses"].as_array().into_iter().flatten();
    let text = |v: &Value| v.as_str().unwrap_or_default().into();
    let addresses: Vec<_> = addresses.map(|a| (text(&a["host"]), text(&a["value"]))).collect();
    let mut conditions = value["status"]["conditions"].as_array().into_iter().flatten();
    let healthy = conditions.rfind(|c| c["type"] == "Healthy").map(|c| c["status"] == "True");
    if !addresses.is_empty() || healthy.is_some() {
        meta.status = Some(Arc::new(Status { addresses, healthy }));
    }
    Arc::new(Config { meta, spec: read(value["spec"].clone()) })
}

fn object(value: Value) -> Vec<Object> {
    let one = |object| vec![object];
    match value["kind"].as_str().unwrap_or_default() {
        "Namespace" => one(Object::Namespace(Arc::new(project::namespace(&read(value))))),
        "Node" => one(Object::Node(Arc::new(project::node(&read(value))))),
        "Pod" => one(Object::Pod(Arc::new(project::pod(&read(value))))),
        "Service" => one(Object::Service(Arc::new(project::service(read(value))))),
        "EndpointSlice" => {
            project::slice(&read(value)).into_iter().map(|s| Object::EndpointSlice(Arc::new(s))).collect()
        }
        "Endpoints" => {
            let slices = project::slices_of_endpoints(&read(value)).into_iter();
            slices.map(|s| Object::EndpointSlice(Arc::new(s))).collect()
        }
        "ServiceEntry" => one(Object::ServiceEntry(config(&value))),
        "WorkloadEntry" => one(Object::WorkloadEntry(config(&value))),
        "Gateway" => one(Object::Gateway(config(&value))),
        "Ingress" => one(Object::Ingress(config(&value))),
        "IngressClass" => one(Object::IngressClass(config(&value))),
        "" => panic!("an object has no kind"),
        _ => Vec::new(),
    }
}

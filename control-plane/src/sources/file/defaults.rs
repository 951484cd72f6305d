//! What an apiserver would have added to an object that a user wrote: the defaults of Kubernetes' own kinds. Istio's CRDs
//! have none.

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Adds the defaults to an object of a core kind.
pub fn apply(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    let text = |field| object.get(field).and_then(Value::as_str).unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        ("v1", "Service") => service(object),
        ("v1", "Pod") => pod(object),
        ("v1", "Namespace") => namespace(object),
        ("v1", "Secret") => set(object, "type", json!("Opaque")),
        ("v1", "Endpoints") => each(object, "subsets", |subset| each(subset, "ports", protocol)),
        ("discovery.k8s.io/v1", "EndpointSlice") => each(object, "ports", protocol),
        _ => {}
    }
}

fn service(object: &mut Object) {
    let Some(spec) = member(object, "spec") else { return };
    set(spec, "type", json!("ClusterIP"));
    if let Some(ip) = spec.get("clusterIP").filter(|ip| ip.as_str().is_some_and(|s| !s.is_empty())).cloned() {
        set(spec, "clusterIPs", json!([ip]));
    } else if let Some(first) = spec.get("clusterIPs").and_then(|ips| ips.get(0)).cloned() {
        spec.insert("clusterIP".into(), first);
    }
    each(spec, "ports", |port| {
        protocol(port);
        if let Some(number) = port.get("port").cloned() {
            set(port, "targetPort", number);
        }
    });
}

fn pod(object: &mut Object) {
    if let Some(spec) = member(object, "spec") {
        each(spec, "containers", |container| each(container, "ports", protocol));
        each(spec, "initContainers", |container| each(container, "ports", protocol));
    }
    if let Some(status) = member(object, "status")
        && let Some(ip) = status.get("podIP").filter(|ip| ip.is_string()).cloned()
    {
        set(status, "podIPs", json!([{ "ip": ip }]));
    }
}

/// Every namespace has its name as a label, which selectors of namespaces rely on.
fn namespace(object: &mut Object) {
    let Some(meta) = member(object, "metadata") else { return };
    let Some(name) = meta.get("name").cloned() else { return };
    set(meta, "labels", json!({}));
    if let Some(labels) = member(meta, "labels") {
        set(labels, "kubernetes.io/metadata.name", name);
    }
}

fn protocol(port: &mut Object) {
    set(port, "protocol", json!("TCP"));
}

/// Sets a field that is missing, null or an empty text.
fn set(object: &mut Object, field: &str, value: Value) {
    let is_empty = |v: &Value| v.is_null() || v.as_str().is_some_and(str::is_empty);
    if object.get(field).is_none_or(is_empty) {
        object.insert(field.to_owned(), value);
    }
}

fn member<'a>(object: &'a mut Object, field: &str) -> Option<&'a mut Object> {
    object.get_mut(field).and_then(Value::as_object_mut)
}

fn each(object: &mut Object, field: &str, change: impl Fn(&mut Object)) {
    let items = object.get_mut(field).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gets_what_an_apiserver_would_add() {
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]}});
        apply(&mut service);
        assert_eq!(
            service["spec"],
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 53, "protocol": "UDP", "targetPort": "dns"}]})
        );
    }

    #[test]
    fn a_namespace_is_labelled_with_its_name() {
        let mut namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": null}});
        apply(&mut namespace);
        assert_eq!(namespace["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "a"}));
    }

    #[test]
    fn what_has_the_wrong_type_is_left_alone() {
        let wrong = json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"ports": "80"}});
        let mut service = wrong.clone();
        apply(&mut service);
        assert_eq!(service["spec"]["ports"], wrong["spec"]["ports"]);
        apply(&mut json!([1]));
    }
}

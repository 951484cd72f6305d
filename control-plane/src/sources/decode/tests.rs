use super::*;
use serde_json::json;

fn good(json: Value) -> (Object, Vec<String>) {
    match value(json, "default") {
        Outcome::Read(mut read) if read.objects.len() == 1 => {
            (read.objects.remove(0), read.warnings.iter().map(ToString::to_string).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn bad(json: Value) -> String {
    match value(json, "default") {
        Outcome::Rejected { finding, .. } => finding.to_string(),
        other => panic!("{other:?}"),
    }
}

/// A VirtualService, completed so that nothing else is wrong with it.
fn route(mut spec: Value) -> Value {
    if let Some(spec) = spec.as_object_mut() {
        spec.entry("hosts").or_insert(json!(["a"]));
        for http in spec.entry("http").or_insert(json!([{}])).as_array_mut().unwrap() {
            http["route"] = json!([{"destination": {"host": "a"}}]);
        }
    }
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}, "spec": spec})
}

#[test]
fn an_object_of_istio_is_read() {
    let (object, warnings) = good(route(json!({"hosts": ["a"], "http": [{"timeout": "1s"}]})));
    assert_eq!(object.id(), (Kind::VirtualService, NsName::new("default", "a")));
    assert_eq!(warnings, Vec::<String>::new());
    let Object::VirtualService(route) = object else { panic!() };
    assert_eq!((&*route.spec.hosts[0], route.meta.creation), ("a", UNDATED));
}

#[test]
fn all_versions_give_the_same() {
    let mut objects = ["v1", "v1beta1", "v1alpha3"].map(|version| {
        let mut json = route(json!({"hosts": ["a"]}));
        json["apiVersion"] = format!("networking.istio.io/{version}").into();
        good(json).0
    });
    objects.rotate_left(1);
    assert_eq!(objects[0], objects[1]);
    assert_eq!(objects[1], objects[2]);
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    let text = bad(route(json!({"hosts": ["a"], "http": [{"timeout": []}]})));
    assert!(text.starts_with("VirtualService default/a, field spec.http[0].timeout: "), "{text}");
    let text =
        bad(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "b"},
        "spec": {"ports": [{"port": "eighty"}]}}));
    assert!(text.starts_with("Service b/a, field spec.ports[0].port: "), "{text}");
    assert!(bad(route(json!("x"))).contains("field spec: "));
}

#[test]
fn what_istiod_refuses_is_refused_with_all_its_fields() {
    let text = bad(route(json!({"hosts": ["a_b"], "http": [{"timeout": "0s"}], "exportTo": ["~"]})));
    assert!(text.starts_with("VirtualService default/a, field spec.hosts[0]: "), "{text}");
    assert!(text.contains("; spec.http[0].timeout: ") && text.contains("; spec.exportTo[0]: "), "{text}");
    let mut json = route(json!({}));
    json["metadata"]["annotations"] = json!({"internal.istio.io/parents": "a"});
    assert!(bad(json).contains("field metadata.annotations[internal.istio.io/parents]"));
}

#[test]
fn what_istiod_warns_of_is_a_warning() {
    let (_, warnings) = good(route(json!({"http": [{}, {}]})));
    assert!(warnings[0].contains("field spec.http[1]: is never reached"), "{warnings:?}");
    let filter = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "a"}, "spec": {"configPatches": [
            {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {"name": 5}}},
            {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {"name": "b"}}}]}});
    let (_, warnings) = good(filter);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("field spec.configPatches[0].patch.value: "), "{warnings:?}");
    assert!(warnings[0].ends_with("; this part has no effect"), "{warnings:?}");
}

#[test]
fn yes_is_a_boolean_where_one_is_wanted() {
    let cors = json!({"hosts": ["on"], "http": [{"corsPolicy": {"allowCredentials": "yes"}}]});
    let Object::VirtualService(route) = good(route(cors)).0 else { panic!() };
    assert_eq!(route.spec.hosts, ["on"]);
    let cors = route.spec.http[0].cors_policy.as_ref().unwrap();
    assert_eq!(cors.allow_credentials, Some(true.into()));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
        "spec": {"publishNotReadyAddresses": "on"}});
    let Object::Service(service) = good(service).0 else { panic!() };
    assert!(service.spec.spec.publish_not_ready_addresses);
}

#[test]
fn an_unknown_field_is_a_warning() {
    let (_, warnings) = good(route(json!({"hosts": ["a"], "http": [{"rout": []}]})));
    assert!(warnings[0].contains("field spec.http[0].rout: no such field"), "{warnings:?}");
    let mut json = route(json!({}));
    json["sepc"] = json!({});
    json["metadata"]["managedFields"] = json!([]);
    let (_, warnings) = good(json);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("field sepc"), "{warnings:?}");
}

#[test]
fn an_unknown_kind_is_refused_with_advice() {
    let text = bad(
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualServices", "metadata": {"name": "a"}}),
    );
    assert!(text.starts_with("VirtualServices default/a: ") && text.contains("did you mean"), "{text}");
    let text =
        bad(json!({"apiVersion": "networking.istio.io/v3", "kind": "Sidecar", "metadata": {"name": "a"}}));
    assert!(text.contains("networking.istio.io/v1beta1"), "{text}");
}

#[test]
fn what_is_no_object_is_refused() {
    for (json, wants) in [
        (json!([1]), "expected an object"),
        (json!({"apiVersion": "v1", "metadata": {"name": "a"}}), "field kind"),
        (json!({"kind": "Service", "metadata": {"name": "a"}}), "field apiVersion"),
        (json!({"apiVersion": "v1", "kind": "Service"}), "field metadata.name"),
        (json!({"apiVersion": "v1", "kind": "Service", "metadata": "a"}), "field metadata"),
        (json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": 5}}), "field metadata.name"),
    ] {
        let text = bad(json);
        assert!(text.contains(wants), "{text}");
    }
}

#[test]
fn kinds_of_others_are_skipped() {
    let later =
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "a"}});
    assert!(matches!(value(later, ""), Outcome::Skipped { later: true, .. }));
    let foreign = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}});
    assert!(matches!(value(foreign, ""), Outcome::Skipped { later: false, .. }));
}

#[test]
fn a_bad_date_is_a_warning() {
    let mut json = route(json!({}));
    json["metadata"]["creationTimestamp"] = "yesterday".into();
    assert!(good(json.clone()).1[0].contains("creationTimestamp"));
    json["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let Object::VirtualService(route) = good(json).0 else { panic!() };
    assert_eq!(route.meta.creation, 1_767_225_600);
}

#[test]
fn cluster_wide_objects_have_no_namespace() {
    let json = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "namespace": "x"}});
    assert_eq!(good(json).0.id(), (Kind::Node, NsName::new("", "n")));
}

#[test]
fn a_secret_never_shows_itself() {
    let text = bad(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"tls.key": "s3cret!"}}),
    );
    assert!(text.contains("tls.key") && !text.contains("s3cret"), "{text}");
}

#[test]
fn endpoints_become_slices() {
    let json = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a"}, "subsets": [
        {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}]});
    let Outcome::Read(read) = value(json, "default") else { panic!() };
    assert_eq!(read.objects.len(), 2);
    assert!(
        read.objects.iter().all(|o| o.id().0 == Kind::EndpointSlice && &*o.id().1.namespace == "default")
    );
}

#[test]
fn a_slice_of_no_service_says_nothing_to_a_mesh() {
    let json =
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"}});
    let Outcome::Read(read) = value(json, "default") else { panic!() };
    assert!(read.objects.is_empty());
    assert_eq!(read.warnings[0].severity, Severity::Note);
}

#[test]
fn the_status_of_a_service_entry_is_read() {
    let json = json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "a"},
        "spec": {"hosts": ["a.com"]}, "status": {"addresses": [{"host": "a.com", "value": "240.240.0.1"}],
        "conditions": [{"type": "Healthy", "status": "False", "lastProbeTime": null}]}});
    let Object::ServiceEntry(entry) = good(json).0 else { panic!() };
    let status = entry.meta.status.as_ref().unwrap();
    assert_eq!(&*status.addresses[0].1, "240.240.0.1");
    assert_eq!(status.healthy, Some(false));
}

#[test]
fn text_from_an_apiserver_is_read_as_well() {
    let pod = r#"{"metadata":{"name":"p","namespace":"n","managedFields":[{}]},"spec":{"containers":[]}}"#;
    let Outcome::Read(read) = text(Kind::Pod, pod) else { panic!() };
    assert_eq!(read.name, NsName::new("n", "p"));
    let Outcome::Rejected { finding, id } =
        text(Kind::Pod, r#"{"metadata":{"name":"p","namespace":"n"},"spec":1}"#)
    else {
        panic!()
    };
    assert_eq!(finding.field, "spec");
    assert_eq!(id, None, "its name is not known before it is read whole");
    assert!(matches!(text(Kind::Pod, "{"), Outcome::Rejected { .. }));
}

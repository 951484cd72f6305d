use super::*;
use crate::{cli::Proxy, settings::Env};

fn settings(more: &[(&str, &str)]) -> Settings {
    let mut vars = vec![
        ("POD_NAME", "a-1"),
        ("POD_NAMESPACE", "shop"),
        ("SERVICE_ACCOUNT", "a"),
        ("INSTANCE_IP", "10.0.0.1"),
        ("ISTIO_META_WORKLOAD_NAME", "a"),
    ];
    vars.extend_from_slice(more);
    Settings::read(&Proxy::default(), &Env::of(vars)).unwrap()
}

#[test]
fn istiod_is_told_who_the_proxy_is() {
    let bootstrap = build(&settings(&[])).unwrap();
    assert_eq!(bootstrap["node"]["id"], "sidecar~10.0.0.1~a-1.shop~shop.svc.cluster.local");
    assert_eq!(bootstrap["node"]["cluster"], "a.shop");
    let metadata = &bootstrap["node"]["metadata"];
    assert_eq!(metadata["SERVICE_ACCOUNT"], "a");
    assert_eq!(metadata["PROXY_CONFIG"]["statusPort"], 15020);
}

#[test]
fn the_names_that_istiod_refers_to_are_there() {
    let config = r#"{"tracing":{"zipkin":{"address":"zipkin.x:9411"}},"envoyAccessLogService":{"address":"10.0.0.9:1"}}"#;
    let bootstrap = build(&settings(&[("PROXY_CONFIG", config)])).unwrap();
    let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
    let named: Vec<_> =
        clusters.iter().map(|c| (c["name"].as_str().unwrap(), c["type"].as_str().unwrap())).collect();
    assert_eq!(
        named,
        [
            ("prometheus_stats", "STATIC"),
            ("agent", "STATIC"),
            ("sds-grpc", "STATIC"),
            ("xds-grpc", "STATIC"),
            ("zipkin", "STRICT_DNS"),
            ("envoy_accesslog_service", "STATIC"),
        ]
    );
}

#[test]
fn runtime_values_win() {
    let config = r#"{"runtimeValues":{"a":"true","b":"x","re2.max_program_size.error_level":""}}"#;
    let bootstrap = build(&settings(&[("PROXY_CONFIG", config)])).unwrap();
    let runtime = &bootstrap["layered_runtime"]["layers"][0]["static_layer"];
    assert_eq!((&runtime["a"], &runtime["b"]), (&json!(true), &json!("x")));
    assert!(runtime["re2.max_program_size.error_level"].is_null());
}

#[test]
fn what_the_agent_cannot_do_is_refused() {
    for (name, value) in [
        ("ISTIO_META_DNS_CAPTURE", "true"),
        ("CA_PROVIDER", "GoogleCA"),
        ("PROV_CERT", "/etc/certs"),
        ("XDS_ROOT_CA", "SYSTEM"),
        ("SECRET_GRACE_PERIOD_RATIO", "2"),
        ("PROXY_CONFIG", "x"),
    ] {
        let vars = [("POD_NAME", "a"), ("POD_NAMESPACE", "b"), (name, value)];
        let error = Settings::read(&Proxy::default(), &Env::of(vars)).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let error = Settings::read(&Proxy::default(), &Env::of([("POD_NAME", "a")])).unwrap_err().to_string();
    assert!(error.contains("POD_NAMESPACE"), "{error}");
}

#[test]
fn a_template_is_refused_and_an_overlay_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.yaml");
    fs::write(&file, "node: {id: '{{ .id }}'}").unwrap();
    let mut settings = settings(&[("HOST_IP", "10.0.0.7")]);
    settings.bootstrap = Some(file.clone());
    assert!(write(&settings).unwrap_err().to_string().contains("template"));
    fs::write(&file, "admin: {address: \"$(HOST_IP):1\"}").unwrap();
    settings.bootstrap_override = Some(file);
    assert_eq!(overlay(&settings).unwrap().unwrap(), r#"{"admin":{"address":"10.0.0.7:1"}}"#);
}

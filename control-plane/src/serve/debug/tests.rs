use super::*;
use crate::config::{Config, Discovery, Env};
use crate::metrics::Metrics;
use crate::patches::FailedPatches;
use crate::sources::{Batch, Part};
use crate::store::{self, Publisher};
use clap::{Args, FromArgMatches};
use meltemi_server::Registry;
use meltemi_world::{ChangeSet, Snapshot};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _: Arc<Snapshot>, _: ChangeSet, _: Instant) {}
}

/// What there is once a folder has been read.
pub(in crate::serve) fn look() -> Look {
    let dir = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}\n---\n\
                apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, creationTimestamp: 2026-01-01T00:00:00Z}\n\
                spec: {hosts: [a], http: [{timeout: 1s, redirect: {uri: /}}]}\n---\n\
                apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec: {}\n---\nkind: Oops\n";
    std::fs::write(dir.path().join("a.yaml"), text).unwrap();
    let (changes, findings) = crate::sources::file::load(dir.path());
    let mut batch = Batch::new(changes).with(crate::sources::Subject::Files, findings);
    batch.complete = Some(Part::Files);
    after(Some(batch))
}

/// What there is before.
pub(in crate::serve) fn not_ready() -> Look {
    after(None)
}

fn after(batch: Option<Batch>) -> Look {
    let metrics = Metrics::new();
    let first = Snapshot::empty(Default::default());
    let (store, batches, world) = store::new(first, [Part::Files], Nobody, metrics.clone());
    if let Some(batch) = batch {
        batches.try_send(batch).unwrap();
    }
    drop(batches);
    std::thread::spawn(|| store.run()).join().unwrap();
    let command = Discovery::augment_args(clap::Command::new("x")).get_matches_from(["x"]);
    let flags = Discovery::from_arg_matches(&command).unwrap();
    let (config, _) = Config::new(flags, &mut Env::default());
    let (proxies, keys) = (Arc::new(Registry::new()), crate::jwks::Settled::done());
    Look {
        world,
        patches: FailedPatches::new(metrics.clone()),
        metrics,
        proxies,
        keys,
        authority: None,
        switches: Arc::new(config.debug),
    }
}

fn json_of(look: &Look, command: &str) -> Value {
    match answer(look, command) {
        Some((Answer::Json(value), _)) => value,
        Some((Answer::Text(text), _)) => text.into(),
        Some((Answer::Problem(status, text), _)) => json!([status.as_u16(), text]),
        None => Value::Null,
    }
}

#[test]
fn every_page_answers() {
    let look = look();
    for page in &PAGES {
        assert_ne!(json_of(&look, page.path), Value::Null, "{}", page.path);
    }
    assert!(PAGES.is_sorted_by_key(|p| p.path.to_ascii_lowercase()));
    assert_eq!(json_of(&look, "nothing"), Value::Null);
}

#[test]
fn pages_have_istiods_shapes() {
    let look = look();
    let service = &json_of(&look, "registryz")[0];
    assert_eq!(service["hostname"], "a.default.svc.cluster.local");
    assert_eq!(service["Attributes"]["ServiceRegistry"], "Kubernetes");
    assert_eq!(service["ports"], json!([{"name": "http", "port": 80, "protocol": "HTTP"}]));
    assert_eq!(service["clusterVIPs"]["Addresses"]["Kubernetes"], json!(["10.0.0.1"]));
    let route = &json_of(&look, "configz")[0];
    assert_eq!(route["apiVersion"], "networking.istio.io/v1");
    assert_eq!(route["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(route["spec"], json!({"hosts": ["a"], "http": [{"timeout": "1s", "redirect": {"uri": "/"}}]}));
    let refused = &json_of(&look, "configz")[1];
    assert_eq!(refused["metadata"], json!({"name": "s", "namespace": "default"}));
    assert!(refused["rejected"][0].as_str().unwrap().starts_with("spec: is empty"), "{refused}");
    assert_eq!(json_of(&look, "mesh")["rootNamespace"], "istio-system");
    let problem = &json_of(&look, "problems")[0];
    assert_eq!(problem["severity"], "error");
    assert_eq!(json_of(&look, "syncz"), json!([]));
    assert_eq!(json_of(&look, "adsz"), json!({"totalClients": 0, "clients": []}));
    assert_eq!(json_of(&look, "adsz?push=true"), "Pushed to 0 servers\n");
}

#[test]
fn a_proxy_must_be_named_and_connected() {
    let look = look();
    assert_eq!(json_of(&look, "config_dump"), json!([400, NO_PROXY_ID]));
    assert_eq!(json_of(&look, "edsz?proxyID=x"), json!([404, NOT_CONNECTED]));
}

#[test]
fn a_query_is_unescaped() {
    let query = Query::read("proxyID=sidecar%7E1.1.1.1~a+b&pretty&x=%zz%4");
    assert_eq!(query.get("proxyID"), Some("sidecar~1.1.1.1~a b"));
    assert!(query.has("pretty") && query.get("pretty").is_none());
    assert_eq!(query.get("x"), Some("%zz%4"));
}

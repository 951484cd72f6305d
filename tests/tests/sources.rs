//! What is taken of an apiserver, and what is not, as the debug pages tell it.

use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_tests::{
    cluster::{Cluster, mesh_configuration, route, service},
    meltemi::Meltemi,
    parity, wait, workload,
};
use serde_json::{Value, json};

/// The names of the objects of one kind.
async fn configs(meltemi: &Meltemi, kind: &str) -> Result<Vec<String>> {
    let all = meltemi.get("/debug/configz").await?.json()?;
    let of_kind = all.as_array().context("no list")?.iter().filter(|o| o["kind"] == kind);
    Ok(of_kind.filter_map(|o| o["metadata"]["name"].as_str()).map(str::to_owned).collect())
}

async fn until_configs(meltemi: &Meltemi, kind: &str, names: &[&str]) -> Result<()> {
    wait::until_true(&format!("{kind}s are {names:?}"), Duration::from_secs(10), async || {
        Ok(configs(meltemi, kind).await? == names)
    })
    .await
}

async fn until_problem(meltemi: &Meltemi, text: &str) -> Result<()> {
    wait::until_true(&format!("the problem {text:?}"), Duration::from_secs(10), async || {
        Ok(meltemi.get("/debug/problems").await?.json()?.to_string().contains(text))
    })
    .await
}

fn named(mut object: Value, name: &str, revision: Option<&str>) -> Value {
    object["metadata"]["name"] = name.into();
    if let Some(revision) = revision {
        object["metadata"]["labels"] = json!({"istio.io/rev": revision});
    }
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_another_revision_are_left_out() -> Result<()> {
    let shop = Cluster::open(&parity::definitions()?).await?;
    let meltemi = shop.meltemi().await?;
    let [all, own, other] = [("all", None), ("own", Some("default")), ("other", Some("canary"))]
        .map(|(name, revision)| named(route("/"), name, revision));
    shop.objects.apply(&[all, other, own.clone()]).await?;
    until_configs(&meltemi, "VirtualService", &["all", "own"]).await?;
    shop.objects.apply(&[named(own, "own", Some("canary"))]).await?;
    until_configs(&meltemi, "VirtualService", &["all"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_selectors_choose_namespaces_as_labels_and_selectors_change() -> Result<()> {
    let shop = Cluster::open(&parity::definitions()?).await?;
    let meltemi = shop.meltemi().await?;
    shop.objects.apply(&[named(route("/"), "a", None)]).await?;
    until_configs(&meltemi, "VirtualService", &["a"]).await?;
    let services = async || Ok::<_, anyhow::Error>(meltemi.get("/debug/registryz").await?.text()?);
    let until_server = async |there: bool| {
        wait::until_true(&format!("the service is there: {there}"), Duration::from_secs(10), async || {
            Ok(services().await?.contains("server.shop.svc") == there)
        })
        .await
    };
    let labelled = |value: &str| {
        let mut namespace = workload::namespace("shop");
        namespace["metadata"]["labels"]["mesh"] = value.into();
        namespace
    };

    shop.objects.apply(&[mesh_configuration("discoverySelectors: [{matchLabels: {mesh: 'in'}}]\n")]).await?;
    until_configs(&meltemi, "VirtualService", &[]).await?;
    until_server(false).await?;
    shop.objects.apply(&[named(route("/"), "b", None), service("server", 1)]).await?;
    shop.objects.apply(&[labelled("in")]).await?;
    until_configs(&meltemi, "VirtualService", &["a", "b"]).await?;
    until_server(true).await?;
    shop.objects.apply(&[labelled("out")]).await?;
    until_configs(&meltemi, "VirtualService", &[]).await?;
    until_server(false).await?;
    shop.objects.apply(&[mesh_configuration("{}")]).await?;
    until_configs(&meltemi, "VirtualService", &["a", "b"]).await?;
    until_server(true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_configuration_that_cannot_be_read_leaves_the_last_one() -> Result<()> {
    let shop = Cluster::open(&[]).await?;
    shop.objects.apply(&[mesh_configuration("trustDomain: first\n")]).await?;
    let meltemi = shop.meltemi().await?;
    let domain = async || {
        let mesh = meltemi.get("/debug/mesh").await?.json()?;
        Ok::<_, anyhow::Error>(mesh["trustDomain"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(domain().await?, "first");
    shop.objects.apply(&[mesh_configuration("trustDomain: [second\n")]).await?;
    until_problem(&meltemi, "what it said before stays in force").await?;
    assert_eq!(domain().await?, "first");
    shop.objects.apply(&[mesh_configuration("trustDomain: third\n")]).await?;
    wait::until_true("the third", Duration::from_secs(10), async || Ok(domain().await? == "third")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_cannot_be_read_leaves_its_last_version_and_all_others() -> Result<()> {
    // Definitions that let everything in, as those of an older release may.
    let lax = parity::definitions()?.into_iter().map(|mut definition| {
        for version in definition["spec"]["versions"].as_array_mut().into_iter().flatten() {
            version["schema"]["openAPIV3Schema"] =
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            version.as_object_mut().map(|v| v.remove("additionalPrinterColumns"));
        }
        definition
    });
    let shop = Cluster::open(&lax.collect::<Vec<_>>()).await?;
    let meltemi = shop.meltemi().await?;
    shop.objects.apply(&[named(route("/first"), "a", None)]).await?;
    until_configs(&meltemi, "VirtualService", &["a"]).await?;
    let mut bad = named(route("/second"), "a", None);
    bad["spec"]["http"][0]["timeout"] = json!("soon");
    shop.objects.apply(&[bad, named(route("/"), "b", None)]).await?;
    until_problem(&meltemi, "its last good version stays in force").await?;
    until_configs(&meltemi, "VirtualService", &["a", "b"]).await?;
    assert!(meltemi.get("/debug/configz").await?.text()?.contains("/first"));
    shop.objects.apply(&[named(route("/third"), "a", None)]).await?;
    wait::until_true("nothing is wrong any more", Duration::from_secs(10), async || {
        Ok(!meltemi.get("/debug/problems").await?.text()?.contains("last good version"))
    })
    .await
}

/// The reasons why an object was refused; none if it was not, or is not there.
async fn rejected(meltemi: &Meltemi, name: &str) -> Result<Vec<String>> {
    let all = meltemi.get("/debug/configz").await?.json()?;
    let of = all.as_array().context("no list")?.iter().filter(|o| o["metadata"]["name"] == name);
    let reasons = of.flat_map(|o| o["rejected"].as_array().cloned().unwrap_or_default());
    Ok(reasons.filter_map(|r| r.as_str().map(str::to_owned)).collect())
}

/// How many objects are refused now, by the metric.
async fn count_of_rejected(meltemi: &Meltemi) -> Result<Option<u64>> {
    let text = meltemi.get("/metrics").await?.text()?;
    let line = text.lines().find_map(|l| l.strip_prefix("meltemi_rejected_configs "));
    Ok(line.and_then(|count| count.trim().parse().ok()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_istiod_would_refuse_leaves_its_last_version() -> Result<()> {
    // The apiserver takes these: its definitions know the form of an object, not what it means.
    let shop = Cluster::open(&parity::definitions()?).await?;
    let meltemi = shop.meltemi().await?;
    shop.objects.apply(&[named(route("/first"), "old", None)]).await?;
    until_configs(&meltemi, "VirtualService", &["old"]).await?;
    let refused = |name: &str| {
        let mut bad = named(route("/"), name, None);
        bad["spec"]["http"][0]["name"] = json!("second");
        bad["spec"]["http"][0]["match"][0]["uri"] = json!({"regex": "("});
        bad
    };
    shop.objects.apply(&[refused("old"), refused("new")]).await?;
    for name in ["old", "new"] {
        wait::until_true(&format!("{name} is refused"), Duration::from_secs(10), async || {
            Ok(rejected(&meltemi, name).await?.iter().any(|r| r.starts_with("spec.http[0].match[0].uri: ")))
        })
        .await?;
    }
    let text = meltemi.get("/debug/configz").await?.text()?;
    assert!(text.contains("/first") && !text.contains("\"second\""), "{text}");
    assert_eq!(count_of_rejected(&meltemi).await?, Some(2));
    shop.objects.apply(&[named(route("/third"), "old", None), named(route("/third"), "new", None)]).await?;
    wait::until_true("nothing is refused", Duration::from_secs(10), async || {
        let none = rejected(&meltemi, "old").await?.is_empty() && rejected(&meltemi, "new").await?.is_empty();
        Ok(none && count_of_rejected(&meltemi).await? == Some(0))
    })
    .await?;
    assert!(!meltemi.get("/debug/configz").await?.text()?.contains("/first"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_is_taken_away_takes_its_objects_along_and_comes_back() -> Result<()> {
    let definitions = parity::definitions()?;
    let mut shop = Cluster::open(&definitions).await?;
    let meltemi = shop.meltemi().await?;
    shop.objects.apply(&[route("/")]).await?;
    until_configs(&meltemi, "VirtualService", &["server"]).await?;
    let of_routes: Vec<Value> = definitions
        .into_iter()
        .filter(|d| d["metadata"]["name"] == "virtualservices.networking.istio.io")
        .collect();
    shop.objects.delete(&of_routes).await?;
    until_configs(&meltemi, "VirtualService", &[]).await?;
    wait::until_true("the definition is gone", Duration::from_secs(10), async || {
        Ok(shop.objects.get(&of_routes[0]).await.is_err())
    })
    .await?;
    shop.objects.install(&of_routes).await?;
    shop.objects.apply(&[named(route("/"), "again", None)]).await?;
    until_configs(&meltemi, "VirtualService", &["again"]).await
}

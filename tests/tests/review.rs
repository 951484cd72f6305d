//! Whether gateways may read Secrets, asked of a real apiserver.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::{Api, Client, api::PostParams};
use meltemi_control_plane::{secrets, sources::Batch};
use meltemi_server::Registry;
use meltemi_tests::{apiserver::ApiServer, objects::Objects, wait, workload};
use meltemi_world::{Change, NsName, Object, identity::SecretAccess};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A Role that lets a service account do something with Secrets of the namespace `edge`.
fn role(verb: &str, account: &str) -> [Value; 2] {
    let meta = json!({"name": account, "namespace": "edge"});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta,
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": [verb]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "edge"}],
    });
    [role, binding]
}

/// Waits until the apiserver's authorizer has learned of the role, which it does a moment after it is written.
async fn in_force(client: Client) -> Result<()> {
    let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
        "user": "system:serviceaccount:edge:lister",
        "resourceAttributes": {"namespace": "edge", "verb": "list", "resource": "secrets"},
    }}))?;
    let api = Api::<SubjectAccessReview>::all(client);
    wait::until_true("the role is in force", Duration::from_secs(20), async || {
        Ok(api.create(&PostParams::default(), &review).await?.status.is_some_and(|s| s.allowed))
    })
    .await
}

async fn verdict(batches: &mut mpsc::Receiver<Batch>) -> Result<SecretAccess> {
    let batch = tokio::time::timeout(Duration::from_secs(20), batches.recv()).await?.context("the end")?;
    match batch.changes.into_iter().next() {
        Some(Change::Upsert(Object::SecretAccess(access))) => Ok(Arc::unwrap_or_clone(access)),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_apiserver_decides_who_may_list_secrets() -> Result<()> {
    let apiserver = ApiServer::start().await?;
    let objects = Objects::new(apiserver.client().await?).await?;
    objects.apply(&[workload::namespace("edge"), workload::namespace("other")]).await?;
    objects.apply(&role("list", "lister")).await?;
    objects.apply(&role("get", "getter")).await?;
    in_force(apiserver.client().await?).await?;
    let ((accounts, asked), (batches, mut told)) = (mpsc::channel(8), mpsc::channel(8));
    let registry = Arc::new(Registry::new());
    let reviewing = tokio::spawn(secrets::review(apiserver.client().await?, asked, registry, batches));
    let table = [
        ("edge", "lister", true),
        ("edge", "getter", false),
        ("other", "lister", false),
        ("edge", "none", false),
    ];
    for (namespace, name, may) in table {
        let account = NsName::new(namespace, name);
        accounts.send(account.clone()).await?;
        accounts.send(account.clone()).await?;
        let access = verdict(&mut told).await?;
        assert_eq!((access.account, access.denied.is_none()), (account, may), "{:?}", access.denied);
    }
    drop(accounts);
    reviewing.await?;
    assert!(told.recv().await.is_none(), "each account is asked about once");
    Ok(())
}

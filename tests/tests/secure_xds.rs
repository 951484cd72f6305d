//! Streams over TLS: who is let in as whom, and which secrets it is sent, with tokens and rules of a real apiserver.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, ServiceAccount},
};
use kube::{Api, api::PostParams};
use meltemi_api::envoy::config::core::v3::Node;
use meltemi_tests::{
    apiserver::ApiServer,
    bootstrap,
    meltemi::{Meltemi, Source},
    netns::Place,
    objects::Objects,
    scratch::Scratch,
    tls::Pair,
    wait,
    workload::{self, Workload},
    xds_client::{Credentials, Delta, node, types},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

/// A Role that lets a service account list the Secrets of `edge`.
fn role(account: &str) -> [Value; 2] {
    let meta = json!({"name": account, "namespace": "edge"});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta,
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "edge"}],
    });
    [role, binding]
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
}

fn secret(namespace: &str, name: &str, pair: &Pair) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls", "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key},
    })
}

struct Rig {
    apiserver: ApiServer,
    objects: Objects,
    meltemi: Meltemi,
    secure: SocketAddr,
    scratch: Scratch,
}

impl Rig {
    async fn start(objects: &[Value]) -> Result<Self> {
        let (apiserver, scratch) = (ApiServer::start().await?, Scratch::new()?);
        let writer = Objects::new(apiserver.client().await?).await?;
        writer.apply(&["istio-system", "edge", "other"].map(workload::namespace)).await?;
        writer.apply(&[account("edge", "gw"), account("edge", "poor"), account("other", "gw")]).await?;
        writer.apply(&role("gw")).await?;
        writer.apply(objects).await?;
        let source = Source::Kubernetes(apiserver.kubeconfig().into());
        let (meltemi, secure) = Meltemi::start_secure(&source, scratch.path(), &[]).await?;
        Ok(Self { apiserver, objects: writer, meltemi, secure, scratch })
    }

    /// The token of a service account for an audience, and the roots that the mesh publishes.
    async fn credentials(&self, namespace: &str, name: &str, audience: &str) -> Result<Credentials> {
        let client = self.apiserver.client().await?;
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
        let spec = TokenRequestSpec { audiences: Some(vec![audience.to_owned()]), ..Default::default() };
        let request = TokenRequest { spec: Some(spec), ..Default::default() };
        let token = accounts.create_token_request(name, &PostParams::default(), &request).await?;
        let maps = Api::<ConfigMap>::namespaced(client, namespace);
        let roots = wait::until("the roots are published", SOON, async || {
            let map = maps.get_opt("istio-ca-root-cert").await?;
            Ok(map.and_then(|m| m.data?.remove("root-cert.pem")))
        });
        Ok(Credentials {
            roots: roots.await?,
            server: "istiod.istio-system.svc".to_owned(),
            token: token.status.context("a status")?.token,
        })
    }

    async fn open(&self, node: Node, credentials: &Credentials) -> Result<Delta> {
        Delta::open_secure(self.secure, node, credentials).await
    }

    /// A stream of a gateway that proves to be it.
    async fn gateway(&self, namespace: &str, account: &str) -> Result<Delta> {
        let credentials = self.credentials(namespace, account, "istio-ca").await?;
        self.open(gateway(namespace, account), &credentials).await
    }

    /// All that the control plane shows or writes anywhere.
    async fn shown(&self) -> Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for page in self.meltemi.get("/debug/list").await?.json()?.as_array().context("a list")? {
            let path = format!("/debug/{}?proxyID=router", page.as_str().context("a name")?);
            let body = self.meltemi.get(&path).await?.body;
            all.push((path, String::from_utf8_lossy(&body).into_owned()));
        }
        for file in std::fs::read_dir(self.scratch.path())?.flatten().filter(|f| f.path().is_file()) {
            let bytes = std::fs::read(file.path())?;
            all.push((file.path().display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
        Ok(all)
    }
}

fn gateway(namespace: &str, account: &str) -> Node {
    let pod = Workload::new(namespace, account, "v1", [10, 244, 1, 9]).label("istio", "ingressgateway").pod();
    node(&bootstrap::node(&pod, Some(&workload::node())))
}

/// What the next response of secrets brings, and what it takes away.
async fn secrets(stream: &mut Delta) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let response = stream.expect(types::SECRET, SOON).await?;
    stream.ack(types::SECRET, &response.nonce)?;
    let brought = response.resources.into_iter().map(|r| r.name).collect();
    Ok((brought, response.removed_resources.into_iter().collect()))
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Parts of a key that tell that it is shown, as it is or in base64 once more.
fn traces(pair: &Pair) -> Vec<String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let whole = &pair.key;
    let shifted = (0..3).map(|shift| STANDARD.encode(&whole[30 + shift..90 + shift]));
    shifted.chain(whole.lines().nth(1).map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_go_to_those_who_prove_that_they_may_have_them() -> Result<()> {
    const OWN: &str = "kubernetes://shop";
    const FOREIGN: &str = "kubernetes://other/shop";
    const UNREFERRED: &str = "kubernetes-gateway://edge/shop";
    let (pair, next) = (Pair::new("shop.test")?, Pair::new("shop.test")?);
    let rig = Rig::start(&[secret("edge", "shop", &pair), secret("other", "shop", &pair)]).await?;
    let wanted = [OWN, FOREIGN, UNREFERRED];
    // Its own one, and no other.
    let mut stream = rig.gateway("edge", "gw").await?;
    stream.subscribe(types::SECRET, &wanted)?;
    assert_eq!(secrets(&mut stream).await?, (set(&[OWN]), set(&[FOREIGN, UNREFERRED])));
    // A change is pushed; one of another namespace is not.
    rig.objects.apply(&[secret("other", "shop", &next), secret("edge", "shop", &next)]).await?;
    assert_eq!(secrets(&mut stream).await?, (set(&[OWN]), set(&[])));
    // One whose service account may not read Secrets.
    let mut poor = rig.gateway("edge", "poor").await?;
    poor.subscribe(types::SECRET, &wanted)?;
    assert_eq!(secrets(&mut poor).await?, (set(&[]), set(&wanted)));
    let problems = rig.meltemi.get("/debug/problems").await?.text()?;
    assert!(
        problems.contains("service account edge/poor may not list secrets of its namespace"),
        "{problems}"
    );
    // One that proves nothing.
    let mut plain = Delta::open(&Place::host(), rig.meltemi.grpc, gateway("edge", "gw")).await?;
    plain.subscribe(types::SECRET, &wanted)?;
    assert_eq!(secrets(&mut plain).await?, (set(&[]), set(&wanted)));
    drop((plain, poor));
    // No page and no log shows a key.
    wait::until_true("only the gateway is connected", SOON, async || {
        Ok(rig.meltemi.get("/debug/connections").await?.json()?["totalClients"] == 1)
    })
    .await?;
    let shown = rig.shown().await?;
    for trace in [&pair, &next].into_iter().flat_map(traces) {
        let place = shown.iter().find(|(_, text)| text.contains(&trace)).map(|(place, _)| place);
        ensure!(place.is_none(), "{place:?} shows a key");
    }
    // Where it would stand says so.
    ensure!(
        shown.iter().any(|(_, text)| text.contains("W3JlZGFjdGVkXQ==")),
        "the secret is not shown at all"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_of_whom_its_token_says_or_it_is_none() -> Result<()> {
    let rig = Rig::start(&[]).await?;
    let good = rig.credentials("edge", "gw", "istio-ca").await?;
    let refusal = async |node: Node, credentials: &Credentials| {
        let outcome = match rig.open(node, credentials).await {
            Err(e) => Err(e),
            Ok(mut stream) => {
                stream.subscribe(types::CLUSTER, &["*"])?;
                stream.next(SOON).await
            }
        };
        Ok::<_, anyhow::Error>(outcome.err().map(|e| format!("{e:#}")).unwrap_or_default())
    };
    let nobody = Credentials { token: None, ..good.clone() };
    let forged =
        Credentials { token: Some(format!("{}x", good.token.clone().unwrap_or_default())), ..good.clone() };
    let elsewhere = rig.credentials("edge", "gw", "https://kubernetes.default.svc").await?;
    for (what, credentials) in [("none", nobody), ("forged", forged), ("for another audience", elsewhere)] {
        let text = refusal(gateway("edge", "gw"), &credentials).await?;
        assert!(text.contains("authentication failure"), "{what}: {text}");
    }
    for (namespace, name) in [("other", "gw"), ("edge", "poor")] {
        let text = refusal(gateway(namespace, name), &good).await?;
        assert!(text.contains("authorization failed: no identities"), "{namespace}/{name}: {text}");
    }
    assert_eq!(refusal(gateway("edge", "gw"), &good).await?, "");
    Ok(())
}

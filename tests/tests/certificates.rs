//! The certificate authority, asked as agents do: over TLS, with tokens of a real apiserver.

use std::{collections::BTreeSet, fs, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{ConfigMap, Pod, Secret, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use meltemi_api::istio::v1::auth::{
    IstioCertificateRequest, istio_certificate_service_client::IstioCertificateServiceClient,
};
use meltemi_tests::{
    apiserver::ApiServer,
    meltemi::{Meltemi, Source},
    objects::Objects,
    scratch::Scratch,
    wait,
    workload::{self, Workload},
};
use rcgen::{CertificateParams, KeyPair, SanType};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tonic::{
    Code, Request, Status,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

const SOON: Duration = Duration::from_secs(20);
const NAME: &str = "istiod.istio-system.svc";

/// What a client asks with.
#[derive(Clone, Default)]
struct Asks {
    token: Option<String>,
    identity: Option<(String, String)>,
    csr: Option<String>,
}

struct Agent {
    at: SocketAddr,
    roots: String,
}

impl Agent {
    async fn ask(&self, asks: Asks) -> Result<Vec<String>, Status> {
        let roots = Certificate::from_pem(&self.roots);
        let mut tls = ClientTlsConfig::new().domain_name(NAME).ca_certificate(roots);
        if let Some((certificate, key)) = &asks.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let unreachable = |e: tonic::transport::Error| Status::unavailable(format!("{e:?}"));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.at)).and_then(|e| e.tls_config(tls));
        let channel = endpoint.map_err(unreachable)?.connect().await.map_err(unreachable)?;
        let csr = asks.csr.unwrap_or_else(|| csr().1);
        let request = IstioCertificateRequest { csr, validity_duration: 3600, metadata: None };
        let mut request = Request::new(request);
        if let Some(token) = asks.token {
            let value = format!("Bearer {token}").parse().map_err(|_| Status::internal("no header"))?;
            request.metadata_mut().insert("authorization", value);
        }
        let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await?;
        Ok(answer.into_inner().cert_chain)
    }

    async fn by(&self, token: &str) -> Result<Vec<String>, Status> {
        self.ask(Asks { token: Some(token.to_owned()), ..Asks::default() }).await
    }
}

fn csr() -> (KeyPair, String) {
    let key = KeyPair::generate().expect("randomness");
    let mut params = CertificateParams::default();
    let admin = "spiffe://cluster.local/ns/kube-system/sa/admin".try_into().expect("ASCII");
    params.subject_alt_names = vec![SanType::URI(admin)];
    let text = params.serialize_request(&key).and_then(|r| r.pem()).expect("a request");
    (key, text)
}

fn identities(pem: &str) -> Result<Vec<String>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    meltemi_ca::uris(&CertificateDer::from_pem_slice(pem.as_bytes())?).map_err(anyhow::Error::msg)
}

struct Stage {
    client: Client,
    source: Source,
    scratch: Scratch,
    account: String,
    _apiserver: ApiServer,
}

impl Stage {
    async fn open() -> Result<Self> {
        let apiserver = ApiServer::start().await?;
        let client = apiserver.client().await?;
        let objects = Objects::new(client.clone()).await?;
        let pod = Workload::new("shop", "web", "v1", [10, 244, 1, 1]).pod();
        let account = pod["spec"]["serviceAccountName"].as_str().context("no account")?.to_owned();
        let meta = json!({"name": account, "namespace": "shop"});
        objects.apply(&[workload::namespace("shop"), workload::namespace("istio-system")]).await?;
        objects
            .apply(&[json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}), pod])
            .await?;
        let source = Source::Kubernetes(apiserver.kubeconfig().to_owned());
        Ok(Self { client, source, scratch: Scratch::new()?, account, _apiserver: apiserver })
    }

    async fn meltemi(&self, name: &str, env: &[(&str, &str)]) -> Result<(Meltemi, Agent)> {
        let dir = self.scratch.join(name);
        fs::create_dir_all(&dir)?;
        let (meltemi, at) = Meltemi::start_secure(&self.source, &dir, env).await?;
        let roots = self.root_map("shop").await?;
        let agent = Agent { at, roots };
        Ok((meltemi, agent))
    }

    /// What a namespace is told to trust.
    async fn root_map(&self, namespace: &str) -> Result<String> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        wait::until("the roots are in the namespace", SOON, async || {
            let map = maps.get_opt("istio-ca-root-cert").await?;
            let text = map.and_then(|m| m.data?.remove("root-cert.pem"));
            Ok(text.filter(|t| t.contains("BEGIN")))
        })
        .await
    }

    async fn pod(&self) -> Result<Pod> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), "shop");
        pods.list(&Default::default()).await?.items.pop().context("no Pod")
    }

    /// A token of the Pod's service account, bound to the Pod.
    async fn token(&self, audience: &str) -> Result<String> {
        let pod = self.pod().await?.metadata;
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid});
        let spec = json!({"audiences": [audience], "expirationSeconds": 600, "boundObjectRef": bound});
        let request: TokenRequest = serde_json::from_value(json!({"spec": spec}))?;
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), "shop");
        let answer = accounts.create_token_request(&self.account, &PostParams::default(), &request).await?;
        answer.status.and_then(|s| s.token).context("no token")
    }

    async fn secret(&self) -> Result<Secret> {
        Ok(Api::<Secret>::namespaced(self.client.clone(), "istio-system").get("istio-ca-secret").await?)
    }
}

fn code(answer: Result<Vec<String>, Status>) -> Option<Code> {
    answer.err().map(|s| s.code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_for_those_who_prove_who_they_are() -> Result<()> {
    let stage = Stage::open().await?;
    let (_meltemi, agent) = stage.meltemi("a", &[]).await?;
    let token = stage.token("istio-ca").await?;

    // The request asks for another's name; the answer has the caller's.
    let (key, request) = csr();
    let asks = Asks { token: Some(token.clone()), csr: Some(request), ..Asks::default() };
    let chain = agent.ask(asks).await?;
    assert_eq!(chain.len(), 2, "leaf, root");
    assert_eq!(chain[1], agent.roots);
    let own = identities(&chain[0])?;
    assert_eq!(own, [format!("spiffe://cluster.local/ns/shop/sa/{}", stage.account)]);

    // With that certificate no token is needed.
    let identity = Some((chain[0].clone(), key.serialize_pem()));
    let renewed = agent.ask(Asks { identity, ..Asks::default() }).await?;
    assert_eq!(identities(&renewed[0])?, own);

    let other = stage.token("someone-else").await?;
    assert_eq!(code(agent.ask(Asks::default()).await), Some(Code::Unauthenticated), "no token");
    assert_eq!(code(agent.by("x.y.z").await), Some(Code::Unauthenticated), "no JWT");
    assert_eq!(code(agent.by(&other).await), Some(Code::Unauthenticated), "another audience");
    let bad = |csr: String| Asks { token: Some(token.clone()), csr: Some(csr), ..Asks::default() };
    assert_eq!(code(agent.ask(bad("x".into())).await), Some(Code::InvalidArgument), "no CSR");
    assert_eq!(code(agent.ask(bad("x".repeat(100_000))).await), Some(Code::InvalidArgument), "100 KB");
    assert_eq!(code(agent.ask(bad("x".repeat(1 << 20))).await), Some(Code::OutOfRange), "1 MB");

    // A token ends with its Pod. What the apiserver said before stands for ten seconds at most.
    let pods = Api::<Pod>::namespaced(stage.client.clone(), "shop");
    let name = stage.pod().await?.metadata.name.context("no name")?;
    pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    wait::until_true("the token of a Pod that is gone is refused", Duration::from_secs(40), async || {
        Ok(code(agent.by(&token).await) == Some(Code::Unauthenticated))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_made_once_and_spread_to_all_namespaces() -> Result<()> {
    let stage = Stage::open().await?;
    let (first, agent) = stage.meltemi("a", &[]).await?;
    let secret = stage.secret().await?;
    assert_eq!(secret.type_.as_deref(), Some("istio.io/ca-root"));
    let keys: BTreeSet<String> = secret.data.iter().flatten().map(|(name, _)| name.clone()).collect();
    let expected = ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "key.pem", "root-cert.pem"];
    assert_eq!(keys, expected.map(String::from).into());

    // Whoever changes a ConfigMap, it is put back; new namespaces get theirs.
    let maps = Api::<ConfigMap>::namespaced(stage.client.clone(), "shop");
    let edit = json!({"data": {"root-cert.pem": "nonsense"}});
    maps.patch("istio-ca-root-cert", &PatchParams::default(), &Patch::Merge(&edit)).await?;
    assert_eq!(stage.root_map("shop").await?, agent.roots);
    Objects::new(stage.client.clone()).await?.apply(&[workload::namespace("later")]).await?;
    assert_eq!(stage.root_map("later").await?, agent.roots);

    // A second replica goes on with the same root, whatever kind it would make itself.
    let (_second, other) = stage.meltemi("b", &[("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE", "2048")]).await?;
    drop(first);
    assert_eq!(other.roots, agent.roots);
    assert_eq!(stage.secret().await?.data, secret.data);
    let chain = other.by(&stage.token("istio-ca").await?).await?;
    assert_eq!(chain[1], agent.roots);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_of_istiod_is_taken_over_as_it_is() -> Result<()> {
    let stage = Stage::open().await?;
    let data = fixture(&stage.scratch)?;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "istio-ca-secret"}, "type": "istio.io/ca-root", "stringData": data,
    }))?;
    let secrets = Api::<Secret>::namespaced(stage.client.clone(), "istio-system");
    let written = secrets.create(&PostParams::default(), &secret).await?;
    let (meltemi, agent) = stage.meltemi("a", &[]).await?;
    assert_eq!(agent.roots, data["ca-cert.pem"].as_str().unwrap_or_default());
    let chain = agent.by(&stage.token("istio-ca").await?).await?;
    assert_eq!(chain[1], agent.roots);
    assert_eq!(stage.secret().await?.data, written.data, "nothing is written anew");
    let page = meltemi.get("/debug/ca").await?.json()?;
    assert_eq!((&page["source"], &page["problem"]), (&json!("SelfSigned"), &json!(null)));
    Ok(())
}

/// What istiod makes: RSA of 2048 bits in PKCS#1, the trust domain as organization, keyCertSign alone.
fn fixture(scratch: &Scratch) -> Result<Value> {
    let (key, certificate) = (scratch.join("key.pem"), scratch.join("cert.pem"));
    let openssl = |args: &[&str]| -> Result<()> {
        let done = std::process::Command::new("openssl").args(args).output().context("openssl")?;
        ensure!(done.status.success(), "openssl: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    };
    let (key_path, path) = (key.to_str().context("UTF-8")?, certificate.to_str().context("UTF-8")?);
    openssl(&["genrsa", "-traditional", "-out", key_path, "2048"])?;
    let config = scratch.join("openssl.cnf");
    let text = "[req]\ndistinguished_name=n\nprompt=no\nx509_extensions=e\n[n]\nO=cluster.local\n\
                [e]\nbasicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n";
    fs::write(&config, text)?;
    let config = config.to_str().context("UTF-8")?;
    openssl(&["req", "-x509", "-new", "-key", key_path, "-days", "3650", "-config", config, "-out", path])?;
    let (certificate, key) = (fs::read_to_string(certificate)?, fs::read_to_string(key)?);
    ensure!(key.contains("BEGIN RSA PRIVATE KEY"), "not PKCS#1");
    Ok(json!({
        "ca-cert.pem": certificate, "ca-key.pem": key, "cert-chain.pem": "", "key.pem": "", "root-cert.pem": "",
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_nobody_out() -> Result<()> {
    let stage = Stage::open().await?;
    let (meltemi, agent) = stage.meltemi("a", &[]).await?;
    let token = stage.token("istio-ca").await?;
    agent.by(&token).await?;
    let process = meltemi.process.pid();
    let before = memory(process)?;
    let mut silent = Vec::new();
    for _ in 0..10_000 {
        silent.push(TcpStream::connect(agent.at).await?);
    }
    agent.by(&token).await?;
    let grown = memory(process)?.saturating_sub(before);
    eprintln!("10,000 silent connections took {grown} KiB");
    ensure!(grown < 64 * 1024, "{grown} KiB");
    let open = fs::read_dir(format!("/proc/{process}/fd"))?.count();
    ensure!(open < 2_500, "{open} descriptors are open");
    Ok(())
}

/// Resident memory, in KiB.
fn memory(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_change_by_way_of_a_bundle_of_both_while_agents_ask() -> Result<()> {
    let stage = Stage::open().await?;
    let folder = stage.scratch.join("cacerts");
    fs::create_dir_all(&folder)?;
    let (a, b) = (Root::new()?, Root::new()?);
    let both = format!("{}{}", a.pem, b.pem);
    a.plug_in(&folder, &a.pem)?;
    let (meltemi, agent) = stage.meltemi("a", &[("ROOT_CA_DIR", folder.to_str().context("UTF-8")?)]).await?;
    assert_eq!(agent.roots, a.pem);
    let token = stage.token("istio-ca").await?;
    // A jump from A to B is refused, and A stays in force.
    b.plug_in(&folder, &b.pem)?;
    wait::until("the refusal is shown", SOON, async || {
        let page = meltemi.get("/debug/ca").await?.json()?;
        Ok(page["problem"].as_str().map(str::to_owned))
    })
    .await?;
    assert_eq!(agent.by(&token).await?.last(), Some(&a.pem));
    let (mut trusted, mut now) = (agent.roots, &a);
    for (signer, roots) in [(&a, &both), (&b, &both), (&b, &b.pem)] {
        signer.plug_in(&folder, roots)?;
        wait::until_true("the roots are told", SOON, async || {
            // Agents trust what they were told last, and reach the control plane at every step.
            let agent = Agent { at: agent.at, roots: trusted.clone() };
            let chain = agent.by(&token).await?;
            trusted = chain.last().cloned().unwrap_or_default();
            Ok(trusted == *roots)
        })
        .await?;
        wait::until_true("namespaces are told", SOON, async || Ok(stage.root_map("shop").await? == *roots))
            .await?;
        now = signer;
    }
    assert_eq!(trusted, now.pem);
    Ok(())
}

/// A root that an operator has.
struct Root {
    pem: String,
    key: String,
}

impl Root {
    fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        // PEM as the control plane writes it, for comparing.
        Ok(Self { pem: params.self_signed(&key)?.pem().replace("\r\n", "\n"), key: key.serialize_pem() })
    }

    /// Puts it into a folder as Kubernetes would: all files change at once.
    fn plug_in(&self, folder: &std::path::Path, roots: &str) -> Result<()> {
        let next = folder.join("..next");
        fs::create_dir_all(&next)?;
        let files = [("ca-cert.pem", &*self.pem), ("ca-key.pem", &self.key), ("cert-chain.pem", &self.pem)];
        for (name, text) in files.into_iter().chain([("root-cert.pem", roots)]) {
            fs::write(next.join(name), text)?;
            fs::rename(next.join(name), folder.join(name))?;
        }
        Ok(())
    }
}

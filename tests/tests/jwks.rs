//! Keys of JWT issuers: fetched, kept, and refused.

use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_tests::{
    bootstrap,
    issuer::Issuer,
    meltemi::{Meltemi, Source},
    netns::Place,
    scratch::Scratch,
    state::State,
    tls::Pair,
    wait,
    workload::{self, Port, Workload},
    xds_client::{Delta, node, types},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);
const HTTP: &[Port<'_>] = &[("http", 80, 8080)];
/// Lets the control plane dial this host, and ask again soon.
const LOCAL: [(&str, &str); 2] =
    [("ALLOWED_CIDRS_IN_JWKS_URIS", "127.0.0.0/8,::1/128"), ("PILOT_JWT_PUB_KEY_REFRESH_INTERVAL", "300ms")];

fn keys(id: &str) -> String {
    json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": id, "x": "eA", "y": "eQ"}]}).to_string()
}

/// A policy whose name is the path that its keys come from.
fn policy(name: &str, rule: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"jwtRules": [rule]},
    })
}

/// A control plane that is fed from files, and the stream of a sidecar.
struct Rig {
    scratch: Scratch,
    state: State,
    issuer: Issuer,
}

impl Rig {
    async fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let state = State::new(scratch.path())?;
        let server = server();
        state.write(
            "cluster",
            &[
                workload::namespace("shop"),
                workload::service("shop", "server", [10, 96, 1, 1], HTTP),
                server.pod(),
                workload::slice("shop", "server", HTTP, &[&server]),
            ],
        )?;
        Ok(Self { scratch, state, issuer: Issuer::start().await? })
    }

    async fn start(&self, env: &[(&str, &str)]) -> Result<Meltemi> {
        let source = Source::Files { dir: self.state.path().into(), mesh: String::new() };
        Meltemi::start_with(&source, self.scratch.path(), env).await
    }
}

fn server() -> Workload {
    Workload::new("shop", "server", "v1", [10, 244, 1, 2])
}

/// Waits until the sidecar of the server is sent listeners with this text, and returns them.
async fn until_listeners_have(stream: &mut Delta, text: &str) -> Result<String> {
    wait::until(format!("listeners with {text:?}"), SOON, async || {
        let Some(response) = stream.next(Duration::from_secs(5)).await? else { return Ok(None) };
        stream.ack(&response.type_url, &response.nonce)?;
        let bodies = response.resources.iter().filter_map(|r| r.resource.as_ref());
        let all: String = bodies.map(|any| String::from_utf8_lossy(&any.value).into_owned()).collect();
        Ok(all.contains(text).then_some(all))
    })
    .await
}

async fn until_problem(meltemi: &Meltemi, policy: &str, text: &str) -> Result<()> {
    wait::until_true(&format!("{policy}: {text}"), SOON, async || {
        let problems = meltemi.get("/debug/problems").await?.json()?;
        let mut problems = problems.as_array().context("a list")?.iter();
        let object = format!("shop/{policy}");
        Ok(problems.any(|p| {
            p["object"] == *object && p["message"].as_str().is_some_and(|message| message.contains(text))
        }))
    })
    .await
}

async fn listeners(meltemi: &Meltemi) -> Result<Delta> {
    let mut stream =
        Delta::open(&Place::host(), meltemi.grpc, node(&bootstrap::node(&server().pod(), None))).await?;
    stream.subscribe(types::LISTENER, &["*"])?;
    Ok(stream)
}

async fn counted(meltemi: &Meltemi, outcome: &str) -> Result<u64> {
    let text = meltemi.get("/metrics").await?.text()?;
    let name = format!("pilot_jwks_resolver_network_fetch_{outcome}_total ");
    let value = text.lines().find_map(|l| l.strip_prefix(&name)).context("no such metric")?;
    Ok(value.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_there_from_the_first_and_follow_their_issuer_and_stay_when_it_is_gone() -> Result<()> {
    let rig = Rig::new().await?;
    rig.issuer.serve(Some(&keys("first")));
    rig.state.write(
        "config",
        &[
            policy("keys", json!({"issuer": "a", "jwksUri": rig.issuer.url("/keys")})),
            policy("moved", json!({"issuer": "b", "jwksUri": rig.issuer.url("/moved")})),
            policy("openid", json!({"issuer": rig.issuer.url("/")})),
        ],
    )?;
    let mut meltemi = rig.start(&LOCAL).await?;
    let mut stream = listeners(&meltemi).await?;
    let first = until_listeners_have(&mut stream, "jwt_authn").await?;
    assert_eq!(first.matches("first").count() % 3, 0, "each of the three rules has the keys: {first}");
    assert!(first.contains("first"), "the first listeners have the keys already");
    rig.issuer.serve(Some(&keys("second")));
    let second = until_listeners_have(&mut stream, "second").await?;
    assert!(second.len() > 100);
    rig.issuer.serve(None);
    until_problem(&meltemi, "keys", "the answer has status 503; the keys of before stay in force").await?;
    let problems = meltemi.get("/debug/problems").await?.text()?;
    assert!(!problems.contains("the secret reason"), "what a server says is nobody's: {problems}");
    assert!(counted(&meltemi, "success").await? >= 6 && counted(&meltemi, "fail").await? >= 1);
    // Once it is back, it is followed again.
    rig.issuer.serve(Some(&keys("third")));
    until_listeners_have(&mut stream, "third").await?;
    meltemi.process.check()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_misbehave_are_cut_off_and_named() -> Result<()> {
    let rig = Rig::new().await?;
    let paths = [
        ("big", "the answer is longer than 1048576 bytes"),
        ("slow", "there was no whole answer within 1s"),
        ("elsewhere", "it redirects to localhost:1, which is another server"),
        ("loop", "there are more than 3 redirects"),
        ("text", "what is served is no JSON"),
    ];
    let of = |path: &str| {
        let rule = json!({"issuer": path, "jwksUri": rig.issuer.url(&format!("/{path}")), "timeout": "1s"});
        policy(path, rule)
    };
    let mut policies: Vec<Value> = paths.iter().map(|(path, _)| of(path)).collect();
    policies.push(policy("good", json!({"issuer": "good", "jwksUri": rig.issuer.url("/keys")})));
    rig.issuer.serve(Some(&keys("good")));
    rig.state.write("config", &policies)?;
    let meltemi = rig.start(&LOCAL).await?;
    for (path, problem) in paths {
        until_problem(&meltemi, path, problem).await?;
        until_problem(&meltemi, path, "requests with tokens of this issuer are refused").await?;
    }
    // The others have theirs, and those without are verified by keys that nobody has.
    let sent = until_listeners_have(&mut listeners(&meltemi).await?, "jwt_authn").await?;
    assert!(sent.contains(r#""kid":"good""#) && sent.contains("0xObjM0UvS_oaazj"), "{sent}");
    assert!(!sent.contains("hello"), "{sent}");
    rig.state.write("config", &[])?;
    wait::until_true("what is gone is no problem", SOON, async || {
        Ok(meltemi.get("/debug/problems").await?.json()? == json!([]))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_is_believed_only_if_a_root_vouches_for_it() -> Result<()> {
    let (trusted, rig) = (Pair::new("localhost")?, Rig::new().await?);
    let issuer = Issuer::start_tls(&trusted).await?;
    let impostor = Issuer::start_tls(&Pair::new("localhost")?).await?;
    issuer.serve(Some(&keys("genuine")));
    impostor.serve(Some(&keys("forged")));
    rig.state.write(
        "config",
        &[
            policy("genuine", json!({"issuer": "a", "jwksUri": issuer.url("/keys")})),
            policy("forged", json!({"issuer": "b", "jwksUri": impostor.url("/keys")})),
        ],
    )?;
    let roots = rig.scratch.join("roots.pem");
    std::fs::write(&roots, &trusted.certificate)?;
    let roots = roots.to_str().context("a path")?;
    let env = [LOCAL[0], LOCAL[1], ("SSL_CERT_FILE", roots)];
    let meltemi = rig.start(&env).await?;
    until_problem(&meltemi, "forged", "TLS: invalid peer certificate").await?;
    let sent = until_listeners_have(&mut listeners(&meltemi).await?, "genuine").await?;
    assert!(!sent.contains("forged"), "{sent}");
    drop(meltemi);
    let env = [LOCAL[0], LOCAL[1], ("JWKS_RESOLVER_INSECURE_SKIP_VERIFY", "true")];
    let meltemi = rig.start(&env).await?;
    until_listeners_have(&mut listeners(&meltemi).await?, "forged").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_planes_own_host_is_not_dialled() -> Result<()> {
    let rig = Rig::new().await?;
    rig.issuer.serve(Some(&keys("local")));
    let port = rig.issuer.address.port();
    let hosts = [
        ("loopback", format!("127.0.0.1:{port}")),
        ("named", format!("localhost:{port}")),
        ("mapped", format!("[::ffff:127.0.0.1]:{port}")),
        ("any", format!("0.0.0.0:{port}")),
        ("metadata", "169.254.169.254".to_owned()),
        ("private", "10.1.2.3".to_owned()),
    ];
    let of = |(name, host): &(&str, String)| {
        policy(name, json!({"issuer": name, "jwksUri": format!("http://{host}/keys")}))
    };
    rig.state.write("config", &hosts.iter().map(of).collect::<Vec<_>>())?;
    let meltemi = rig.start(&[]).await?;
    for (name, _) in &hosts {
        until_problem(&meltemi, name, "which is not dialled").await?;
    }
    assert_eq!(rig.issuer.asked(), 0);
    Ok(())
}

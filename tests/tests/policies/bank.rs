//! The mesh of the table, its callers, and how a row is tried.

use std::{fmt, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use hyper::Method;
use meltemi_tests::{
    http::Ask,
    mesh::{Member, Mesh},
    netns::Pod,
    process::{Launch, Process},
    setup, wait,
    workload::{self, Port, Workload},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const CLUSTER_IP: [u8; 4] = [10, 96, 1, 1];
/// The address of the server's Pod.
pub const SERVER: [u8; 4] = [10, 244, 1, 2];
const PORTS: &[Port<'_>] = &[("http", 80, 8080), ("http-admin", 81, 8081), ("tcp", 90, 9000)];
const AUTHORIZER: u16 = 8000;
/// How long a change may take to reach a proxy, and a row to come true.
const SOON: Duration = Duration::from_secs(5);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// `cluster.local/ns/bank/sa/teller` at 10.244.1.1.
    Teller,
    /// `cluster.local/ns/guest/sa/visitor` at 10.244.2.1.
    Visitor,
    /// Nobody that the mesh knows, at 10.244.9.9; asks the Pod itself.
    Outsider,
}

/// What a caller asks of the server.
#[derive(Clone, Debug)]
pub enum Request {
    /// A request to a port of the service.
    Http(u16, Ask),
    /// A connection to port 90, where the server echoes.
    Tcp,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// 200, or an echo.
    Allowed,
    /// Another status.
    Status(u16),
    /// The connection ends without an answer.
    Refused,
    /// 200, and the server saw a request header that holds this text.
    Saw(&'static str, &'static str),
    /// 200, and the server saw no such request header.
    SawNo(&'static str),
}

/// Denied by a policy.
pub const FORBIDDEN: Want = Want::Status(403);
/// A token is not good.
pub const UNAUTHORIZED: Want = Want::Status(401);

/// What it shows, who asks, what, and what comes of it.
#[derive(Debug)]
pub struct Row(pub &'static str, pub Caller, pub Request, pub Want);

/// A set of policies, and what they decide.
#[derive(Debug)]
pub struct Stage {
    /// What they are.
    pub name: &'static str,
    /// All policies of the mesh.
    pub policies: Vec<Value>,
    /// What they decide.
    pub rows: Vec<Row>,
}

/// `GET path` at port 80, as `server.bank`.
pub fn get(path: &str) -> Request {
    ask(Method::GET, 80, "server.bank", path)
}

/// Any request.
pub fn ask(method: Method, port: u16, host: &str, path: &str) -> Request {
    Request::Http(port, Ask { host: host.into(), ..Ask::new(method, path) })
}

impl Request {
    /// Adds a request header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Http(_, ask) = &mut self {
            ask.headers.push((name, value.into()));
        }
        self
    }

    /// Asks at another port of the service.
    pub fn at(mut self, service_port: u16) -> Self {
        if let Self::Http(port, _) = &mut self {
            *port = service_port;
        }
        self
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(port, ask) => write!(f, "{} {}:{port}{}", ask.method, ask.host, ask.path),
            Self::Tcp => f.write_str("TCP connection"),
        }
    }
}

/// An AuthorizationPolicy of the server.
pub fn policy(name: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"app": "server"}});
    object("AuthorizationPolicy", "bank", name, spec)
}

/// A policy of any kind and namespace.
pub fn object(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// The mesh, running.
pub struct Bank {
    mesh: Mesh,
    server: Member,
    teller: Member,
    visitor: Member,
    outsider: Pod,
    in_force: Vec<Value>,
    _authorizer: (Pod, Process),
}

impl Bank {
    /// Brings it up.
    pub async fn open(mesh_config: &str) -> Result<Self> {
        let mut mesh = Mesh::new()?;
        let server = Workload::new("bank", "server", "v1", SERVER);
        let teller = Workload::new("bank", "teller", "v1", [10, 244, 1, 1]);
        let visitor = Workload::new("guest", "visitor", "v1", [10, 244, 2, 1]);
        let authorizer = Workload::new("bank", "authorizer", "v1", [10, 244, 1, 9]);
        let mut plain = authorizer.pod();
        if let Some(labels) = plain["metadata"]["labels"].as_object_mut() {
            labels.remove("security.istio.io/tlsMode");
        }
        let http: &[Port<'_>] = &[("http", 80, 8080)];
        let authorize: &[Port<'_>] = &[("http", 8000, AUTHORIZER), ("grpc", 9000, AUTHORIZER)];
        mesh.state.write(
            "cluster",
            &[
                workload::namespace("bank"),
                workload::namespace("guest"),
                workload::namespace("istio-system"),
                workload::service("bank", "server", CLUSTER_IP, PORTS),
                workload::slice("bank", "server", PORTS, &[&server]),
                workload::service("bank", "teller", [10, 96, 1, 2], http),
                workload::slice("bank", "teller", http, &[&teller]),
                workload::service("guest", "visitor", [10, 96, 2, 1], http),
                workload::slice("guest", "visitor", http, &[&visitor]),
                workload::service("bank", "authorizer", [10, 96, 1, 9], authorize),
                workload::slice("bank", "authorizer", authorize, &[&authorizer]),
                workload::service("bank", "nobody", [10, 96, 1, 10], authorize),
                server.pod(),
                teller.pod(),
                visitor.pod(),
                plain,
                connections(),
            ],
        )?;
        mesh.start_with(mesh_config).await?;
        let pod = mesh.outsider("authorizer", authorizer.address)?;
        let process = Launch::new("authorizer", setup::program("meltemi-test-app")?)
            .args(["authorize", "--port", &AUTHORIZER.to_string()])
            .at(&pod.place)
            .start(mesh.dir())?;
        let place = pod.place.clone();
        wait::until_true("the authorizer listens", SOON, async || {
            Ok(place.connect(([127, 0, 0, 1], AUTHORIZER).into()).await.is_ok())
        })
        .await?;
        Ok(Self {
            server: mesh.sidecar(&server, &[8080, 8081], &[9000]).await?,
            teller: mesh.sidecar(&teller, &[8080], &[]).await?,
            visitor: mesh.sidecar(&visitor, &[8080], &[]).await?,
            outsider: mesh.outsider("outsider", [10, 244, 9, 9])?,
            mesh,
            in_force: Vec::new(),
            _authorizer: (pod, process),
        })
    }

    /// Puts a stage's policies in force and tries its rows; tells of those that are wrong.
    pub async fn play(&mut self, stage: Stage) -> Result<Vec<String>> {
        let Stage { name, policies, rows } = stage;
        self.enforce(policies).await.context(name)?;
        let tried = join_all(rows.iter().map(|row| self.holds(row))).await;
        let wrong = rows.iter().zip(tried).filter_map(|(row, outcome)| Some((row, outcome.err()?)));
        Ok(wrong
            .map(|(Row(what, caller, request, want), error)| {
                format!("{name}: {what}: {caller:?}, {request}: expected {want:?}: {error:#}")
            })
            .collect())
    }

    /// Fails if a proxy has rejected anything.
    pub async fn nothing_rejected(&self) -> Result<()> {
        for member in [&self.server, &self.teller, &self.visitor] {
            let (name, rejected) = (&member.pod.name, member.envoy.rejected().await?);
            ensure!(rejected == 0, "{name} rejected {rejected}:\n{}", member.envoy.process.log_tail(20));
        }
        Ok(())
    }

    /// Puts policies in force, and waits until the server's proxy has taken the listeners that follow from them.
    async fn enforce(&mut self, policies: Vec<Value>) -> Result<()> {
        if policies == self.in_force {
            return Ok(());
        }
        let (before, _) = self.listeners().await?;
        self.mesh.state.write("policies", &policies)?;
        wait::until_true("new listeners", SOON, async || {
            let (updates, warming) = self.listeners().await?;
            Ok(updates > before && warming == 0)
        })
        .await?;
        self.in_force = policies;
        Ok(())
    }

    /// How often the server's proxy has taken listeners, and how many it does not use yet. (The version that it shows
    /// of a listener is not that of an update in place.)
    async fn listeners(&self) -> Result<(u64, u64)> {
        let names = ["listener_manager.lds.update_success", "listener_manager.total_listeners_warming"];
        let stats = self.server.envoy.stats("^listener_manager").await?;
        let [updates, warming] = names.map(|name| stats.get(name).copied());
        Ok((updates.context("no updates")?, warming.context("no gauge")?))
    }

    /// A change may have reached the server's proxy before the caller's, and one of its threads before another: what
    /// counts is what it comes to.
    async fn holds(&self, Row(_, caller, request, want): &Row) -> Result<()> {
        wait::until_true("its outcome", SOON, async || {
            let found = self.attempt(*caller, request, want).await?;
            ensure!(found == *want, "found {found:?}");
            Ok(true)
        })
        .await
    }

    async fn attempt(&self, caller: Caller, request: &Request, want: &Want) -> Result<Want> {
        let pod = match caller {
            Caller::Teller => &self.teller.pod,
            Caller::Visitor => &self.visitor.pod,
            Caller::Outsider => &self.outsider,
        };
        let to = |port: u16| -> Result<SocketAddr> {
            let (_, _, target) = PORTS.iter().find(|p| p.1 == port).context("a port of the service")?;
            // Nobody tells an outsider what a cluster IP means.
            Ok(if caller == Caller::Outsider { (SERVER, *target) } else { (CLUSTER_IP, port) }.into())
        };
        match request {
            Request::Tcp => {
                let echoed = echoed(pod.place.connect(to(90)?).await?);
                let echoed = tokio::time::timeout(SOON, echoed).await.context("neither answer nor end")?;
                Ok(if echoed.unwrap_or(false) { Want::Allowed } else { Want::Refused })
            }
            Request::Http(port, ask) => {
                let Ok(answer) = ask.clone().send(&pod.place, to(*port)?).await else {
                    return Ok(Want::Refused);
                };
                if answer.status != 200 {
                    return Ok(Want::Status(answer.status.as_u16()));
                }
                let body = answer.json()?;
                let seen = |name: &str| body["headers"][name].as_str();
                Ok(match want {
                    Want::Saw(name, text) if seen(name).is_some_and(|v| v.contains(text)) => want.clone(),
                    Want::SawNo(name) if seen(name).is_none() => want.clone(),
                    _ => Want::Allowed,
                })
            }
        }
    }
}

/// Whether the server answers what it is sent. Envoy judges a connection when its client first sends something, so the
/// server's greeting says nothing yet.
async fn echoed(mut stream: TcpStream) -> Result<bool> {
    stream.write_all(b"ping\n").await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        if line == "ping" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A connection for each request: one that is open when a policy changes ends by the old one, as Envoy drains it.
fn connections() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "server", "namespace": "bank"},
        "spec": {"host": "server", "trafficPolicy": {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}},
    })
}

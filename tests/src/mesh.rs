//! A mesh in namespaces: the control plane in file mode, and members with a stock Envoy each.

use std::{net::Ipv4Addr, path::Path};

use anyhow::{Context, Result};

use crate::{
    agent,
    app::{App, Ports},
    bootstrap,
    envoy::Envoy,
    interception::intercept,
    meltemi::{Meltemi, Source},
    netns::{HUB, Network, Place, Pod},
    root::Root,
    scratch::Scratch,
    sds::Agent,
    state::State,
    workload::{self, Workload},
};

/// A mesh. Its state is written by the test.
pub struct Mesh {
    /// The control plane; `None` while it is down.
    pub meltemi: Option<Meltemi>,
    /// What the control plane reads.
    pub state: State,
    /// Logs and data.
    pub scratch: Scratch,
    /// Hosts that the members started from now on find by DNS, beside `localhost`.
    pub hosts: Vec<(&'static str, Ipv4Addr)>,
    network: Network,
    root: Root,
}

/// A Pod of the mesh. Its parts end in the order of their declaration.
#[derive(Debug)]
pub struct Member {
    /// Its Envoy.
    pub envoy: Envoy,
    /// Its server, unless it is a gateway.
    pub app: Option<App>,
    /// Where it runs.
    pub pod: Pod,
    _agent: Option<Agent>,
}

impl Member {
    /// How many requests with a key its server has seen.
    pub async fn count(&self, key: &str) -> Result<u64> {
        self.app.as_ref().context("a gateway has no server")?.count(key).await
    }
}

impl Mesh {
    /// Makes a network and a state that has a node only. The control plane is not started yet.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let state = State::new(scratch.path())?;
        state.write("node", &[workload::node()])?;
        let (network, root) = (Network::new()?, Root::new()?);
        Ok(Self { meltemi: None, state, hosts: Vec::new(), network, root, scratch })
    }

    /// Starts the control plane and waits until it is ready.
    pub async fn start(&mut self) -> Result<()> {
        self.start_with("{}\n").await
    }

    /// As [`Mesh::start`], with a mesh configuration (YAML).
    pub async fn start_with(&mut self, config: &str) -> Result<()> {
        let source = Source::Files { dir: self.state.path().into(), mesh: config.into() };
        self.meltemi = Some(Meltemi::start_in(&self.network, &source, self.dir()).await?);
        Ok(())
    }

    /// Adds a Pod with a server on these ports and a sidecar, and waits until the sidecar serves.
    pub async fn sidecar(&self, workload: &Workload, http: &[u16], tcp: &[u16]) -> Result<Member> {
        let pod = self.network.pod(&workload.pod_name(), workload.address)?;
        let app = App::start(&pod, &workload.name(), http, tcp, self.dir()).await?;
        intercept(&pod)?;
        self.member(workload, pod, Some(app)).await
    }

    /// Adds a Pod with a server and a sidecar that `meltemi agent` runs, with more variables for it.
    pub async fn agent(
        &self,
        workload: &Workload,
        http: &[u16],
        control: &agent::Control<'_>,
        more: &[(&str, &str)],
    ) -> Result<Member> {
        let pod = self.network.pod(&workload.pod_name(), workload.address)?;
        let app = App::start(&pod, &workload.name(), http, &[], self.dir()).await?;
        intercept(&pod)?;
        let envoy = agent::start(&pod, workload, control, more, self.dir()).await?;
        Ok(Member { envoy, app: Some(app), pod, _agent: None })
    }

    /// Where the control plane runs.
    pub fn hub(&self) -> &Place {
        self.network.hub()
    }

    /// Adds a gateway, and waits until it serves.
    pub async fn gateway(&self, workload: &Workload) -> Result<Member> {
        let pod = self.network.pod(&workload.pod_name(), workload.address)?;
        self.member(workload, pod, None).await
    }

    /// Adds a Pod with a server and no proxy.
    pub async fn plain(&self, workload: &Workload, ports: Ports<'_>) -> Result<(App, Pod)> {
        let pod = self.network.pod(&workload.pod_name(), workload.address)?;
        Ok((App::serve(&pod, &workload.name(), ports, self.dir()).await?, pod))
    }

    /// Adds a Pod that has neither proxy nor server.
    pub fn outsider(&self, name: &str, address: impl Into<Ipv4Addr>) -> Result<Pod> {
        self.network.pod(name, address.into())
    }

    /// Where logs go.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    async fn member(&self, workload: &Workload, pod: Pod, app: Option<App>) -> Result<Member> {
        if !self.hosts.is_empty() {
            pod.add_hosts(&self.hosts)?;
        }
        let socket = self.scratch.join(format!("{}.sock", pod.name));
        let agent = Agent::start(&self.root, &workload.namespace, &workload.app, &socket)?;
        let node = bootstrap::node(&workload.pod(), Some(&workload::node()));
        let mut envoy =
            Envoy::start(&pod, &bootstrap::ads(&node, (HUB, 15010).into(), &socket), self.dir()).await?;
        envoy.live().await?;
        Ok(Member { envoy, app, pod, _agent: Some(agent) })
    }
}

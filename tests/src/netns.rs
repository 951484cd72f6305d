//! Pods as network namespaces: one hub namespace holds a bridge, every pod hangs on it by a veth pair.
//!
//! Addresses are those of an ordinary cluster (10.244.0.0/16 for pods), yet several networks, also of several processes,
//! don't meet: even the hub is a namespace of its own. Cluster IPs exist nowhere; a default route is enough to bring
//! their packets to the rules of [`crate::interception`], and without such rules they lead nowhere.

use std::{
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::{
    fd::AsFd,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::net::{TcpSocket, TcpStream};

use crate::{process, scratch, setup};

const PREFIX: &str = "mt-";
const FOLDER: &str = "/run/netns";
const FILES: &str = "/etc/netns";

/// The address of the hub, where the control plane listens.
pub const HUB: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

/// Where a process runs and a connection starts: a network namespace, or the host's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Option<String>);

impl Place {
    /// The network that the test itself runs in.
    pub fn host() -> Self {
        Self(None)
    }

    /// A command that runs here.
    pub fn command(&self, program: &str) -> Command {
        match &self.0 {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, program]);
                command
            }
        }
    }

    /// Connects from here. The connection stays usable from everywhere in this process.
    pub async fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        self.connect_from(Ipv4Addr::UNSPECIFIED, to).await
    }

    /// Connects from one of the addresses that this place has.
    pub async fn connect_from(&self, source: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
        // A socket belongs to the namespace that it was made in, wherever it is used.
        let socket = match &self.0 {
            None => TcpSocket::new_v4()?,
            Some(namespace) => enter(namespace, || Ok(TcpSocket::new_v4()?)).await?,
        };
        if !source.is_unspecified() {
            socket.bind((source, 0).into())?;
        }
        let connected = tokio::time::timeout(Duration::from_secs(5), socket.connect(to)).await;
        connected.map_err(anyhow::Error::from)?.with_context(|| format!("connecting to {to}"))
    }

    /// Listens here, at an address. The listener stays usable from everywhere in this process.
    pub async fn listen(&self, at: SocketAddr) -> Result<tokio::net::TcpListener> {
        let Some(namespace) = &self.0 else { return Ok(tokio::net::TcpListener::bind(at).await?) };
        let listener = enter(namespace, move || Ok(TcpListener::bind(at)?)).await?;
        listener.set_nonblocking(true)?;
        Ok(tokio::net::TcpListener::from_std(listener)?)
    }
}

/// Does something within a namespace, on a thread of its own: entering one changes the thread for good.
async fn enter<T: Send + 'static>(
    namespace: &str,
    action: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let path = Path::new(FOLDER).join(namespace);
    let entered = thread::spawn(move || {
        let namespace = File::open(&path).with_context(|| format!("no namespace {}", path.display()))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        action()
    });
    tokio::task::spawn_blocking(|| entered.join()).await?.map_err(|_| anyhow!("panic"))?
}

/// A network of pods. Dropping it takes its namespaces away.
#[derive(Debug)]
pub struct Network {
    name: String,
    hub: Place,
    pods: AtomicUsize,
}

impl Network {
    /// Makes an empty network, after sweeping away those of processes that are gone.
    pub fn new() -> Result<Self> {
        setup::net()?;
        sweep();
        let name = scratch::unique(PREFIX);
        let hub = format!("{name}-hub");
        run_ip(&["netns", "add", &hub])?;
        let network = Self { name, hub: Place(Some(hub.clone())), pods: AtomicUsize::new(1) };
        ip_batch(
            &hub,
            &format!(
                "link set lo up\nlink add br0 type bridge\naddr add {HUB}/16 dev br0\nlink set br0 up\n"
            ),
        )?;
        Ok(network)
    }

    /// Where the control plane runs, at the address [`HUB`].
    pub fn hub(&self) -> &Place {
        &self.hub
    }

    /// Adds a pod. Its name need only be unique in this network.
    pub fn pod(&self, name: &str, address: Ipv4Addr) -> Result<Pod> {
        let namespace = format!("{}-{name}", self.name);
        let link = format!("v{}", self.pods.fetch_add(1, Ordering::Relaxed));
        run_ip(&["netns", "add", &namespace])?;
        let pod = Pod { name: name.into(), address, place: Place(Some(namespace.clone())) };
        let Place(Some(hub)) = &self.hub else { unreachable!("the hub is a namespace") };
        ip_batch(
            hub,
            &format!(
                "link add {link} type veth peer name eth0 netns {namespace}\nlink set {link} master br0 up\n"
            ),
        )?;
        ip_batch(
            &namespace,
            &format!(
                "link set lo up\naddr add {address}/16 dev eth0\nlink set eth0 up\nroute add default via {HUB}\n"
            ),
        )?;
        Ok(pod)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let Place(Some(hub)) = &self.hub else { return };
        remove(hub);
    }
}

/// A network namespace with an address in a [`Network`]. Dropping it takes the namespace away.
#[derive(Debug)]
pub struct Pod {
    /// Its name, unique in the network.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Where its processes run.
    pub place: Place,
}

impl Pod {
    /// Adds an address.
    pub fn add_address(&self, address: Ipv4Addr) -> Result<()> {
        let Place(Some(namespace)) = &self.place else { unreachable!("a pod is a namespace") };
        ip_batch(namespace, &format!("addr add {address}/16 dev eth0\n"))
    }

    /// Has processes that start here from now on find these hosts under these addresses.
    pub fn add_hosts(&self, hosts: &[(&str, Ipv4Addr)]) -> Result<()> {
        let Place(Some(namespace)) = &self.place else { unreachable!("a pod is a namespace") };
        let lines = hosts.iter().map(|(name, address)| format!("{address} {name}\n"));
        let text = lines.fold(String::from("127.0.0.1 localhost\n"), |text, line| text + &line);
        let folder = files(namespace);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join("hosts"), text)?)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let Place(Some(namespace)) = &self.place else { return };
        remove(namespace);
    }
}

/// Where `ip netns exec` finds files that stand for those of `/etc` in a namespace.
fn files(namespace: &str) -> PathBuf {
    Path::new(FILES).join(namespace)
}

fn remove(namespace: &str) {
    let _ = run_ip(&["netns", "del", namespace]);
    let _ = fs::remove_dir_all(files(namespace));
}

fn run_ip(args: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(args);
    process::run(command).map(drop)
}

/// Runs lines of `ip` commands in one process.
fn ip_batch(namespace: &str, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-n", namespace, "-batch", "-"]);
    feed(command, lines)
}

/// Runs a command with `input` as its standard input.
pub(crate) fn feed(mut command: Command, input: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("piped above")?.write_all(input.as_bytes())?;
    let out = child.wait_with_output()?;
    ensure!(
        out.status.success(),
        "{:?} failed on\n{input}\n{}",
        command.get_program(),
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}

/// Removes the namespaces of processes that are gone.
fn sweep() {
    let names = fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|e| e.path());
    let stale = |path: &PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| scratch::is_stale(n, PREFIX))
    };
    for path in names.filter(stale) {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        remove(name);
    }
}

//! Puts the agent's parts together, and ends them in order.

use std::{
    fs,
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use http::Method;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Error, bootstrap,
    cli::{Proxy, Wait},
    envoy::Envoy,
    metrics::Metrics,
    sds,
    secret::Renewal,
    settings::{Env, Settings},
    status::{Order, Status, client},
    upstream::Upstream,
    xds,
};

/// Runs Envoy until it ends or is ended; the code to exit with.
///
/// # Errors
/// If a setting is bad, or something the agent needs is not to be had.
pub async fn proxy(flags: &Proxy) -> Result<u8, Error> {
    // Only fails if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = Settings::read(flags, &Env::of_process())?;
    tracing::info!("the agent of {}, {}", settings.node_id(), settings.identity());
    let metrics = Arc::new(Metrics::default());
    let mut servers = JoinSet::new();
    start_sds(&settings, &metrics, &mut servers).await?;
    let istiod = Upstream::discovery(&settings.control);
    servers.spawn(xds::serve(socket(&settings.xds_socket())?, istiod, Arc::clone(&metrics)));
    let (status, mut orders) = Status::new(&settings, metrics)?;
    let status_port = settings.proxy.port("statusPort");
    if status_port > 0 {
        servers.spawn(status.serve(listen(status_port).await?));
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let overlay = bootstrap::overlay(&settings)?;
    let mut envoy = Envoy::start(&settings, &bootstrap::write(&settings)?, overlay.as_deref())?;
    tokio::select! {
        ended = envoy.ended() => {
            let ended = ended?;
            tracing::error!("Envoy ended by itself, with code {}", ended.code);
            return Ok(ended.code);
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = orders.wait_for(|o| *o == Order::Quit) => {}
        failed = first_failure(&mut servers) => return Err(failed),
    }
    let drained = *orders.borrow() != Order::None;
    Ok(envoy.terminate(drained).await?.code)
}

/// Serves secrets, unless somebody else does already: a socket that answers is an SDS provider's of the user.
async fn start_sds(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    servers: &mut JoinSet<Result<(), Error>>,
) -> Result<(), Error> {
    let path = &settings.certificates.socket;
    if UnixStream::connect(path).await.is_ok() {
        tracing::info!("{} answers: Envoy takes its secrets from there", path.display());
        return Ok(());
    }
    let secrets = Renewal::start(settings, Arc::clone(metrics));
    servers.spawn(sds::serve(socket(path)?, secrets));
    Ok(())
}

async fn first_failure(servers: &mut JoinSet<Result<(), Error>>) -> Error {
    match servers.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => Error::Io(io::Error::other(error)),
        Some(Ok(Ok(()))) => Error::Io(io::Error::other("a server of the agent ended")),
        // None was started.
        None => std::future::pending().await,
    }
}

/// Listens on a Unix socket, in place of one that a former agent has left.
fn socket(path: &Path) -> Result<UnixListener, Error> {
    let failed = |e: io::Error| Error::file(path, e);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Envoy runs as the same user; nobody else is to have the workload's key.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Listens on a port of every address; only those of IPv4 if the machine has no IPv6.
async fn listen(port: u16) -> Result<TcpListener, Error> {
    let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, port).into();
    let listener = match TcpListener::bind(any).await {
        Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    };
    listener.map_err(|e| Error::setting("statusPort of the ProxyConfig", format!("{port}: {e}")))
}

/// Waits until a page answers 200.
///
/// # Errors
/// If it does not in time.
pub async fn wait(flags: &Wait) -> Result<(), Error> {
    let bad = || Error::setting("--url", format!("is {:?}; use http://HOST:PORT/PATH", flags.url));
    let url: http::Uri = flags.url.parse().map_err(|_| bad())?;
    let authority = url.authority().filter(|_| url.scheme_str() == Some("http")).ok_or_else(bad)?;
    let address = (authority.host().trim_matches(['[', ']']).to_owned(), authority.port_u16().unwrap_or(80));
    let path = url.path_and_query().map_or("/", |p| p.as_str());
    let limit = Duration::from_millis(flags.request_timeout_millis);
    let until = Instant::now() + Duration::from_secs(flags.timeout_seconds);
    let ask = async || -> Result<(), String> {
        let mut addresses = tokio::net::lookup_host(address.clone()).await.map_err(|e| e.to_string())?;
        let to = addresses.next().ok_or("no address")?;
        let answer = client::send(Method::GET, to.into(), path, &[], limit, client::LARGEST).await?;
        if answer.status.is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status)) }
    };
    let mut last = String::from("no answer");
    let asking = repeat(Duration::from_millis(flags.period_millis.max(1)), ask, &mut last);
    if timeout_at(until, asking).await.is_ok() {
        return Ok(());
    }
    Err(Error::server(&flags.url, format!("not ready within {} s: {last}", flags.timeout_seconds)))
}

async fn repeat<F: Future<Output = Result<(), String>>>(
    period: Duration,
    ask: impl Fn() -> F,
    last: &mut String,
) {
    while let Err(problem) = ask().await {
        *last = problem;
        sleep(period).await;
    }
}

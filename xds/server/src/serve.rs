//! The server: a transport for the ADS service and whatever shares its port.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::io::{Io, plaintext};
use crate::registry::Registry;
use crate::service::Ads;
use crate::source::Source;

/// How often a silent connection is asked whether it is still there, and how long it may take to answer
/// (Istio `keepalive.DefaultOption`).
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Streams on one connection (Istio `ISTIO_GPRC_MAXSTREAMS`).
const MAX_CONCURRENT_STREAMS: u32 = 100_000;

/// Serves proxies in plaintext until `shutdown` resolves, and ends their streams then.
///
/// # Errors
/// If the transport fails.
pub async fn serve(
    listener: TcpListener,
    source: Arc<dyn Source>,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let ads = Ads::new(source, registry);
    let routes = Routes::new(ads.clone());
    serve_on(plaintext(listener), routes, async move {
        shutdown.await;
        ads.close();
    })
    .await
}

/// Serves whatever is routed on whatever connections come in. Streams must be ended when `shutdown` resolves, by
/// [`Ads::close`].
///
/// # Errors
/// If the transport fails.
pub async fn serve_on<S>(
    incoming: impl Stream<Item = io::Result<Io<S>>>,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (interval, timeout) = KEEPALIVE;
    Server::builder()
        .http2_keepalive_interval(Some(interval))
        .http2_keepalive_timeout(Some(timeout))
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

//! Connections: where they come from, and what is known of the other end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;

/// What is known of the other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// Its address.
    pub address: Option<SocketAddr>,
    /// Its certificates, in DER, if it showed some and they were verified.
    pub certificates: Arc<[Bytes]>,
}

/// A connection, plain or TLS.
#[derive(Debug)]
pub struct Io<S> {
    stream: S,
    remote: Remote,
}

impl<S> Io<S> {
    /// A connection whose other end is known.
    pub fn new(stream: S, remote: Remote) -> Self {
        Self { stream, remote }
    }
}

impl<S> Connected for Io<S> {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        self.remote.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Plaintext connections.
pub fn plaintext(listener: TcpListener) -> impl Stream<Item = io::Result<Io<TcpStream>>> {
    futures::stream::unfold(listener, |listener| async move {
        let (stream, address) = accept(&listener).await;
        Some((Ok(Io::new(stream, Remote { address: Some(address), ..Remote::default() })), listener))
    })
}

/// Accepts a connection, however often that fails: with no file descriptor left, say, others must end first.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Without it a push waits for the client's acknowledgement of the one before.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%address, %error, "cannot set TCP_NODELAY");
                }
                return (stream, address);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Proves who calls. On a plaintext port there is none, and callers have no identity.
pub trait Authenticator: Send + Sync + 'static {
    /// The SPIFFE identities of the caller, or why it has none.
    fn authenticate<'a>(&'a self, call: Call<'a>) -> Identities<'a>;
}

/// The answer of an [`Authenticator`].
pub type Identities<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, String>> + Send + 'a>>;

/// What a caller shows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The other end of the connection.
    pub remote: &'a Remote,
    /// The headers of the request, as `authorization` and `clusterid`.
    pub headers: &'a http::HeaderMap,
}

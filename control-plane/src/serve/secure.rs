//! Connections over TLS.
//!
//! A handshake must end within a time, and only so many may be under way: when one more comes, the oldest is given up. A
//! client that means it is done within milliseconds, so a flood of silent connections costs bounded memory and keeps
//! nobody out.

use bytes::Bytes;
use futures::Stream;
use meltemi_server::{Io, Remote, accept};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::authority::serving::Current;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many may be under way. Each holds some 10 KiB.
const MOST: usize = 2048;

type Connection = io::Result<Io<TlsStream<TcpStream>>>;

/// Connections of `listener` that have shaken hands, with what `current` holds at the time.
pub fn secured(listener: TcpListener, current: Current) -> impl Stream<Item = Connection> {
    let (sender, connections) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut handshakes = Handshakes::default();
        loop {
            tokio::select! {
                () = sender.closed() => return,
                (stream, address) = accept(&listener) => {
                    let Some(config) = current.load_full() else {
                        tracing::debug!(%address, "refused, since there is no certificate to serve with yet");
                        continue;
                    };
                    let task = tokio::spawn(shake(TlsAcceptor::from(config), stream, address, sender.clone()));
                    handshakes.add(task.abort_handle());
                }
            }
        }
    });
    ReceiverStream::new(connections)
}

async fn shake(acceptor: TlsAcceptor, stream: TcpStream, address: SocketAddr, ready: Sender<Connection>) {
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Err(_) => tracing::debug!(%address, "no TLS handshake within {HANDSHAKE:?}"),
        Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS handshake"),
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificates: Arc<[Bytes]> = certificates.iter().map(|c| c.to_vec().into()).collect();
            let remote = Remote { address: Some(address), certificates };
            // Fails only when the server has ended.
            let _ = ready.send(Ok(Io::new(stream, remote))).await;
        }
    }
}

/// The handshakes under way, the oldest first. Some of them may be over.
#[derive(Default)]
struct Handshakes(VecDeque<AbortHandle>);

impl Handshakes {
    fn add(&mut self, handshake: AbortHandle) {
        if self.0.len() >= MOST {
            self.0.retain(|h| !h.is_finished());
        }
        if self.0.len() >= MOST
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(handshake);
    }
}

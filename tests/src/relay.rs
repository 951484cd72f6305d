//! A TCP relay whose connections can be cut and stalled, to stand for a bad network.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

/// What a relay does with the bytes of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Flow,
    /// Bytes stay where they are; nobody is told.
    Stall,
}

#[derive(Clone, Copy, Debug)]
struct Weather {
    mode: Mode,
    /// Connections of an earlier generation are closed.
    generation: u64,
}

/// A running relay, closed on drop.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Relays to an address.
    pub async fn start(to: SocketAddr) -> Result<Self> {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).await?, to)
    }

    /// Relays what comes to a listener, perhaps one of another network.
    pub fn on(listener: TcpListener, to: SocketAddr) -> Result<Self> {
        let address = listener.local_addr()?;
        let (weather, sight) = watch::channel(Weather { mode: Mode::Flow, generation: 0 });
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(to).await else { continue };
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tokio::spawn(carry(near_in, far_out, sight.clone()));
                tokio::spawn(carry(far_in, near_out, sight.clone()));
            }
        });
        Ok(Self { address, weather, task })
    }

    /// Closes all connections. New ones are accepted.
    pub fn cut(&self) {
        self.weather.send_modify(|w| w.generation += 1);
    }

    /// Holds all bytes back, as a network does that loses packets.
    pub fn stall(&self) {
        self.weather.send_modify(|w| w.mode = Mode::Stall);
    }

    /// Lets bytes through again, those that were held back first.
    pub fn flow(&self) {
        self.weather.send_modify(|w| w.mode = Mode::Flow);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

/// Carries bytes one way until an end or a cut.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut sight: watch::Receiver<Weather>) {
    let born = sight.borrow().generation;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(n) if n > 0 => n,
                _ => return,
            },
            cut = sight.wait_for(|w| w.generation != born) => {
                drop(cut);
                return;
            }
        };
        match sight.wait_for(|w| w.mode == Mode::Flow || w.generation != born).await {
            Ok(weather) if weather.generation == born => {}
            _ => return,
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

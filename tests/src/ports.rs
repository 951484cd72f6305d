//! Ports of the host's loopback address that nobody listens on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Result;

/// So many free addresses, different from each other.
pub fn free<const N: usize>() -> Result<[SocketAddr; N]> {
    // All are held until all are known, so that none is told twice.
    let held: Vec<_> =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut found = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in found.iter_mut().zip(&held) {
        *address = listener.local_addr()?;
    }
    Ok(found)
}

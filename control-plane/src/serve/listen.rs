//! Addresses as Go writes them.

use anyhow::{Context, Result};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use tokio::net::TcpListener;

/// Listens on `address`; `None` if it is empty, which turns a server off. `:PORT` is every address of both families.
///
/// # Errors
/// If it cannot be listened on. `flag` names the flag to change.
pub async fn on(flag: &str, address: &str) -> Result<Option<TcpListener>> {
    if address.is_empty() {
        return Ok(None);
    }
    let listener = bind(address).await.with_context(|| {
        format!("{flag}: cannot listen on {address:?}; is another process there? Choose another address, or \"\" for none")
    })?;
    Ok(Some(listener))
}

async fn bind(address: &str) -> io::Result<TcpListener> {
    let Some(port) = address.strip_prefix(':') else { return TcpListener::bind(address).await };
    let port: u16 =
        port.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the port is no number"))?;
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        // A host without IPv6.
        Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_those_of_go() {
        assert!(on("--httpAddr", "").await.unwrap().is_none());
        let any = on("--httpAddr", ":0").await.unwrap().unwrap();
        let taken = format!(":{}", any.local_addr().unwrap().port());
        let error = format!("{:#}", on("--httpAddr", &taken).await.unwrap_err());
        assert!(error.contains("--httpAddr") && error.contains("another process"), "{error}");
        assert!(on("--httpAddr", "localhost:0").await.unwrap().is_some());
        assert!(on("--httpAddr", ":http").await.is_err());
    }
}

//! TLS servers, and connections to them: whom they prove to be, and what they answer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};

use crate::netns::Place;

/// A certificate that vouches for itself, and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Pair {
    /// A new one for a host.
    pub fn new(host: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host.to_owned()])?.self_signed(&key)?.pem();
        Ok(Self { certificate, key: key.serialize_pem() })
    }

    fn der(&self) -> Result<CertificateDer<'static>> {
        Ok(CertificateDer::from_pem_slice(self.certificate.as_bytes())?)
    }
}

/// Listens for TLS connections.
pub struct Listener {
    /// What is beneath.
    pub tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener {
    /// Listens at any port, as the host that a certificate is for.
    pub async fn bind(pair: &Pair) -> Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        Self::new(tcp, pair.certificate.as_bytes(), pair.key.as_bytes())
    }

    /// Answers on a listener with a certificate and its key (PEM).
    pub fn new(tcp: TcpListener, certificate: &[u8], key: &[u8]) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>()?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?;
        Ok(Self { tcp, acceptor: Arc::new(config).into() })
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            // Clients that do not trust the certificate hang up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// How a client is that trusts these roots, in PEM, and offers these protocols.
pub fn client(roots: &str, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>> {
    let mut trusted = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        trusted.add(root?)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Shakes hands with a server that must prove a name.
pub async fn shake(
    config: Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    Ok(TlsConnector::from(config).connect(ServerName::try_from(name.to_owned())?, stream).await?)
}

/// Asks `https://HOST/` at an address, trusting one of `servers`. Returns which of them it was, and the answer's status.
pub async fn ask(from: &Place, to: SocketAddr, host: &str, servers: &[&Pair]) -> Result<(usize, StatusCode)> {
    let roots: String = servers.iter().map(|s| s.certificate.as_str()).collect();
    let config = client(&roots, &[])?;
    let exchange = async {
        let stream = shake(config, host, from.connect(to).await?).await?;
        let shown =
            stream.get_ref().1.peer_certificates().and_then(|c| c.first()).context("no certificate")?;
        let mut known = servers.iter().map(|s| s.der());
        let which =
            known.position(|der| der.is_ok_and(|der| der == *shown)).context("another certificate")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get("/").header(HOST, host).body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok((which, status))
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await?
}

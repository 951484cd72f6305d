//! Connections to TLS servers: whom they prove to be, and what they answer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio_rustls::TlsConnector;

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

/// Asks `https://HOST/` at an address, trusting one of `servers`. Returns which of them it was, and the answer's status.
pub async fn ask(from: &Place, to: SocketAddr, host: &str, servers: &[&Pair]) -> Result<(usize, StatusCode)> {
    let mut roots = RootCertStore::empty();
    for server in servers {
        roots.add(server.der()?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let exchange = async {
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, from.connect(to).await?).await?;
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

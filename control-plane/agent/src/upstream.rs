//! Connections to istiod and the CA: TLS by the roots that are mounted now, and a token read for each request.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::{Error, settings::Control};

/// A certificate bundle or token larger than this is not read.
pub(crate) const LARGEST_FILE: u64 = 1 << 20;

/// A server that the agent asks on the workload's behalf.
#[derive(Clone, Debug)]
pub struct Upstream {
    address: String,
    /// Verified by these, unless it is spoken to in clear.
    roots: Option<PathBuf>,
    san: Option<String>,
    token: PathBuf,
    headers: Vec<(String, String)>,
}

impl Upstream {
    /// istiod's xDS.
    pub fn discovery(control: &Control) -> Self {
        let roots = control.discovery_tls.then(|| control.discovery_roots.clone());
        Self::new(&control.discovery, roots, control, &control.xds_headers)
    }

    /// The certificate authority.
    pub fn ca(control: &Control) -> Self {
        // An address of plaintext istiod (15010) is also one where no certificates are signed; a CA is always on TLS.
        Self::new(&control.ca, Some(control.ca_roots.clone()), control, &control.ca_headers)
    }

    fn new(address: &str, roots: Option<PathBuf>, control: &Control, headers: &[(String, String)]) -> Self {
        let mut headers = headers.to_vec();
        headers.push(("clusterid".into(), control.cluster.clone()));
        let (san, token) = (control.san.clone(), control.token.clone());
        Self { address: address.to_owned(), roots, san, token, headers }
    }

    /// Its address, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A new connection. One is made for each use, so that agents spread over replicas and new roots count at once.
    pub async fn connect(&self) -> Result<Channel, Error> {
        let failed = |e: tonic::transport::Error| Error::server(&self.address, chain(&e));
        let scheme = if self.roots.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.address))
            .map_err(failed)?
            .connect_timeout(Duration::from_secs(10))
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .http2_adaptive_window(true);
        if let Some(roots) = &self.roots {
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(read(roots)?))
                .domain_name(self.server_name());
            endpoint = endpoint.tls_config(tls).map_err(failed)?;
        }
        endpoint.connect().await.map_err(failed)
    }

    /// The name that the server's certificate must have.
    fn server_name(&self) -> &str {
        if let Some(san) = &self.san {
            return san;
        }
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        // A tunnel to istiod from a developer's machine, as in Istio.
        if host == "localhost" { "istiod.istio-system.svc" } else { host.trim_matches(['[', ']']) }
    }

    /// Adds who asks to a request's headers.
    pub fn authorize(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        for (name, value) in &self.headers {
            let bad = |what| Error::setting(name, format!("is no valid {what} of a request"));
            let name = HeaderName::try_from(name.to_ascii_lowercase()).map_err(|_| bad("header name"))?;
            headers.insert(name, HeaderValue::try_from(value).map_err(|_| bad("header value"))?);
        }
        // In clear, the token would be for anybody to take.
        if self.roots.is_none() {
            return Ok(());
        }
        let token = read(&self.token)?;
        let text = String::from_utf8_lossy(&token);
        let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim()))
            .map_err(|_| Error::file(&self.token, "is no token"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

/// Reads a small file that the kubelet may replace at any time.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let size = fs::metadata(path).map_err(|e| Error::file(path, e))?.len();
    if size > LARGEST_FILE {
        return Err(Error::file(path, "is larger than 1 MiB"));
    }
    fs::read(path).map_err(|e| Error::file(path, e))
}

/// An error with its causes: tonic's own text says only that the transport failed.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source()).map(ToString::to_string);
    std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(address: &str, san: Option<&str>, tls: bool) -> Upstream {
        let token = tempfile::NamedTempFile::new().unwrap();
        fs::write(token.path(), "t0\n").unwrap();
        let (_, token) = token.keep().unwrap();
        Upstream {
            address: address.into(),
            roots: tls.then(PathBuf::new),
            san: san.map(Into::into),
            token,
            headers: vec![("clusterid".into(), "c".into())],
        }
    }

    #[test]
    fn the_servers_name_is_the_addresss_unless_set() {
        for (address, san, name) in [
            ("istiod.istio-system.svc:15012", None, "istiod.istio-system.svc"),
            ("10.0.0.1:15012", Some("istiod.x.svc"), "istiod.x.svc"),
            ("localhost:15012", None, "istiod.istio-system.svc"),
            ("[fd00::1]:15012", None, "fd00::1"),
        ] {
            assert_eq!(upstream(address, san, true).server_name(), name);
        }
    }

    #[test]
    fn a_token_never_travels_in_clear() {
        let mut headers = HeaderMap::new();
        upstream("a:1", None, true).authorize(&mut headers).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer t0");
        assert_eq!(headers["clusterid"], "c");
        let mut headers = HeaderMap::new();
        upstream("a:1", None, false).authorize(&mut headers).unwrap();
        assert!(!headers.contains_key(AUTHORIZATION));
    }
}

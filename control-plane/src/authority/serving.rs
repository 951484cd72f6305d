//! The certificate that the control plane serves with, and how it asks clients for theirs.
//!
//! In this order, as istiod: `--tlsCertFile` and `--tlsKeyFile`; files that are mounted at `./var/run/secrets/istiod/tls`;
//! one that the mesh's own authority signs. It is replaced when what it comes from changes, and before it expires.

use anyhow::{Context, Result, anyhow, bail};
use arc_swap::ArcSwapOption;
use meltemi_ca::{Material, Served};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::State;

/// Where cert-manager's certificate for the control plane is mounted (Istio `pilot/pkg/bootstrap/certcontroller.go`).
const MOUNTED: &str = "./var/run/secrets/istiod/tls";
const MOUNTED_ROOT: &str = "./var/run/secrets/istiod/ca/root-cert.pem";
/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What new connections are served with; none before the first certificate.
pub type Current = Arc<ArcSwapOption<ServerConfig>>;

/// Keeps the certificate that is served.
pub struct Serving {
    /// Signs it, if it is not in files.
    pub state: State,
    /// The names that it is for.
    pub names: Vec<String>,
    /// For how long it is signed.
    pub lifetime: Duration,
    /// Whether the mesh's authority may sign it.
    pub signed: bool,
    /// Files to serve with instead: certificate, key.
    pub files: Option<(PathBuf, PathBuf)>,
    /// Roots to verify clients with instead.
    pub client_roots: Option<PathBuf>,
    /// Whether TLS 1.2 is refused.
    pub only_newest: bool,
    /// Cipher suites of TLS 1.2 to allow, by their IANA names; empty for all.
    pub suites: Vec<String>,
}

/// A certificate with its key and the roots for clients, in PEM.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    chain: Vec<u8>,
    key: Vec<u8>,
    roots: Vec<u8>,
}

impl Serving {
    /// Keeps `current` up to date, until the process ends.
    pub async fn run(self, current: Current) {
        let mut changes = self.state.changes();
        let (mut last, mut told) = (None, None);
        loop {
            let wait = match self.renew(&mut last, &current).await {
                Ok(wait) => {
                    told = None;
                    wait
                }
                Err(error) => {
                    let problem = format!("{error:#}");
                    // The keeper tells why the authority is not ready.
                    if told.as_ref() != Some(&problem) && self.state.authority.material().is_some() {
                        tracing::warn!(target: "ca", problem, "no new certificate to serve with");
                        told = Some(problem);
                    }
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Makes what is served anew if it has to; says when to look again.
    async fn renew(&self, last: &mut Option<(Pair, SystemTime)>, current: &Current) -> Result<Duration> {
        if let Some((certificate, key)) = self.in_files() {
            let roots = self.roots_for_clients()?;
            let pair = Pair { chain: read(&certificate)?, key: read(&key)?, roots };
            if last.as_ref().is_none_or(|(before, _)| *before != pair) {
                current.store(Some(Arc::new(self.config(&pair)?)));
                tracing::info!(target: "ca", file = %certificate.display(), "serving with a certificate of a file");
                *last = Some((pair, SystemTime::UNIX_EPOCH));
            }
            return Ok(LOOK);
        }
        if !self.signed {
            bail!(
                "there is no certificate in {MOUNTED}, and PILOT_CERT_PROVIDER does not let the mesh's authority sign one"
            );
        }
        let roots = self.roots_for_clients()?;
        let now = SystemTime::now();
        let stale = last
            .as_ref()
            .is_none_or(|(pair, due)| pair.roots != roots || now >= *due || self.chain_changed(pair));
        if stale {
            let (state, names, lifetime) = (self.state.clone(), self.names.clone(), self.lifetime);
            let served =
                tokio::task::spawn_blocking(move || state.authority.serving(&names, lifetime)).await??;
            let Served { chain, key, until } = served;
            let pair = Pair { chain: chain.into_bytes(), key: key.into_bytes(), roots };
            current.store(Some(Arc::new(self.config(&pair)?)));
            let half = until.duration_since(now).unwrap_or_default() / 2;
            tracing::info!(target: "ca", names = self.names.join(","), "serving with a certificate of the mesh");
            *last = Some((pair, now + half));
        }
        let due = last.as_ref().map_or(now, |(_, due)| *due);
        Ok(due
            .duration_since(now)
            .unwrap_or_default()
            .clamp(Duration::from_secs(1), Duration::from_secs(3600)))
    }

    /// Whether another intermediate signs now.
    fn chain_changed(&self, pair: &Pair) -> bool {
        let Some(material) = self.state.authority.material() else { return false };
        let chain: String = material.chain.iter().map(|c| c.pem.as_str()).collect();
        !String::from_utf8_lossy(&pair.chain).ends_with(&chain)
    }

    fn in_files(&self) -> Option<(PathBuf, PathBuf)> {
        let mounted = || {
            let [certificate, key] = ["tls.crt", "tls.key"].map(|name| PathBuf::from(MOUNTED).join(name));
            (certificate.exists() && key.exists()).then_some((certificate, key))
        };
        self.files.clone().or_else(mounted)
    }

    fn roots_for_clients(&self) -> Result<Vec<u8>> {
        if let Some(path) = &self.client_roots {
            return read(path);
        }
        if let Some(material) = self.state.authority.material() {
            return Ok(Material::roots_pem(&material).into_bytes());
        }
        let mounted = [PathBuf::from(MOUNTED_ROOT), PathBuf::from(MOUNTED).join("ca.crt")];
        match mounted.into_iter().find(|p| p.exists()) {
            Some(path) => read(&path),
            None => bail!("the certificate authority is not ready"),
        }
    }

    fn config(&self, pair: &Pair) -> Result<ServerConfig> {
        let provider = Arc::new(self.provider()?);
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&pair.roots) {
            roots.add(root.context("a root for clients")?).context("a root for clients")?;
        }
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .context("roots for clients")?;
        let chain = CertificateDer::pem_slice_iter(&pair.chain).collect::<Result<Vec<_>, _>>();
        let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|e| anyhow!("the key: {e}"))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions())?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.context("the certificate")?, key)
            .context("the certificate and its key")?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Agents connect once for hours, and a session to resume would have to be kept for each.
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static NEWEST: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        if self.only_newest { &NEWEST } else { rustls::DEFAULT_VERSIONS }
    }

    fn provider(&self) -> Result<CryptoProvider> {
        let mut provider = default_provider();
        if !self.suites.is_empty() {
            let wanted = |suite: &rustls::SupportedCipherSuite| {
                let name = suite.suite().as_str().unwrap_or_default().to_owned();
                suite.tls13().is_some() || self.suites.contains(&name)
            };
            provider.cipher_suites.retain(wanted);
            if !self.only_newest && !provider.cipher_suites.iter().any(|s| s.tls13().is_none()) {
                bail!("--tls-cipher-suites: none of {} can be had", self.suites.join(", "));
            }
        }
        Ok(provider)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// The names that the control plane is reached under (Istio `pilot/pkg/bootstrap/certcontroller.go`).
pub fn names(namespace: &str, revision: &str, discovery_address: &str, custom: &[String]) -> Vec<String> {
    let host = discovery_address.rsplit_once(':').map_or(discovery_address, |(host, _)| host);
    let mut names: Vec<String> = ["istiod", "istiod-remote", "istio-pilot"]
        .map(|service| format!("{service}.{namespace}.svc"))
        .to_vec();
    names.extend(Some(host.to_owned()).filter(|h| !h.is_empty()));
    names.extend(custom.iter().cloned());
    names.extend((revision != "default").then(|| format!("istiod-{revision}.{namespace}.svc")));
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_plane_has_the_names_of_its_services() {
        let names = names("mesh", "canary", "istiod.mesh.svc:15012", &["x.example.com".to_owned()]);
        let expected = [
            "istio-pilot.mesh.svc",
            "istiod-canary.mesh.svc",
            "istiod-remote.mesh.svc",
            "istiod.mesh.svc",
            "x.example.com",
        ];
        assert_eq!(names, expected);
    }
}

//! A certificate authority that a test leads: short lives, and roots that change when the test says so.
//!
//! It stands in for istiod's only where a test must decide when a root changes; its answers are real ones over real TLS.
//! A token is the text `NAMESPACE/SERVICE-ACCOUNT`.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use meltemi_api::istio::v1::auth::{
    IstioCertificateRequest, IstioCertificateResponse,
    istio_certificate_service_server::{IstioCertificateService, IstioCertificateServiceServer},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

use crate::netns::Place;

/// The name in the authority's own certificate.
pub const SERVER_NAME: &str = "istiod.istio-system.svc";

/// A root with its key.
pub struct Root {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

impl Root {
    /// Makes one.
    pub fn new(name: &str) -> Result<Arc<Self>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Arc::new(Self { issuer: Issuer::new(params, key), pem }))
    }
}

struct State {
    signer: Arc<Root>,
    trusted: Vec<Arc<Root>>,
    life: Duration,
    /// Certificates signed by the present signer, by token.
    signed: BTreeMap<String, u64>,
    mounts: Vec<PathBuf>,
}

/// A running certificate authority, ended on drop.
pub struct Authority {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    listener: TcpListener,
    task: JoinHandle<()>,
}

impl Authority {
    /// Starts one with a root of its own, that gives certificates this life whatever is asked for.
    pub async fn start(place: &Place, address: SocketAddr, life: Duration) -> Result<Self> {
        let root = Root::new("first")?;
        let state = State {
            signer: root.clone(),
            trusted: vec![root],
            life,
            signed: BTreeMap::new(),
            mounts: Vec::new(),
        };
        let listener = place.listen(address).await?.into_std()?;
        let state = Arc::new(Mutex::new(state));
        let task = serve(&listener, &state)?;
        Ok(Self { address, state, listener, task })
    }

    /// Writes the roots to a file, now and whenever they change, as the kubelet does with a ConfigMap.
    pub fn mount(&self, path: &Path) -> Result<()> {
        let mut state = lock(&self.state);
        write(path, &roots(&state))?;
        state.mounts.push(path.into());
        Ok(())
    }

    /// From now on these roots are trusted; the signer must be one of them.
    pub fn trust(&self, trusted: &[Arc<Root>]) -> Result<()> {
        let mut state = lock(&self.state);
        ensure!(trusted.iter().any(|r| r.pem == state.signer.pem), "the signer must be trusted");
        state.trusted = trusted.to_vec();
        let text = roots(&state);
        state.mounts.iter().try_for_each(|path| write(path, &text))
    }

    /// From now on this root signs, the authority's own certificate too.
    pub fn sign_by(&mut self, signer: &Arc<Root>) -> Result<()> {
        {
            let mut state = lock(&self.state);
            state.signer = signer.clone();
            state.signed.clear();
        }
        self.task.abort();
        self.task = serve(&self.listener, &self.state)?;
        Ok(())
    }

    /// The root that signs.
    pub fn signer(&self) -> Arc<Root> {
        lock(&self.state).signer.clone()
    }

    /// How many certificates the present signer has signed for a token.
    pub fn signed(&self, token: &str) -> u64 {
        lock(&self.state).signed.get(token).copied().unwrap_or_default()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn roots(state: &State) -> String {
    state.trusted.iter().map(|r| r.pem.as_str()).collect()
}

/// Replaces a file at once, as the kubelet does.
fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

fn serve(listener: &TcpListener, state: &Arc<Mutex<State>>) -> Result<JoinHandle<()>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &lock(state).signer.issuer)?;
    let identity = Identity::from_pem(certificate.pem(), key.serialize_pem());
    let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
    let serving = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))?
        .add_service(IstioCertificateServiceServer::new(Service(state.clone())))
        .serve_with_incoming(TcpListenerStream::new(listener));
    Ok(tokio::spawn(async move {
        if let Err(e) = serving.await {
            eprintln!("the certificate authority ended: {e}");
        }
    }))
}

struct Service(Arc<Mutex<State>>);

#[tonic::async_trait]
impl IstioCertificateService for Service {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let header =
            request.metadata().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let token = header.strip_prefix("Bearer ").unwrap_or_default().to_owned();
        let (namespace, account) =
            token.split_once('/').ok_or_else(|| Status::unauthenticated("request authenticate failure"))?;
        let identity = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        let mut state = lock(&self.0);
        let leaf = sign(&request.get_ref().csr, &identity, &state)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        *state.signed.entry(token.clone()).or_default() += 1;
        Ok(Response::new(IstioCertificateResponse { cert_chain: vec![leaf, roots(&state)] }))
    }
}

fn sign(csr: &str, identity: &str, state: &State) -> Result<String> {
    let mut csr = CertificateSigningRequestParams::from_pem(csr)?;
    let now = std::time::SystemTime::now();
    csr.params.distinguished_name = DistinguishedName::new();
    csr.params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
    csr.params.not_before = (now - Duration::from_secs(120)).into();
    csr.params.not_after = (now + state.life).into();
    csr.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    csr.params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(csr.signed_by(&state.signer.issuer)?.pem())
}

//! Signs, with the material that is in force.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;

use crate::certificate::{CLOCK_SKEW, Issuer, Leaf};
use crate::csr;
use crate::error::{Refusal, seconds};
use crate::key::Key;
use crate::material::Material;
use crate::pem;

/// For how long certificates are valid.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Where nothing is asked for (`DEFAULT_WORKLOAD_CERT_TTL`).
    pub default: Duration,
    /// The most that may be asked for (`MAX_WORKLOAD_CERT_TTL`).
    pub most: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { default: Duration::from_secs(24 * 3600), most: Duration::from_secs(90 * 24 * 3600) }
    }
}

/// A certificate authority. Cheap to clone; clones share the material.
#[derive(Clone, Debug)]
pub struct Authority {
    material: Arc<ArcSwapOption<Material>>,
    lifetimes: Lifetimes,
}

/// A certificate to serve with.
#[derive(Debug)]
pub struct Served {
    /// Itself and what leads to the root, in PEM.
    pub chain: String,
    /// Its key, in PEM.
    pub key: String,
    /// Until when it is valid.
    pub until: SystemTime,
}

impl Authority {
    /// A CA that cannot sign yet.
    pub fn new(lifetimes: Lifetimes) -> Self {
        Self { material: Arc::default(), lifetimes }
    }

    /// What is in force.
    pub fn material(&self) -> Option<Arc<Material>> {
        self.material.load_full()
    }

    /// Puts other material in force. Requests that are under way are answered wholly with the former.
    pub fn replace(&self, material: Arc<Material>) {
        self.material.store(Some(material));
    }

    /// Answers a certificate request in PEM, `names` being who asks: the certificate, what links it to a root, one
    /// certificate each, and all roots as the last element. `ttl` is in seconds; below one, the default holds.
    ///
    /// # Errors
    /// As the variants of [`Refusal`] say.
    pub fn answer(&self, csr: &str, names: &[String], ttl: i64) -> Result<Vec<String>, Refusal> {
        let material = self.material().ok_or(Refusal::NotReady)?;
        let wanted = csr::read(csr)?;
        let lifetime = match u64::try_from(ttl) {
            Ok(0) | Err(_) => self.lifetimes.default,
            Ok(requested) if requested > self.lifetimes.most.as_secs() => {
                return Err(Refusal::Ttl { requested, most: self.lifetimes.most.as_secs() });
            }
            Ok(seconds) => Duration::from_secs(seconds),
        };
        let leaf =
            sign(&material, &wanted.public_key, names, wanted.common_name, lifetime, SystemTime::now())?;
        let chain = material.chain.iter().map(|c| c.pem.clone());
        Ok([leaf.0].into_iter().chain(chain).chain([material.roots_pem()]).collect())
    }

    /// Makes a key of the CA's own kind, and a certificate for it, to serve under `names`.
    ///
    /// # Errors
    /// If there is nothing to sign with, or the signing certificate has expired.
    pub fn serving(&self, names: &[String], lifetime: Duration) -> Result<Served, Refusal> {
        let material = self.material().ok_or(Refusal::NotReady)?;
        let (key, text) =
            Key::generate(material.key.kind()).map_err(|e| Refusal::Generation(e.to_string()))?;
        let (leaf, until) = sign(&material, key.public(), names, false, lifetime, SystemTime::now())?;
        let chain = [leaf].into_iter().chain(material.chain.iter().map(|c| c.pem.clone())).collect();
        Ok(Served { chain, key: text, until })
    }
}

fn sign(
    material: &Material,
    public_key: &[u8],
    names: &[String],
    common_name: bool,
    lifetime: Duration,
    now: SystemTime,
) -> Result<(String, SystemTime), Refusal> {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(material.signer.until.unsigned_abs());
    if seconds(now) >= material.signer.until {
        return Err(Refusal::Generation("the signing certificate has expired".to_owned()));
    }
    // No certificate outlives the one that vouches for it.
    let until = now.checked_add(lifetime).map_or(end, |until| until.min(end));
    let issuer = Issuer { name: &material.name, key_id: material.key_id.as_deref(), key: &material.key };
    let leaf = Leaf { public_key, names, common_name, from: now - CLOCK_SKEW, until };
    let der = leaf.sign(&issuer).map_err(Refusal::Generation)?;
    Ok((pem::encode("CERTIFICATE", &der).map_err(Refusal::Generation)?, until))
}

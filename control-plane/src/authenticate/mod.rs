//! Who calls: by a certificate of the mesh, or by a service account's token.
//!
//! As in istiod, a certificate comes first, then the token; what both lack is told in the log, and to the caller only
//! that it is not who it has to be.

mod review;

use meltemi_ca::{Caller, Credential, SpiffeId, uris};
use meltemi_server::{Authenticator, Call, Identities};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store;
pub use review::Reviews;

/// Where tokens are checked. Without a cluster, none is good.
pub type Tokens = Option<Arc<Reviews>>;

/// Checks callers. Cheap to clone.
#[derive(Clone)]
pub struct Authenticators {
    world: Arc<store::Shared>,
    tokens: Tokens,
    cluster: Cluster,
}

/// The names of the cluster whose tokens are checked.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its own name.
    pub name: String,
    /// Other names, each with the one that it stands for.
    pub aliases: BTreeMap<String, String>,
}

impl Cluster {
    /// Whether a client that says that it is in cluster `id` is in this one. A client need not say.
    fn is(&self, id: &str) -> bool {
        id.is_empty() || id == self.name || self.aliases.get(id) == Some(&self.name)
    }
}

impl Authenticators {
    /// Checks that ask `tokens`, for the trust domain of `world`.
    pub fn new(world: Arc<store::Shared>, tokens: Tokens, cluster: Cluster) -> Self {
        Self { world, tokens, cluster }
    }

    /// Who calls.
    ///
    /// # Errors
    /// What is wrong with each credential, for the log.
    pub async fn caller(&self, call: Call<'_>) -> Result<Caller, String> {
        let by_certificate = self.by_certificate(call);
        let Err(no_certificate) = by_certificate else { return by_certificate };
        let by_token = self.by_token(call).await;
        by_token.map_err(|no_token| format!("by certificate: {no_certificate}; by token: {no_token}"))
    }

    /// The connection has verified the certificate's chain.
    fn by_certificate(&self, call: Call<'_>) -> Result<Caller, String> {
        let certificate = call.remote.certificates.first().ok_or("no client certificate is presented")?;
        let identities = uris(certificate)?;
        let snapshot = self.world.snapshot();
        let own = SpiffeId::new(snapshot.trust_domain(), "", "").trust_domain;
        let of_mesh =
            |id: &String| id.strip_prefix("spiffe://").and_then(|r| r.split('/').next()) == Some(&*own);
        if identities.is_empty() || !identities.iter().all(of_mesh) {
            return Err(format!("the certificate is not one of a workload of trust domain {own}"));
        }
        Ok(Caller { identities, credential: Credential::ClientCertificate })
    }

    async fn by_token(&self, call: Call<'_>) -> Result<Caller, String> {
        let token = bearer(call.headers)?;
        let id = call.headers.get("clusterid").and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !self.cluster.is(id) {
            let own = &self.cluster.name;
            return Err(format!("the client claims to be in cluster {id:?}, and only {own:?} is known"));
        }
        let reviews = self.tokens.as_ref().ok_or("tokens cannot be checked without a cluster")?;
        let info = reviews.check(token).await?;
        let snapshot = self.world.snapshot();
        let id = SpiffeId::new(snapshot.trust_domain(), &info.namespace, &info.service_account);
        Ok(Caller { identities: vec![id.to_string()], credential: Credential::Token(info) })
    }
}

fn bearer(headers: &http::HeaderMap) -> Result<&str, &'static str> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter().peekable();
    if values.peek().is_none() {
        return Err("no HTTP authorization header exists");
    }
    let token = values.find_map(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    token.ok_or("no bearer token exists in HTTP authorization header")
}

impl Authenticator for Authenticators {
    fn authenticate<'a>(&'a self, call: Call<'a>) -> Identities<'a> {
        Box::pin(async move {
            match self.caller(call).await {
                Ok(caller) => Ok(caller.identities),
                Err(problem) => {
                    tracing::warn!(target: "ads", client = ?call.remote.address, problem, "authentication failed");
                    Err("authentication failure".to_owned())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_known_by_its_aliases() {
        let aliases = [("old".to_owned(), "c1".to_owned()), ("x".to_owned(), "c2".to_owned())].into();
        let cluster = Cluster { name: "c1".to_owned(), aliases };
        assert!(["", "c1", "old"].iter().all(|id| cluster.is(id)));
        assert!(["c2", "x"].iter().all(|id| !cluster.is(id)));
    }

    #[test]
    fn a_bearer_token_is_found_among_headers() {
        let mut headers = http::HeaderMap::new();
        assert!(bearer(&headers).unwrap_err().contains("no HTTP authorization"));
        headers.append("authorization", "Basic eDp5".parse().unwrap());
        assert!(bearer(&headers).unwrap_err().contains("no bearer token"));
        headers.append("authorization", "Bearer abc".parse().unwrap());
        assert_eq!(bearer(&headers), Ok("abc"));
    }
}

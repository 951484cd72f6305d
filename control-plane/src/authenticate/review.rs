//! TokenReviews: the apiserver says whose token it is, and whether it is still good.
//!
//! What it said stands for a moment, so that an agent that asks for a certificate and opens its stream costs one
//! request; of many who show the same token at once, one asks. Source: Istio `security/pkg/k8s/tokenreview`.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use meltemi_ca::KubernetesInfo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, Semaphore};

/// For how long a verdict stands.
const GOOD: Duration = Duration::from_secs(10);
const BAD: Duration = Duration::from_secs(2);
/// How many verdicts are kept.
const MOST: usize = 20_000;
/// How many are asked for at once.
const AT_ONCE: usize = 64;
/// How long the apiserver may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The apiserver refused the token: why.
type Verdict = Result<KubernetesInfo, String>;
/// Tokens are kept as their digests only.
type Digest = [u8; 32];

/// Asks the apiserver about tokens.
#[derive(Debug)]
pub struct Reviews {
    api: Ask,
    known: Mutex<HashMap<Digest, Known>>,
    turns: Semaphore,
}

#[derive(Clone, Debug)]
struct Known {
    since: Instant,
    verdict: Arc<OnceCell<Verdict>>,
}

impl Known {
    fn stands(&self, now: Instant) -> bool {
        let age = now.duration_since(self.since);
        match self.verdict.get() {
            None => true,
            Some(Ok(_)) => age < GOOD,
            Some(Err(_)) => age < BAD,
        }
    }
}

struct Ask {
    client: Client,
    audiences: Vec<String>,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

impl Reviews {
    /// Reviews by the apiserver of `client`, of tokens for one of `audiences`.
    pub fn new(client: Client, audiences: Vec<String>) -> Self {
        Self { api: Ask { client, audiences }, known: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// Why it is not good, or that the apiserver gave no answer.
    pub async fn check(&self, token: &str) -> Result<KubernetesInfo, String> {
        let verdict = self.known(token);
        // What is no verdict is not kept: the next one asks again.
        verdict.get_or_try_init(|| self.ask(token)).await?.clone()
    }

    fn known(&self, token: &str) -> Arc<OnceCell<Verdict>> {
        let digest = sha256(token.as_bytes());
        let now = Instant::now();
        let mut known = self.known.lock();
        if let Some(entry) = known.get(&digest).filter(|e| e.stands(now)) {
            return entry.verdict.clone();
        }
        if known.len() >= MOST {
            known.retain(|_, entry| entry.stands(now));
            if known.len() >= MOST {
                known.clear();
            }
        }
        let entry = Known { since: now, verdict: Arc::default() };
        known.insert(digest, entry.clone());
        entry.verdict
    }

    async fn ask(&self, token: &str) -> Result<Verdict, String> {
        let _turn = self.turns.acquire().await.map_err(|e| e.to_string())?;
        let spec = TokenReviewSpec {
            token: token.to_owned(),
            audiences: Some(self.api.audiences.clone()).filter(|a| !a.is_empty()),
        };
        let review = TokenReview { spec, ..TokenReview::default() };
        let (api, how) = (Api::<TokenReview>::all(self.api.client.clone()), PostParams::default());
        match tokio::time::timeout(TIMEOUT, api.create(&how, &review)).await {
            Err(_) => Err(format!("the apiserver reviewed no token within {TIMEOUT:?}")),
            Ok(Err(error)) => Err(format!("the apiserver reviewed no token: {error}")),
            Ok(Ok(review)) => Ok(holder(review.status.unwrap_or_default())),
        }
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}

fn holder(status: TokenReviewStatus) -> Verdict {
    if let Some(error) = status.error.filter(|e| !e.is_empty()) {
        return Err(format!("the service account authentication returns an error: {error}"));
    }
    if status.authenticated != Some(true) {
        return Err("the token is not authenticated".to_owned());
    }
    let user = status.user.unwrap_or_default();
    if !user.groups.iter().flatten().any(|g| g == "system:serviceaccounts") {
        return Err("the token is not a service account".to_owned());
    }
    let username = user.username.unwrap_or_default();
    let [_, _, namespace, service_account] = username.split(':').collect::<Vec<_>>()[..] else {
        return Err("invalid username field in the token review result".to_owned());
    };
    if namespace.is_empty() || service_account.is_empty() {
        return Err("the token names no service account".to_owned());
    }
    let extra = |name: &str| {
        let values = user.extra.as_ref().and_then(|e| e.get(name));
        values.and_then(|v| v.first()).cloned().unwrap_or_default()
    };
    Ok(KubernetesInfo {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod: extra("authentication.kubernetes.io/pod-name"),
        pod_uid: extra("authentication.kubernetes.io/pod-uid"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(status: serde_json::Value) -> Verdict {
        holder(serde_json::from_value(status).unwrap())
    }

    #[test]
    fn the_holder_is_a_service_account_with_its_pod() {
        let user = json!({"username": "system:serviceaccount:a:b", "groups": ["system:serviceaccounts"],
            "extra": {"authentication.kubernetes.io/pod-name": ["p"], "authentication.kubernetes.io/pod-uid": ["u"]}});
        let info = of(json!({"authenticated": true, "user": user})).unwrap();
        let expected = ("a", "b", "p", "u");
        assert_eq!((&*info.namespace, &*info.service_account, &*info.pod, &*info.pod_uid), expected);
    }

    #[test]
    fn others_are_refused() {
        for (status, reason) in [
            (json!({"error": "expired"}), "returns an error: expired"),
            (json!({"authenticated": false}), "not authenticated"),
            (json!({"authenticated": true, "user": {"username": "admin"}}), "not a service account"),
            (
                json!({"authenticated": true, "user": {"username": "a:b", "groups": ["system:serviceaccounts"]}}),
                "invalid username",
            ),
        ] {
            let problem = of(status).unwrap_err();
            assert!(problem.contains(reason), "{problem}");
        }
    }
}

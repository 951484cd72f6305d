//! `istio.v1.auth.IstioCertificateService`: signs certificates for whoever proves who it is.
//!
//! A node's agent may ask for certificates of the workloads on its node, if it is trusted with that. Source: Istio
//! `security/pkg/server/ca`.

use meltemi_api::istio::v1::auth::istio_certificate_service_server::IstioCertificateService;
use meltemi_api::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use meltemi_ca::{Caller, Credential, KubernetesInfo, Refusal, SpiffeId};
use meltemi_server::{Call, Remote};
use meltemi_world::{NsName, Snapshot};
use pbjson_types::value::Kind;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, async_trait};

use crate::authenticate::Authenticators;
use crate::authority::State;
use crate::metrics::Metrics;
use crate::store;

/// The largest request, in bytes: a certificate request of the largest size and what surrounds it.
pub const MAX_REQUEST: usize = 256 * 1024;

/// Which account may act for which: by namespace and name.
pub type NodeAccounts = Arc<BTreeSet<(String, String)>>;

/// The service.
#[derive(Clone)]
pub struct Certificates {
    state: State,
    callers: Authenticators,
    world: Arc<store::Shared>,
    node_accounts: NodeAccounts,
    metrics: Metrics,
    turns: Arc<Semaphore>,
}

impl Certificates {
    /// Signs with what `state` holds, for those that `callers` knows.
    pub fn new(
        state: State,
        callers: Authenticators,
        world: Arc<store::Shared>,
        node_accounts: NodeAccounts,
        metrics: Metrics,
    ) -> Self {
        // Signing keeps a core busy, so more at once would only take turns.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { state, callers, world, node_accounts, metrics, turns: Arc::new(Semaphore::new(cores)) }
    }

    /// For whom a certificate is: the caller, or the one that it asks for and may act for.
    fn names(&self, caller: Caller, asked: Option<&str>) -> Result<Vec<String>, String> {
        let Some(asked) = asked.filter(|a| !a.is_empty()) else { return Ok(caller.identities) };
        if self.node_accounts.is_empty() {
            return Err("CA_TRUSTED_NODE_ACCOUNTS is not set, so nobody acts for others".to_owned());
        }
        let Credential::Token(info) = &caller.credential else {
            return Err("only the token of a Pod tells the node of the one that acts for others".to_owned());
        };
        may_act_for(&self.node_accounts, &self.world.snapshot(), info, asked)?;
        Ok(vec![asked.to_owned()])
    }

    async fn sign(&self, csr: String, names: Vec<String>, ttl: i64) -> Result<Vec<String>, Refusal> {
        let failed = |e: &dyn std::fmt::Display| Refusal::Generation(e.to_string());
        let turn = self.turns.clone().acquire_owned().await.map_err(|e| failed(&e))?;
        let authority = self.state.authority.clone();
        let signing = tokio::task::spawn_blocking(move || {
            let answer = authority.answer(&csr, &names, ttl);
            drop(turn);
            answer
        });
        signing.await.map_err(|e| failed(&e))?
    }
}

#[async_trait]
impl IstioCertificateService for Certificates {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.metrics.csr();
        let unknown = Remote::default();
        let (metadata, extensions, request) = request.into_parts();
        let (remote, headers) = (extensions.get::<Remote>().unwrap_or(&unknown), metadata.into_headers());
        let client = remote.address;
        let caller = match self.callers.caller(Call { remote, headers: &headers }).await {
            Ok(caller) => caller,
            Err(problem) => {
                self.metrics.csr_unauthenticated();
                tracing::warn!(target: "ca", ?client, problem, "a request for a certificate is refused");
                return Err(Status::unauthenticated("request authenticate failure"));
            }
        };
        let names = self.names(caller, text(&request, "ImpersonatedIdentity")).map_err(|problem| {
            self.metrics.csr_unauthenticated();
            tracing::warn!(target: "ca", ?client, problem, "a request for another's certificate is refused");
            Status::unauthenticated("request impersonation authentication failure")
        })?;
        tracing::debug!(target: "ca", ?client, ?names, ttl = request.validity_duration, "signing");
        // The metadata `CertSigner` chooses among signers of a registration authority; here is one authority.
        match self.sign(request.csr, names, request.validity_duration).await {
            Ok(cert_chain) => {
                self.metrics.csr_signed();
                Ok(Response::new(IstioCertificateResponse { cert_chain }))
            }
            Err(refusal) => {
                self.metrics.csr_refused(refusal.class());
                tracing::warn!(target: "ca", ?client, %refusal, "a certificate is not signed");
                let message = format!("CSR signing error ({refusal})");
                let of_caller = refusal.is_callers_fault();
                Err(if of_caller { Status::invalid_argument(message) } else { Status::internal(message) })
            }
        }
    }
}

fn text<'a>(request: &'a IstioCertificateRequest, key: &str) -> Option<&'a str> {
    match request.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(value) => Some(value),
        _ => None,
    }
}

/// Whether the holder of a token may act for `asked`: its account is trusted with that, its Pod is the one that the token
/// was made for, and a Pod of the account that is asked for runs on the same node.
fn may_act_for(
    trusted: &BTreeSet<(String, String)>,
    snapshot: &Snapshot,
    info: &KubernetesInfo,
    asked: &str,
) -> Result<(), String> {
    let KubernetesInfo { namespace, service_account, pod, pod_uid } = info;
    if !trusted.contains(&(namespace.clone(), service_account.clone())) {
        return Err(format!("{namespace}/{service_account} is not among CA_TRUSTED_NODE_ACCOUNTS"));
    }
    let asked: SpiffeId = asked.parse()?;
    let own = snapshot.pods.get(&NsName::new(namespace.as_str(), pod.as_str()));
    let own = own.ok_or_else(|| format!("there is no Pod {namespace}/{pod}"))?;
    if *own.uid != **pod_uid {
        return Err(format!("the Pod {namespace}/{pod} has the UID {} and not {pod_uid}", own.uid));
    }
    if *own.service_account != **service_account {
        return Err(format!("the Pod {namespace}/{pod} has the account {}", own.service_account));
    }
    let first = NsName::new(asked.namespace.as_str(), "");
    let mut pods = snapshot.pods.range(first..).take_while(|(key, _)| *key.namespace == *asked.namespace);
    let there = pods.any(|(_, p)| {
        !p.node.is_empty() && p.node == own.node && *p.service_account == *asked.service_account
    });
    if there { Ok(()) } else { Err(format!("no Pod of {asked} runs on node {}", own.node)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_world::convert::project;
    use meltemi_world::snapshot::Settings;
    use serde_json::json;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::empty(Settings::default());
        for (namespace, name, account, node) in [
            ("istio-system", "ztunnel-1", "ztunnel", "n1"),
            ("a", "web-1", "web", "n1"),
            ("a", "web-2", "web", "n2"),
            ("a", "db-1", "db", "n2"),
        ] {
            let pod = json!({
                "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}")},
                "spec": {"nodeName": node, "serviceAccountName": account},
            });
            let pod = project::pod(&serde_json::from_value(pod).unwrap());
            snapshot.pods.insert(NsName::new(namespace, name), Arc::new(pod));
        }
        snapshot
    }

    #[test]
    fn a_trusted_account_acts_for_those_on_its_node() {
        let trusted = [("istio-system".to_owned(), "ztunnel".to_owned())].into();
        let caller = |account: &str, pod: &str, uid: &str| KubernetesInfo {
            namespace: "istio-system".into(),
            service_account: account.into(),
            pod: pod.into(),
            pod_uid: uid.into(),
        };
        let good = caller("ztunnel", "ztunnel-1", "uid-ztunnel-1");
        let id = |account: &str| format!("spiffe://cluster.local/ns/a/sa/{account}");
        let check = |who: &KubernetesInfo, asked: &str| may_act_for(&trusted, &snapshot(), who, asked);
        assert_eq!(check(&good, &id("web")), Ok(()));
        for (who, asked, reason) in [
            (&good, id("db"), "runs on node n1"),
            (&good, id("nobody"), "runs on node n1"),
            (&good, "web".to_owned(), "is no identity"),
            (&caller("other", "ztunnel-1", "uid-ztunnel-1"), id("web"), "CA_TRUSTED_NODE_ACCOUNTS"),
            (&caller("ztunnel", "gone", "uid-ztunnel-1"), id("web"), "there is no Pod"),
            (&caller("ztunnel", "ztunnel-1", "old"), id("web"), "has the UID"),
        ] {
            let problem = check(who, &asked).unwrap_err();
            assert!(problem.contains(reason), "{problem}");
        }
    }
}

//! What goes on around secrets: who may have them, and which could not be made.

mod review;

use meltemi_api::istio::networking::v1alpha3::EnvoyFilter;
use meltemi_server::Registry;
use meltemi_server::engine::Attendant;
use meltemi_translation::findings::Finding;
use meltemi_translation::sds::certificate::Validity;
use meltemi_translation::sds::secret::Problem;
use meltemi_world::{Config, NsName};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::patches::FailedPatches;
use crate::sources::Batches;
use review::Reviews;

/// How many requests for a review may wait. What finds no room is asked for again.
const QUEUE: usize = 256;

/// Stands by the engine: counts secrets that could not be made and patches that could not be applied, and passes on who wants some.
#[derive(Debug)]
pub struct Warden {
    metrics: Metrics,
    patches: FailedPatches,
    wanted: mpsc::Sender<NsName>,
}

impl Warden {
    /// A warden, and the service accounts that it is asked about, for [`review`].
    pub fn new(metrics: Metrics, patches: FailedPatches) -> (Self, mpsc::Receiver<NsName>) {
        let (wanted, accounts) = mpsc::channel(QUEUE);
        (Self { metrics, patches, wanted }, accounts)
    }

    fn failed(&self, account: Option<&NsName>, name: &str, problem: &str) {
        let account = account.map(ToString::to_string);
        tracing::warn!(target: "ads", secret = name, account, problem, "a secret cannot be served");
        self.metrics.secret_failed();
    }
}

/// Asks the apiserver about service accounts of connected proxies, until the store or the warden is gone.
pub async fn review(
    client: kube::Client,
    accounts: mpsc::Receiver<NsName>,
    connected: Arc<Registry>,
    batches: Batches,
) {
    Reviews::new(client, connected, batches).run(accounts).await;
}

impl Attendant for Warden {
    fn review(&self, account: &NsName) {
        // Full: others are being asked about, and every snapshot that follows from them asks again.
        let _ = self.wanted.try_send(account.clone());
    }

    fn patch_failed(&self, filter: &Arc<Config<EnvoyFilter>>, finding: &Finding) {
        self.patches.note(filter, finding);
    }

    fn secret(&self, account: Option<&NsName>, name: &str, outcome: Result<Validity, &Problem>) {
        match outcome {
            // Neither is anybody's mistake.
            Err(Problem::Never | Problem::Unreviewed(_)) => {}
            Err(problem @ Problem::NoIdentity) => {
                tracing::warn!(target: "ads", secret = name, %problem, "a secret cannot be served");
            }
            Err(problem) => self.failed(account, name, &problem.to_string()),
            Ok(validity) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs() as i64);
                if now < validity.from || now > validity.until {
                    // It is served nevertheless: some clients do not mind, and Envoy does not.
                    self.failed(account, name, "a certificate has expired, or is not valid yet");
                }
            }
        }
    }
}

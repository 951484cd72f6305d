//! Keeps the secrets good: the first certificate as soon as the CA gives one, the next ones in time, and roots whenever they
//! change. What is there stays in force until something better is.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::{Authority, Backoff, Issued, Random, Roots, Secrets, renew_at};
use crate::{files, metrics::Metrics, settings::Settings};

/// The task that keeps secrets good.
pub struct Renewal {
    authority: Authority,
    grace: (f64, f64),
    random: Random,
    metrics: Arc<Metrics>,
    told: watch::Sender<Secrets>,
    /// The roots of the CA's last answer.
    answered: Roots,
    /// The mounted ones.
    mounted: Roots,
}

impl Renewal {
    /// Starts the task. The receiver tells of each change; the task ends with the last receiver.
    pub fn start(settings: &Settings, metrics: Arc<Metrics>) -> watch::Receiver<Secrets> {
        let (told, heard) = watch::channel(Secrets::default());
        let renewal = Self {
            authority: Authority::new(settings),
            grace: (settings.certificates.grace_ratio, settings.certificates.grace_jitter),
            random: Random::system(),
            metrics,
            told,
            answered: Roots::default(),
            mounted: Roots::default(),
        };
        let mounted = settings.certificates.more_roots.clone().map(files::follow);
        tokio::spawn(renewal.run(mounted));
        heard
    }

    async fn run(mut self, mut mounted: Option<watch::Receiver<Option<Vec<u8>>>>) {
        if let Some(content) = mounted.as_mut().and_then(|m| m.borrow_and_update().clone()) {
            self.mount(&content);
        }
        let mut backoff = Backoff::new(self.random.clone());
        let mut next = SystemTime::now();
        loop {
            // The clock of certificates is the wall's: it may jump, and a machine may have slept.
            let wait = next.duration_since(SystemTime::now()).unwrap_or_default().min(LONGEST_SLEEP);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.told.closed() => return,
                content = changed(&mut mounted) => {
                    self.mount(&content);
                    continue;
                }
            }
            if SystemTime::now() < next {
                continue;
            }
            self.metrics.outgoing_requests.inc();
            next = match self.authority.issue().await {
                Ok(issued) => {
                    backoff.reset();
                    self.take(issued)
                }
                Err(error) => {
                    self.metrics.failed_outgoing_requests.inc();
                    let left = self.left();
                    let wait = backoff.after_failure(left);
                    tracing::warn!(
                        "no new certificate, the present one is good for {left:?}: {error}; next try in {wait:?}"
                    );
                    SystemTime::now() + wait
                }
            };
        }
    }

    /// How long the present certificate is good for.
    fn left(&self) -> Duration {
        let workload = self.told.borrow().workload.clone();
        workload.and_then(|w| w.not_after.duration_since(SystemTime::now()).ok()).unwrap_or_default()
    }

    /// Puts a new certificate in force; when to renew it.
    fn take(&mut self, issued: Issued) -> SystemTime {
        let until = issued.identity.not_after;
        let at = renew_at(SystemTime::now(), until, self.grace.0, self.grace.1, &self.random);
        self.answered = issued.roots;
        let identity = Arc::new(issued.identity);
        self.told.send_modify(|secrets| secrets.workload = Some(identity));
        self.tell_roots();
        self.metrics.certificate(until);
        let wait = at.duration_since(SystemTime::now()).unwrap_or_default();
        tracing::info!("a new certificate; the next in {wait:?}");
        at
    }

    fn mount(&mut self, content: &[u8]) {
        match Roots::parse(content) {
            // The kubelet may show a file that is not written yet.
            Ok(roots) if roots.is_empty() => {}
            Ok(roots) => {
                self.mounted = roots;
                self.tell_roots();
            }
            Err(problem) => tracing::warn!("the mounted roots {problem}; those from before stay in force"),
        }
    }

    /// Roots of both places: whichever hears of a new root first, peers that already use it are believed.
    fn tell_roots(&self) {
        let roots = self.answered.and(&self.mounted);
        self.told.send_if_modified(|secrets| {
            let changed = *secrets.roots != roots;
            if changed {
                tracing::info!("{} roots are trusted", roots.len());
                secrets.roots = Arc::new(roots);
            }
            changed
        });
    }
}

const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The next content of a file; never, if there is no file.
async fn changed(file: &mut Option<watch::Receiver<Option<Vec<u8>>>>) -> Vec<u8> {
    loop {
        match file {
            Some(receiver) => match receiver.changed().await {
                Ok(()) => {
                    if let Some(content) = receiver.borrow_and_update().clone() {
                        return content;
                    }
                }
                Err(_) => *file = None,
            },
            None => std::future::pending().await,
        }
    }
}

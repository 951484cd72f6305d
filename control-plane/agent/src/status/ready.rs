//! Whether Envoy is ready: configured by istiod, live, and with its workers at work.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::envoy::Admin;

const STATS: &str = "^(server\\.state|listener_manager\\.workers_started|cluster_manager\\.cds\\.update_(success|rejected)|listener_manager\\.lds\\.update_(success|rejected))$";

/// Remembers what stays true once it is: Envoy never goes back to the time before its first configuration.
#[derive(Debug, Default)]
pub struct Readiness {
    configured: AtomicBool,
    live: AtomicBool,
}

impl Readiness {
    /// Asks Envoy, unless it has been ready before.
    ///
    /// # Errors
    /// What is missing.
    pub async fn check(&self, admin: Admin) -> Result<(), String> {
        if self.configured.load(Ordering::Relaxed) && self.live.load(Ordering::Relaxed) {
            return Ok(());
        }
        let stats = admin.stats(&escape(STATS)).await.map_err(|e| e.to_string())?;
        let count = |name: &str| stats.get(name).copied();
        configured(count)?;
        self.configured.store(true, Ordering::Relaxed);
        live(count)?;
        self.live.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn configured(count: impl Fn(&str) -> Option<u64>) -> Result<(), String> {
    let of = |kind: &str, what: &str| count(&format!("{kind}.update_{what}")).unwrap_or(0);
    let (cds, lds) = ("cluster_manager.cds", "listener_manager.lds");
    let counts = format!(
        "cds updates: {} successful, {} rejected; lds updates: {} successful, {} rejected",
        of(cds, "success"),
        of(cds, "rejected"),
        of(lds, "success"),
        of(lds, "rejected")
    );
    match (of(cds, "success") > 0, of(lds, "success") > 0) {
        (true, true) => Ok(()),
        (false, false) => Err(format!("config not received from XDS server (is Istiod running?): {counts}")),
        _ if of(cds, "rejected") + of(lds, "rejected") > 0 => {
            Err(format!("config received from XDS server, but was rejected: {counts}"))
        }
        _ => Err(format!("config not fully received from XDS server: {counts}")),
    }
}

fn live(count: impl Fn(&str) -> Option<u64>) -> Result<(), String> {
    // `server.state`: 0 live, 1 draining, 2 and 3 initializing (Envoy's ServerInfo).
    match (count("server.state"), count("listener_manager.workers_started")) {
        (Some(0), Some(1)) => Ok(()),
        (Some(0), _) => Err("workers have not yet started".into()),
        (state, _) => Err(format!("server is not live, its state is {state:?}")),
    }
}

/// Escapes what a query can't hold as it is.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let check = |stats: &[(&str, u64)]| {
            let count = |name: &str| stats.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
            configured(count).and_then(|()| live(count)).err().unwrap_or_default()
        };
        let both = [("cluster_manager.cds.update_success", 1), ("listener_manager.lds.update_success", 1)];
        assert!(check(&[]).starts_with("config not received"));
        assert!(check(&both[..1]).starts_with("config not fully received"));
        assert!(check(&[both[0], ("listener_manager.lds.update_rejected", 1)]).contains("was rejected"));
        assert!(check(&[both[0], both[1], ("server.state", 3)]).starts_with("server is not live"));
        assert!(check(&[both[0], both[1], ("server.state", 0)]).starts_with("workers"));
        let all = [both[0], both[1], ("server.state", 0), ("listener_manager.workers_started", 1)];
        assert_eq!(check(&all), "");
    }
}

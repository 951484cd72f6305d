//! Settings of the certificate authority, under istiod's names.

use meltemi_ca::{KeyKind, Lifetimes};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::{Env, list};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How certificates are signed, and for whom.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Whether certificates are signed for workloads (`ENABLE_CA_SERVER`).
    pub enabled: bool,
    /// Where an operator's own CA is mounted (`ROOT_CA_DIR`).
    pub folder: PathBuf,
    /// For how long certificates are valid (`DEFAULT_WORKLOAD_CERT_TTL`, `MAX_WORKLOAD_CERT_TTL`).
    pub lifetimes: Lifetimes,
    /// The kind of a new root's key: P-256, or RSA if `CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE` is set.
    pub root_key: KeyKind,
    /// For how long a new root is valid (`CITADEL_SELF_SIGNED_CA_CERT_TTL`).
    pub root_lifetime: Duration,
    /// How often it is looked whether the root must be renewed (`CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL`); zero
    /// for never.
    pub check_interval: Duration,
    /// In which last part of its life the root is renewed, in percent
    /// (`CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE`).
    pub grace: u32,
    /// Whether a new root is kept in the Secret `cacerts` (`USE_CACERTS_FOR_SELF_SIGNED_CA`).
    pub in_cacerts: bool,
    /// Audiences of which a token must have one (`TOKEN_AUDIENCES`).
    pub audiences: Vec<String>,
    /// Service accounts, as NAMESPACE/NAME, that may ask for certificates of the workloads on their own node
    /// (`CA_TRUSTED_NODE_ACCOUNTS`).
    pub node_accounts: BTreeSet<(String, String)>,
    /// Other names that the control plane is reached under (`ISTIOD_CUSTOM_HOST`).
    pub custom_hosts: Vec<String>,
    /// Who signs the control plane's own certificate (`PILOT_CERT_PROVIDER`).
    pub provider: String,
    /// The ConfigMap with the roots, in each namespace (`PILOT_CA_CERT_CONFIGMAP`).
    pub root_map: String,
    /// The ConfigMap with revoked certificates, in each namespace, if there are any (`PILOT_CRL_CONFIGMAP`).
    pub crl_map: Option<String>,
    /// Whether proxies must prove who they are where they can (`XDS_AUTH`).
    pub xds_auth: bool,
}

/// Reads them.
pub fn read(env: &mut Env) -> Authority {
    let defaults = Lifetimes::default();
    let key_size = env.number("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE", 0u32);
    let crl_map = env.text("PILOT_CRL_CONFIGMAP", "istio-ca-crl");
    let with_crl = env.flag("PILOT_ENABLE_CA_CRL", true);
    let accounts = list(&env.text("CA_TRUSTED_NODE_ACCOUNTS", ""));
    let mut node_accounts = BTreeSet::new();
    for account in accounts {
        match account.split_once('/') {
            Some((namespace, name)) => {
                node_accounts.insert((namespace.to_owned(), name.to_owned()));
            }
            None => env.notice(format!(
                "environment variable CA_TRUSTED_NODE_ACCOUNTS: {account:?} is not NAMESPACE/NAME; it is left out"
            )),
        }
    }
    Authority {
        enabled: env.flag("ENABLE_CA_SERVER", true),
        folder: env.text("ROOT_CA_DIR", "./etc/cacerts").into(),
        lifetimes: Lifetimes {
            default: env.duration("DEFAULT_WORKLOAD_CERT_TTL", defaults.default),
            most: env.duration("MAX_WORKLOAD_CERT_TTL", defaults.most),
        },
        root_key: if key_size == 0 { KeyKind::P256 } else { KeyKind::Rsa(key_size) },
        root_lifetime: env.duration("CITADEL_SELF_SIGNED_CA_CERT_TTL", 3650 * DAY),
        check_interval: env.duration("CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL", HOUR),
        grace: env.number("CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE", 20),
        in_cacerts: env.flag("USE_CACERTS_FOR_SELF_SIGNED_CA", false),
        audiences: list(&env.text("TOKEN_AUDIENCES", "istio-ca")),
        node_accounts,
        custom_hosts: list(&env.text("ISTIOD_CUSTOM_HOST", "")),
        provider: env.text("PILOT_CERT_PROVIDER", "istiod"),
        root_map: env.text("PILOT_CA_CERT_CONFIGMAP", "istio-ca-root-cert"),
        crl_map: with_crl.then_some(crl_map),
        xds_auth: env.flag("XDS_AUTH", true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_istiods_names_and_defaults() {
        let plain = read(&mut Env::default());
        assert_eq!((plain.root_key, plain.lifetimes.default), (KeyKind::P256, DAY));
        assert_eq!(plain.audiences, ["istio-ca"]);
        let mut env = Env::of([
            ("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE", "4096"),
            ("CA_TRUSTED_NODE_ACCOUNTS", "istio-system/ztunnel,odd"),
            ("MAX_WORKLOAD_CERT_TTL", "1h"),
        ]);
        let set = read(&mut env);
        assert_eq!((set.root_key, set.lifetimes.most), (KeyKind::Rsa(4096), HOUR));
        assert_eq!(set.node_accounts, [("istio-system".to_owned(), "ztunnel".to_owned())].into());
        assert!(env.take_notices()[0].contains("odd"));
    }
}

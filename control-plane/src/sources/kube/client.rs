//! How to reach the apiserver.

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::Path;
use std::time::Duration;

/// A client for the cluster of `kubeconfig`, or of the Pod that this runs in.
///
/// # Errors
/// If there is neither, or the file cannot be used.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("--kubeconfig {}", path.display()))?
        }
        None => match Config::incluster() {
            Ok(config) => config,
            Err(in_cluster) => Config::infer().await.with_context(|| {
                format!(
                    "no cluster to watch: not in a Pod ({in_cluster}) and no kubeconfig. Use --kubeconfig FILE, or \
                     --registries File --configDir DIR to run without a cluster"
                )
            })?,
        },
    };
    config.connect_timeout = Some(Duration::from_secs(10));
    // Watches are silent for long, and know themselves for how long.
    config.read_timeout = None;
    // Whoever asks waits before the next attempt, and says so.
    config.default_retry = false;
    tracing::info!(apiserver = %config.cluster_url, "connecting");
    Client::try_from(config).context("cannot talk to the apiserver")
}

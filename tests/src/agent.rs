//! `meltemi agent` in pods, with what Istio's injector puts into one: files, variables, and the init container's rules.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    authority::{Authority, SERVER_NAME},
    envoy::Envoy,
    http,
    interception::PROXY_USER,
    netns::{HUB, Pod},
    process::Launch,
    setup,
    workload::Workload,
};

/// Where Envoy's readiness is asked for, as the kubelet does.
pub const READY: u16 = 15021;
/// Where the agent's status server listens.
pub const STATUS: u16 = 15020;

/// How an agent reaches what it asks.
pub enum Control<'a> {
    /// xDS in clear, certificates from an authority of the test's.
    Led(&'a Authority),
    /// Both from the control plane, over TLS.
    Istiod {
        /// The token that the kubelet mounts.
        token: &'a str,
        /// The roots of the ConfigMap that the kubelet mounts.
        roots: &'a str,
    },
}

/// The token that [`Control::Led`] knows a workload by.
pub fn token(workload: &Workload) -> String {
    format!("{}/{}", workload.namespace, workload.app)
}

/// Starts an agent in a pod and waits until Envoy is ready by the kubelet's probe. `dir` is for logs and files.
pub async fn start(
    pod: &Pod,
    workload: &Workload,
    control: &Control<'_>,
    more: &[(&str, &str)],
    dir: &Path,
) -> Result<Envoy> {
    let root = root(pod, workload, control, dir)?;
    let mut config = json!({"binaryPath": mortal_envoy(dir)?, "concurrency": 2});
    let mut vars: Vec<(String, String)> = vec![
        ("POD_NAME".into(), workload.pod_name()),
        ("POD_NAMESPACE".into(), workload.namespace.clone()),
        ("SERVICE_ACCOUNT".into(), workload.app.clone()),
        ("INSTANCE_IP".into(), workload.address.to_string()),
        ("ISTIO_META_CLUSTER_ID".into(), "Kubernetes".into()),
        ("ISTIO_META_WORKLOAD_NAME".into(), workload.name()),
        ("ISTIO_META_INTERCEPTION_MODE".into(), "REDIRECT".into()),
        ("ISTIO_META_NODE_NAME".into(), crate::workload::NODE.into()),
        ("ISTIO_META_MESH_ID".into(), "cluster.local".into()),
    ];
    match control {
        Control::Led(authority) => {
            config["discoveryAddress"] = format!("{HUB}:15010").into();
            config["controlPlaneAuthPolicy"] = "NONE".into();
            vars.push(("CA_ADDR".into(), authority.address.to_string()));
        }
        Control::Istiod { .. } => config["discoveryAddress"] = format!("{HUB}:15012").into(),
    }
    // Addresses instead of names, for want of a DNS.
    vars.push(("ISTIOD_SAN".into(), SERVER_NAME.into()));
    vars.push(("PROXY_CONFIG".into(), config.to_string()));
    vars.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut launch = Launch::new(format!("agent-{}", pod.name), setup::meltemi()?)
        .args(["agent", "proxy", "sidecar", "--log_output_level=default:info"])
        .at(&pod.place)
        .user(PROXY_USER);
    for (name, value) in vars {
        launch = launch.env(name, value);
    }
    let mut envoy = Envoy::of_agent(launch.start(&root)?, &pod.place);
    let at = SocketAddr::from((workload.address, READY));
    let ready = crate::wait::until_true("Envoy is ready", Duration::from_secs(30), async || {
        envoy.process.check()?;
        Ok(http::get(&pod.place, at, "/healthz/ready").await?.status.is_success())
    });
    let outcome = ready.await;
    outcome.with_context(|| format!("the end of the agent's log:\n{}", envoy.process.log_tail(30)))?;
    Ok(envoy)
}

/// The folder that is the agent's root: what the kubelet mounts into the container.
fn root(pod: &Pod, workload: &Workload, control: &Control<'_>, dir: &Path) -> Result<PathBuf> {
    let root = dir.join(format!("root-{}", pod.name));
    let at = |path: &str| -> Result<PathBuf> {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        Ok(path)
    };
    let (token_file, roots_file) =
        (at("var/run/secrets/tokens/istio-token")?, at("var/run/secrets/istio/root-cert.pem")?);
    match control {
        Control::Led(authority) => {
            fs::write(token_file, token(workload))?;
            authority.mount(&roots_file)?;
        }
        Control::Istiod { token, roots } => {
            fs::write(token_file, token)?;
            fs::write(roots_file, roots)?;
        }
    }
    let pod = workload.pod();
    let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
    let lines: String = labels.map(|(k, v)| format!("{k}={v}\n")).collect();
    fs::write(at("etc/istio/pod/labels")?, lines)?;
    for own in ["var/run/secrets/workload-spiffe-uds", "etc/istio/proxy"] {
        fs::create_dir_all(root.join(own))?;
        chown(root.join(own), Some(PROXY_USER), Some(PROXY_USER))?;
    }
    Ok(root)
}

/// Envoy that ends with the agent also if that is killed: in a cluster, the container's end sees to it.
fn mortal_envoy(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("mortal-envoy");
    if !path.exists() {
        let envoy = setup::envoy()?;
        let script = format!("#!/bin/sh\nexec setpriv --pdeathsig KILL {} \"$@\"\n", envoy.display());
        let new = dir.join(crate::scratch::unique("mortal-envoy-"));
        fs::write(&new, script)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::rename(new, &path)?;
    }
    Ok(path)
}

/// The certificates that Envoy has of a secret, in PEM.
pub async fn secret(envoy: &Envoy, name: &str) -> Result<String> {
    let dump = envoy.get("/config_dump?resource=dynamic_active_secrets").await?.json()?;
    let all = dump["configs"].as_array().cloned().unwrap_or_default();
    let named = all.iter().find(|s| s["name"] == name).context("Envoy has no such secret")?;
    let secret = &named["secret"];
    let held = if name == "ROOTCA" {
        &secret["validation_context"]["trusted_ca"]
    } else {
        &secret["tls_certificate"]["certificate_chain"]
    };
    decode(held)
}

fn decode(source: &Value) -> Result<String> {
    use base64::Engine;
    let text = source["inline_bytes"].as_str().context("no inline bytes")?;
    Ok(String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text)?)?)
}

//! Secrets: where Envoy fetches a certificate or a root from and by which name, and what it is sent for that name.
//!
//! Source: Istio `pilot/pkg/security/model`, `pkg/model/authentication.go`, `pilot/pkg/model/credentials`.

pub mod certificate;
mod private_key;
pub mod reference;
pub mod secret;

use crate::{Cx, extension_provider};
use meltemi_api::envoy::config::core::v3::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService,
    api_config_source::ApiType, config_source::ConfigSourceSpecifier, grpc_service,
};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::SdsSecretConfig;
use meltemi_api::istio::mesh::v1alpha1::mesh_config::extension_provider::Provider;
use meltemi_api::wkt;

/// The workload's own certificate.
pub const DEFAULT: &str = "default";
/// The roots of the mesh.
pub const ROOT: &str = "ROOTCA";
/// What distinguishes the name of a credential's root from that of its certificate.
pub const CA_SUFFIX: &str = "-cacert";
/// The cluster of an SDS server beside the proxy, for credentials.
pub const EXTERNAL_CLUSTER: &str = "sds-external";

/// The cluster of pilot-agent, part of the bootstrap.
const AGENT_CLUSTER: &str = "sds-grpc";
/// The cluster of an SDS server that serves files, part of the bootstrap where the node says `file-credential`.
const FILES_CLUSTER: &str = "sds-files-grpc";
/// A credential that an SDS server beside the proxy serves.
const EXTERNAL: &str = "sds://";
/// A credential that is the workload's own certificate.
pub(crate) const BUILTIN: &str = "builtin://";
/// A credential that is never valid.
const INVALID: &str = "invalid://";
/// A Secret of the proxy's namespace.
const KUBERNETES: &str = "kubernetes://";
/// A Secret that a Gateway refers to.
pub(crate) const GATEWAY: &str = "kubernetes-gateway://";
/// A ConfigMap.
const CONFIG_MAP: &str = "configmap://";
/// Credentials that name where they are; any other is a Secret's name.
const EXPLICIT: [&str; 3] = [CONFIG_MAP, KUBERNETES, GATEWAY];

/// A secret that pilot-agent serves: [`DEFAULT`], [`ROOT`], or a file.
pub fn agent(name: &str) -> SdsSecretConfig {
    let mut source = grpc(AGENT_CLUSTER, "");
    if name == DEFAULT || name == ROOT {
        // Without an identity nothing works, so Envoy waits for it as long as it takes.
        source.initial_fetch_timeout = Some(wkt::seconds(0));
    }
    SdsSecretConfig { name: name.to_owned(), sds_config: Some(source) }
}

/// A file that an SDS server of its own serves.
pub fn files(name: &str) -> SdsSecretConfig {
    SdsSecretConfig { name: name.to_owned(), sds_config: Some(grpc(FILES_CLUSTER, "")) }
}

/// A secret of another SDS server, reached by `cluster` under `authority`.
pub fn external(name: &str, cluster: &str, authority: &str) -> SdsSecretConfig {
    SdsSecretConfig { name: name.to_owned(), sds_config: Some(grpc(cluster, authority)) }
}

/// The name under which pilot-agent serves a certificate from files.
pub fn certificate_files(certificate: &str, key: &str) -> String {
    format!("file-cert:{certificate}~{key}")
}

/// The name under which pilot-agent serves a root from a file; `system` stands for the operating system's.
pub fn root_file(path: &str) -> String {
    format!("file-root:{path}")
}

/// A `credentialName`, or its root if it ends in [`CA_SUFFIX`]; `None` for an empty one. `socket`: whether the node
/// has an SDS server for credentials beside it. Source: Istio `ConstructSdsSecretConfigForCredential`.
pub fn credential(name: &str, socket: bool) -> Option<SdsSecretConfig> {
    match name.strip_prefix(EXTERNAL) {
        _ if name.is_empty() => None,
        Some(_) if socket => Some(external(name, EXTERNAL_CLUSTER, "")),
        Some(secret) => Some(from_control_plane(secret)),
        None if name == BUILTIN => Some(agent(DEFAULT)),
        None if name.strip_suffix(CA_SUFFIX) == Some(BUILTIN) => Some(agent(ROOT)),
        None => Some(from_control_plane(name)),
    }
}

/// The `credentialName` of a server, or its root. One of `sds://` comes from the SDS server beside the proxy if it has
/// one, else from the SDS server that MeshConfig defines (the first of its `extensionProviders` that is one).
pub fn server_credential(cx: &Cx<'_>, name: &str) -> Option<SdsSecretConfig> {
    let socket = cx.proxy.metadata.credential == "true";
    let mut providers = cx.mesh().extension_providers.iter().filter_map(|p| match &p.provider {
        Some(Provider::Sds(provider)) => Some(provider),
        _ => None,
    });
    match (name.strip_prefix(EXTERNAL), providers.next()) {
        (Some(secret), Some(provider)) if !socket => {
            let server = extension_provider::lookup(cx, &provider.service, provider.port)?;
            Some(external(secret, &server.cluster, &server.hostname))
        }
        _ => credential(name, socket),
    }
}

fn from_control_plane(name: &str) -> SdsSecretConfig {
    // No fetch timeout: a Secret that does not exist must not hold up the whole cluster or listener.
    let source = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        resource_api_version: ApiVersion::V3 as i32,
        ..Default::default()
    };
    SdsSecretConfig { name: resource_name(name), sds_config: Some(source) }
}

/// Source: Istio `credentials.ToResourceName`.
pub(crate) fn resource_name(name: &str) -> String {
    match name {
        _ if name.starts_with(BUILTIN) => DEFAULT.to_owned(),
        _ if name.starts_with(INVALID) => INVALID.to_owned(),
        _ if EXPLICIT.iter().any(|prefix| name.starts_with(prefix)) => name.to_owned(),
        _ => format!("{KUBERNETES}{name}"),
    }
}

fn grpc(cluster: &str, authority: &str) -> ConfigSource {
    let service = grpc_service::EnvoyGrpc {
        cluster_name: cluster.to_owned(),
        authority: authority.to_owned(),
        ..Default::default()
    };
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(ApiConfigSource {
            api_type: ApiType::Grpc as i32,
            transport_api_version: ApiVersion::V3 as i32,
            set_node_on_first_message_only: true,
            grpc_services: vec![GrpcService {
                target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(service)),
                ..Default::default()
            }],
            ..Default::default()
        })),
        resource_api_version: ApiVersion::V3 as i32,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_resource_names() {
        let name = |n: &str, socket| credential(n, socket).map(|s| s.name);
        assert_eq!(name("", false), None);
        assert_eq!(name("a", false).as_deref(), Some("kubernetes://a"));
        assert_eq!(name("kubernetes-gateway://ns/a", false).as_deref(), Some("kubernetes-gateway://ns/a"));
        assert_eq!(name("sds://a", true).as_deref(), Some("sds://a"));
        assert_eq!(name("sds://a", false).as_deref(), Some("kubernetes://a"));
        assert_eq!(name("builtin://", false).as_deref(), Some(DEFAULT));
        assert_eq!(name("builtin://-cacert", false).as_deref(), Some(ROOT));
        assert_eq!(name("invalid://x", false).as_deref(), Some("invalid://"));
    }
}

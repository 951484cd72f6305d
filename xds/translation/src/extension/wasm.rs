//! A Wasm module as Envoy runs it, and what pilot-agent needs to get it.
//!
//! Source: Istio `buildWasmConfig`, `buildVMConfig` (`pilot/pkg/model/extensions.go`).

use crate::{Cx, wire};
use meltemi_api::envoy::config::core::v3::{
    AsyncDataSource, DataSource, HttpUri, RemoteDataSource, async_data_source, data_source, http_uri,
};
use meltemi_api::envoy::extensions::filters::{http::wasm::v3 as http, network::wasm::v3 as network};
use meltemi_api::envoy::extensions::wasm::v3::{
    EnvironmentVariables, FailurePolicy, PluginConfig, VmConfig, plugin_config,
};
use meltemi_api::istio::extensions::v1alpha1::{
    EnvValueSource, FailStrategy, PluginType, PullPolicy, WasmConfig,
};
use meltemi_api::wkt::{self, Any};
use meltemi_world::{Meta, NsName};

const RUNTIME: &str = "envoy.wasm.runtime.v8";
/// How long fetching a module may take, in seconds.
const TIMEOUT: i64 = 30;
/// Where pilot-agent finds the credentials of an image's registry; it takes them out before Envoy sees them.
const PULL_SECRET: &str = "ISTIO_META_WASM_IMAGE_PULL_SECRET";
const PULL_POLICY: &str = "ISTIO_META_WASM_IMAGE_PULL_POLICY";
/// By which pilot-agent sees that the object changed, and so its image perhaps too.
const RESOURCE_VERSION: &str = "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION";

/// The filter, of the kind that the module is for.
pub(super) fn filter(cx: &Cx<'_>, meta: &Meta, wasm: &WasmConfig, secrets: bool) -> Any {
    let config = Some(plugin(cx, meta, wasm, secrets));
    match wasm.r#type() {
        PluginType::Network => wire::any(&network::Wasm { config }),
        PluginType::UnspecifiedPluginType | PluginType::Http => wire::any(&http::Wasm { config }),
    }
}

fn plugin(cx: &Cx<'_>, meta: &Meta, wasm: &WasmConfig, secrets: bool) -> PluginConfig {
    let failure_policy = match wasm.fail_strategy() {
        FailStrategy::FailOpen => FailurePolicy::FailOpen,
        FailStrategy::FailClose => FailurePolicy::FailClosed,
        FailStrategy::FailReload => FailurePolicy::FailReload,
    };
    let vm = VmConfig {
        runtime: RUNTIME.to_owned(),
        code: Some(code(wasm)),
        environment_variables: Some(environment(cx, meta, wasm, secrets)),
        ..Default::default()
    };
    PluginConfig {
        name: format!("{}.{}", meta.namespace, meta.name),
        root_id: wasm.plugin_name.clone(),
        configuration: Some(configuration(wasm)),
        failure_policy: failure_policy as i32,
        vm: Some(plugin_config::Vm::VmConfig(vm)),
        ..Default::default()
    }
}

/// The plugin's configuration as JSON text; an `Any` of nothing where it has none.
fn configuration(wasm: &WasmConfig) -> Any {
    match &wasm.plugin_config {
        Some(config) if !config.fields.is_empty() => {
            wire::any(&wkt::struct_to_json(&wkt::to_prost_struct(config)).to_string())
        }
        _ => Any::default(),
    }
}

fn code(wasm: &WasmConfig) -> AsyncDataSource {
    let specifier = match scheme(&wasm.url) {
        Some(Some("file")) => async_data_source::Specifier::Local(DataSource {
            specifier: Some(data_source::Specifier::Filename(
                wasm.url.strip_prefix("file://").unwrap_or(&wasm.url).to_owned(),
            )),
            ..Default::default()
        }),
        of_url => async_data_source::Specifier::Remote(RemoteDataSource {
            http_uri: Some(HttpUri {
                // Without a scheme, a URL is an image's.
                uri: if of_url == Some(None) { format!("oci://{}", wasm.url) } else { wasm.url.clone() },
                timeout: Some(wkt::seconds(TIMEOUT)),
                // Envoy wants a cluster, but pilot-agent fetches.
                http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster("_".to_owned())),
            }),
            sha256: wasm.sha256.clone(),
            ..Default::default()
        }),
    };
    AsyncDataSource { specifier: Some(specifier) }
}

/// The scheme of a URL, if it has one; `None` for what is no URL. A host with a port in front is taken for a scheme.
/// Source: Go `url.Parse`.
pub(crate) fn scheme(url: &str) -> Option<Option<&str>> {
    let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    match end.map(|end| url.split_at(end)) {
        Some((scheme, rest))
            if rest.starts_with(':') && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) =>
        {
            Some(Some(scheme))
        }
        _ => {
            let first = url.split('/').next().unwrap_or_default();
            (!first.contains(':')).then_some(None)
        }
    }
}

fn environment(cx: &Cx<'_>, meta: &Meta, wasm: &WasmConfig, secrets: bool) -> EnvironmentVariables {
    let mut out = EnvironmentVariables::default();
    let mut set = |key: &str, value: String| out.key_values.insert(key.to_owned(), value);
    if let Some(secret) = pull_secret(meta, &wasm.image_pull_secret) {
        let credentials = if secrets { credentials(cx, &secret) } else { None };
        set(PULL_SECRET, credentials.unwrap_or_default());
    }
    match wasm.image_pull_policy() {
        PullPolicy::UnspecifiedPolicy => {}
        policy => drop(set(PULL_POLICY, policy.as_str_name().to_owned())),
    }
    set(RESOURCE_VERSION, meta.resource_version.to_string());
    for variable in wasm.vm_config.iter().flat_map(|vm| &vm.env) {
        match variable.value_from() {
            EnvValueSource::Inline => {
                drop(out.key_values.insert(variable.name.clone(), variable.value.clone()))
            }
            EnvValueSource::Host => out.host_env_keys.push(variable.name.clone()),
        }
    }
    out
}

/// The Secret of the registry's credentials, which must lie beside the extension.
fn pull_secret(meta: &Meta, name: &str) -> Option<NsName> {
    let name = name.strip_prefix("kubernetes://").unwrap_or(name);
    let name = name.split('/').nth(1).unwrap_or(name);
    (!name.is_empty()).then(|| NsName::new(meta.namespace.clone(), name))
}

/// What a Secret of type `kubernetes.io/dockerconfigjson` holds.
fn credentials(cx: &Cx<'_>, secret: &NsName) -> Option<String> {
    let secret = cx.snapshot.secrets.get(secret)?;
    if &*secret.spec.kind != "kubernetes.io/dockerconfigjson" {
        return None;
    }
    let data = secret.spec.data.get(".dockerconfigjson")?;
    String::from_utf8(data.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_may_lack_a_scheme() {
        assert_eq!(scheme("https://a/b.wasm"), Some(Some("https")));
        assert_eq!(scheme("ghcr.io/a/b:1"), Some(None));
        assert_eq!(scheme("localhost:5000/a"), Some(Some("localhost")));
        assert_eq!(scheme("127.0.0.1:5000/a"), None);
    }

    #[test]
    fn secrets_lie_beside_the_extension() {
        let meta = Meta { namespace: "ns".into(), ..Default::default() };
        let of = |name| pull_secret(&meta, name).map(|n| n.to_string());
        assert_eq!(of("a").as_deref(), Some("ns/a"));
        assert_eq!(of("kubernetes://other/a").as_deref(), Some("ns/a"));
        assert_eq!(of(""), None);
    }
}

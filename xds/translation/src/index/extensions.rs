//! TrafficExtensions by namespace, WasmPlugins among them.
//!
//! Source: Istio `initTrafficExtensions` (`pilot/pkg/model/push_context.go`), `pilot/pkg/config/kube/extensions`.

use crate::extension::url_scheme;
use crate::policy::Workload;
use extensions::traffic_extension::{ExecutionPhase, FilterConfig};
use meltemi_api::istio::extensions::v1alpha1::{
    self as extensions, TrafficExtension, TrafficSelector, WasmConfig,
};
use meltemi_world::{Config, Meta, NsName, Snapshot, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What Envoy calls an extension begins with this, so that it is no other resource's name.
const RESOURCE_PREFIX: &str = "extensions.istio.io/trafficextension/";
/// What the name of an extension ends with that was a WasmPlugin. Kubernetes allows no `~` in names.
const WASM_PLUGIN_SUFFIX: &str = "~istio-translated-wasmplugin";
/// How long Lua code may be, in bytes.
const LUA_LIMIT: usize = 64 * 1024;

/// An extension, with the name that Envoy knows it by.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// The extension.
    pub config: Config<TrafficExtension>,
    /// The name.
    pub resource_name: Str,
    /// The WasmPlugin or TrafficExtension that it was made from.
    pub from: NsName,
}

impl Extension {
    /// When requests pass it.
    pub fn phase(&self) -> ExecutionPhase {
        self.config.spec.phase()
    }

    fn new(config: Config<TrafficExtension>, from: NsName) -> Option<Self> {
        if !is_usable(&config.spec) {
            return None;
        }
        let resource_name = format!("{RESOURCE_PREFIX}{}.{}", config.meta.namespace, config.meta.name).into();
        Some(Self { config, resource_name, from })
    }
}

/// All extensions: by namespace, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    by_namespace: BTreeMap<Str, Vec<Arc<Extension>>>,
}

impl Extensions {
    /// Arranges the snapshot's TrafficExtensions and WasmPlugins; those that say nothing usable are left out.
    pub fn build(snapshot: &Snapshot) -> Self {
        let own = snapshot.traffic_extensions.values().map(|c| (Config::clone(c), c.meta.key()));
        let plugins = snapshot.wasm_plugins.values().map(|c| (of_wasm_plugin(c), c.meta.key()));
        let mut all: Vec<_> =
            own.chain(plugins).filter_map(|(config, from)| Extension::new(config, from)).collect();
        all.sort_by(|a, b| a.config.meta.by_age(&b.config.meta));
        let mut by_namespace: BTreeMap<Str, Vec<_>> = BTreeMap::new();
        for extension in all {
            by_namespace
                .entry(extension.config.meta.namespace.clone())
                .or_default()
                .push(Arc::new(extension));
        }
        Self { by_namespace }
    }

    /// The extensions of a workload, those with the highest priority first; of equal priority, those of its own
    /// namespace before those of the root namespace, older before newer.
    pub fn of(&self, workload: &Workload<'_>) -> Vec<Arc<Extension>> {
        let root = (workload.root != workload.namespace).then_some(workload.root);
        let namespaces = [Some(workload.namespace), root].into_iter().flatten();
        let all = namespaces.filter_map(|n| self.by_namespace.get(n)).flatten();
        let mut found: Vec<_> = all.filter(|e| workload.is_target_of(&e.config)).cloned().collect();
        let priority = |e: &Extension| e.config.spec.priority.as_ref().map_or(i32::MIN, |p| p.value);
        found.sort_by_key(|e| std::cmp::Reverse(priority(e)));
        found
    }
}

fn is_usable(extension: &TrafficExtension) -> bool {
    match &extension.filter_config {
        Some(FilterConfig::Wasm(wasm)) => !wasm.url.is_empty() && url_scheme(&wasm.url).is_some(),
        Some(FilterConfig::Lua(lua)) => (1..=LUA_LIMIT).contains(&lua.inline_code.len()),
        None => false,
    }
}

fn of_wasm_plugin(plugin: &Config<extensions::WasmPlugin>) -> Config<TrafficExtension> {
    let spec = &plugin.spec;
    let target_refs = match spec.target_refs.as_slice() {
        [] => spec.target_ref.iter().cloned().collect(),
        refs => refs.to_vec(),
    };
    let selector = |s: &extensions::wasm_plugin::TrafficSelector| TrafficSelector {
        mode: s.mode,
        ports: s.ports.clone(),
    };
    let wasm = WasmConfig {
        url: spec.url.clone(),
        sha256: spec.sha256.clone(),
        image_pull_policy: spec.image_pull_policy,
        image_pull_secret: spec.image_pull_secret.clone(),
        plugin_config: spec.plugin_config.clone(),
        plugin_name: spec.plugin_name.clone(),
        fail_strategy: spec.fail_strategy,
        vm_config: spec.vm_config.clone(),
        r#type: spec.r#type,
        ..Default::default()
    };
    Config {
        meta: Meta {
            name: format!("{}{WASM_PLUGIN_SUFFIX}", plugin.meta.name).into(),
            ..plugin.meta.clone()
        },
        spec: TrafficExtension {
            selector: spec.selector.clone(),
            target_refs,
            phase: spec.phase, // both enums have the same numbers
            priority: spec.priority,
            r#match: spec.r#match.iter().map(selector).collect(),
            filter_config: Some(FilterConfig::Wasm(wasm)),
        },
    }
}

//! TrafficExtensions and WasmPlugins: filters that users add to chains.
//!
//! A Wasm filter stands in its chain by name only; Envoy asks for what is behind the name by ECDS, which pilot-agent
//! answers once it has the module. Lua code stands in the chain itself.
//! Source: Istio `pilot/pkg/networking/core/extension`, `pilot/pkg/model/extensions.go`.

mod wasm;

use crate::index::extensions::Extension;
use crate::policy::Workload;
use crate::proxy_headers::ListenerClass;
use crate::{Cx, wire};
use meltemi_api::envoy::config::core::v3::{
    DataSource, ExtensionConfigSource, TypedExtensionConfig, data_source,
};
use meltemi_api::envoy::config::listener::v3::{Filter, filter};
use meltemi_api::envoy::extensions::filters::http::lua::v3::Lua;
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter,
};
use meltemi_api::istio::extensions::v1alpha1::{
    LuaConfig, PluginType, TrafficSelector, traffic_extension::FilterConfig,
};
use meltemi_api::istio::r#type::v1beta1::WorkloadMode;
use std::sync::Arc;

pub(crate) use wasm::scheme as url_scheme;

pub use meltemi_api::istio::extensions::v1alpha1::traffic_extension::ExecutionPhase as Phase;

/// What may stand behind the name of an HTTP filter: the module, or pilot-agent's stand-in where it cannot be had.
const HTTP_TYPES: [&str; 2] = [
    "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
    "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
];
/// The same for network filters.
const NETWORK_TYPES: [&str; 2] = [
    "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm",
    "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
];

/// The extensions of one side of a proxy.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    all: Vec<Arc<Extension>>,
    mode: WorkloadMode,
}

impl Extensions {
    /// The extensions of chains of a class.
    pub fn of(cx: &Cx<'_>, class: ListenerClass) -> Self {
        let mode = match class {
            ListenerClass::SidecarInbound => WorkloadMode::Server,
            ListenerClass::SidecarOutbound | ListenerClass::Gateway => WorkloadMode::Client,
        };
        Self { all: cx.index.extensions.of(&Workload::of(cx)), mode }
    }

    /// The HTTP filters of a phase on a port: of the service outbound, of the workload inbound.
    pub fn http(&self, phase: Phase, port: u32) -> impl Iterator<Item = HttpFilter> {
        self.on(phase, port).filter_map(|e| match e.config.spec.filter_config.as_ref()? {
            FilterConfig::Lua(lua) => Some(self::lua(e, lua)),
            FilterConfig::Wasm(wasm) if wasm.r#type() == PluginType::Network => None,
            FilterConfig::Wasm(_) => Some(HttpFilter {
                name: e.resource_name.to_string(),
                config_type: Some(http_filter::ConfigType::ConfigDiscovery(discovery(&HTTP_TYPES))),
                ..Default::default()
            }),
        })
    }

    /// The network filters of a phase on a port.
    pub fn network(&self, phase: Phase, port: u32) -> impl Iterator<Item = Filter> {
        self.on(phase, port).filter_map(|e| match e.config.spec.filter_config.as_ref()? {
            FilterConfig::Wasm(wasm) if wasm.r#type() == PluginType::Network => Some(Filter {
                name: e.resource_name.to_string(),
                config_type: Some(filter::ConfigType::ConfigDiscovery(discovery(&NETWORK_TYPES))),
            }),
            _ => None,
        })
    }

    fn on(&self, phase: Phase, port: u32) -> impl Iterator<Item = &Arc<Extension>> {
        self.all
            .iter()
            .filter(move |e| e.phase() == phase && matches(&e.config.spec.r#match, self.mode, port))
    }
}

/// The configuration behind the name of a Wasm filter; `None` where the proxy has no such extension. `secrets`: whether
/// the proxy has proved who it is, and so may have the credentials that its modules are pulled with.
pub fn config(cx: &Cx<'_>, name: &str, secrets: bool) -> Option<TypedExtensionConfig> {
    let all = cx.index.extensions.of(&Workload::of(cx));
    let extension = all.iter().find(|e| &*e.resource_name == name)?;
    let Some(FilterConfig::Wasm(wasm)) = &extension.config.spec.filter_config else { return None };
    let typed_config = Some(wasm::filter(cx, &extension.config.meta, wasm, secrets));
    Some(TypedExtensionConfig { name: name.to_owned(), typed_config })
}

fn lua(extension: &Extension, lua: &LuaConfig) -> HttpFilter {
    let code = data_source::Specifier::InlineString(lua.inline_code.clone());
    let source = DataSource { specifier: Some(code), ..Default::default() };
    let config = Lua { default_source_code: Some(source), ..Default::default() };
    HttpFilter {
        name: extension.resource_name.to_string(),
        config_type: Some(http_filter::ConfigType::TypedConfig(wire::any(&config))),
        ..Default::default()
    }
}

fn discovery(types: &[&str]) -> ExtensionConfigSource {
    ExtensionConfigSource {
        config_source: Some(wire::ads()),
        type_urls: types.iter().map(|&t| t.to_owned()).collect(),
        ..Default::default()
    }
}

/// Whether one of the selectors, if there are any, is for this side and port.
fn matches(selectors: &[TrafficSelector], mode: WorkloadMode, port: u32) -> bool {
    let one = |s: &TrafficSelector| {
        let side = match s.mode() {
            WorkloadMode::Undefined | WorkloadMode::ClientAndServer => true,
            other => other == mode,
        };
        side && (s.ports.is_empty() || s.ports.iter().any(|p| p.number != 0 && p.number == port))
    };
    selectors.is_empty() || selectors.iter().any(one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_api::istio::r#type::v1beta1::PortSelector;

    #[test]
    fn selectors_match_side_and_port() {
        let selector = |mode: WorkloadMode, ports: &[u32]| TrafficSelector {
            mode: mode as i32,
            ports: ports.iter().map(|&number| PortSelector { number }).collect(),
        };
        let server = WorkloadMode::Server;
        assert!(matches(&[], server, 1));
        assert!(matches(&[selector(WorkloadMode::ClientAndServer, &[])], server, 1));
        assert!(!matches(&[selector(WorkloadMode::Client, &[])], server, 1));
        assert!(matches(&[selector(server, &[1, 2])], server, 2));
        assert!(!matches(&[selector(server, &[1])], server, 0));
    }
}

//! Which services a gateway needs clusters of, where `PILOT_FILTER_GATEWAY_CLUSTER_CONFIG` narrows them: those that
//! its routes lead to and those that the mesh's settings and EnvoyFilters name.
//!
//! Source: Istio `PushContext.GatewayServices`, `extraServicesForProxy`.

use crate::Cx;
use crate::policy::Workload;
use meltemi_api::istio::mesh::v1alpha1::mesh_config::{ExtensionProvider, extension_provider::Provider};
use meltemi_world::Service;
use meltemi_world::features::JwksFetch;
use meltemi_world::jwks::host_and_port;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The services that the gateway needs clusters of.
pub(super) fn services<'a>(cx: &Cx<'a>) -> Vec<&'a Arc<Service>> {
    let all = cx.scope.services().iter();
    if !cx.features().filter_gateway_clusters {
        return all.collect();
    }
    let wanted = Wanted::of(cx);
    all.filter(|s| wanted.includes(s)).collect()
}

/// Hosts of any namespace, and of one namespace.
#[derive(Default)]
struct Wanted<'a> {
    hosts: BTreeSet<&'a str>,
    namespaced: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Wanted<'a> {
    fn of(cx: &Cx<'a>) -> Self {
        let mut out = Self::default();
        cx.mesh().extension_providers.iter().filter_map(service_of).for_each(|s| out.add(s));
        if cx.features().jwks_fetch != JwksFetch::ControlPlane {
            let rules = cx.index.request_authentications.rules(&Workload::of(cx));
            out.hosts.extend(rules.iter().filter_map(|r| host_and_port(&r.jwks_uri)).map(|(host, _)| host));
        }
        cx.index.envoy_filters.referenced_services(cx).for_each(|s| out.add(s));
        for gateway in gateways(cx) {
            let scoped = cx.features().scope_gateway_to_namespace;
            let namespace =
                if scoped { gateway.split_once('/').map(|(namespace, _)| namespace) } else { None };
            out.hosts.extend(cx.index.virtual_services.destinations_of_gateway(&gateway, namespace));
        }
        out
    }

    /// Adds `HOST` or `NAMESPACE/HOST`.
    fn add(&mut self, service: &'a str) {
        match service.split_once('/') {
            Some(namespaced) => drop(self.namespaced.insert(namespaced)),
            None => drop(self.hosts.insert(service)),
        }
    }

    fn includes(&self, service: &Service) -> bool {
        self.hosts.contains(&*service.hostname)
            || self.namespaced.contains(&(&*service.namespace, &*service.hostname))
    }
}

/// The Gateway resources that apply, as `NAMESPACE/NAME`.
fn gateways(cx: &Cx<'_>) -> BTreeSet<String> {
    let servers = cx.gateway.into_iter().flat_map(|g| g.servers.values()).flat_map(|m| &m.servers);
    servers.map(|s| s.gateway.meta.key().to_string()).collect()
}

/// The service that an extension provider names.
fn service_of(provider: &ExtensionProvider) -> Option<&str> {
    Some(match provider.provider.as_ref()? {
        Provider::EnvoyExtAuthzHttp(p) => &p.service,
        Provider::EnvoyExtAuthzGrpc(p) => &p.service,
        Provider::Zipkin(p) => &p.service,
        Provider::Datadog(p) => &p.service,
        Provider::Skywalking(p) => &p.service,
        Provider::Opentelemetry(p) => &p.service,
        Provider::EnvoyHttpAls(p) => &p.service,
        Provider::EnvoyTcpAls(p) => &p.service,
        Provider::EnvoyOtelAls(p) => &p.service,
        Provider::Sds(p) => &p.service,
        _ => return None,
    })
}

//! Which Gateway resources apply to a proxy, and for which of its services.

use super::merge::{Candidate, merge};
use super::{MergedGateway, credentials};
use crate::Cx;
use meltemi_api::istio::networking::v1alpha3::Gateway;
use meltemi_world::Config;
use std::sync::Arc;

/// On Gateways made from the Gateway API: the host names of the services that the gateway runs behind.
const GATEWAY_SERVICE: &str = "internal.istio.io/gateway-service";
/// On Gateways made from the Gateway API: the namespace of the resource that they were made from.
pub(super) const PARENT_NAMESPACE: &str = "internal.istio.io/parent-namespace";

/// The merged gateway of a proxy; `None` where no Gateway resource applies to it.
pub fn merged(cx: &Cx<'_>) -> Option<MergedGateway> {
    let scoped = cx.features().scope_gateway_to_namespace;
    let candidates: Vec<_> = cx
        .index
        .gateways
        .all()
        .iter()
        .filter(|g| !scoped || g.meta.namespace == cx.proxy.namespace)
        .filter_map(|g| candidate(cx, g))
        .collect();
    let verified_credentials = credentials::verified(cx, &candidates);
    (!candidates.is_empty()).then(|| MergedGateway { verified_credentials, ..merge(&candidates) })
}

fn candidate<'a>(cx: &Cx<'a>, gateway: &Arc<Config<Gateway>>) -> Option<Candidate<'a>> {
    if let Some(services) = gateway.meta.annotations.get(GATEWAY_SERVICE) {
        let namespace = gateway.meta.annotations.get(PARENT_NAMESPACE).unwrap_or(&gateway.meta.namespace);
        let targets: Vec<_> = cx
            .targets
            .iter()
            .filter(|t| {
                &*t.service.namespace == namespace && services.split(',').any(|s| s == &*t.service.hostname)
            })
            .collect();
        return (!targets.is_empty()).then(|| Candidate {
            gateway: gateway.clone(),
            selects_by_label: false,
            targets,
        });
    }
    cx.proxy.labels.matches(&gateway.spec.selector).then(|| Candidate {
        gateway: gateway.clone(),
        selects_by_label: true,
        targets: cx.targets.iter().collect(),
    })
}

//! Outbound clusters: one for each port of a service, and for each subset of it.
//!
//! Source: Istio `buildOutboundClusters`, `applyDestinationRule`, `buildSubsetCluster`.

use super::draft::Draft;
use super::policy::{self, Outbound};
use super::{dynamic_dns, metadata, tls};
use crate::endpoint::{self, Group, Target};
use crate::traffic_policy::{self, Policy};
use crate::{Cx, names, stat_name};
use meltemi_api::envoy::config::cluster::v3::{
    Cluster,
    cluster::{DiscoveryType, DnsLookupFamily, LbConfig, OriginalDstLbConfig},
};
use meltemi_api::envoy::config::core::v3::{HealthStatus, HealthStatusSet, TypedExtensionConfig};
use meltemi_api::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use meltemi_api::istio::networking::v1alpha3::{DestinationRule, Subset};
use meltemi_api::wkt::{self, to_prost_duration};
use meltemi_world::proxy::IpMode;
use meltemi_world::service::Registry;
use meltemi_world::{Config, Port, Protocol, Proxy, Resolution, Service, Str, host};

/// The clusters of one port of a service: its own, then those of its subsets.
pub fn outbound_clusters(cx: &Cx<'_>, service: &Service, port: &Port) -> Vec<Cluster> {
    if port.protocol == Protocol::Udp || service.resolution == Resolution::Alias {
        return Vec::new();
    }
    if service.resolution == Resolution::DynamicDns && host::is_wildcard(&service.hostname) {
        return dynamic_dns::of_service(cx, service, port).into_iter().collect();
    }
    let accounts = cx.service_accounts(service);
    Build::new(cx, service, port, &accounts, false).clusters()
}

/// What the clusters of one port have in common.
pub(super) struct Build<'a> {
    cx: &'a Cx<'a>,
    service: &'a Service,
    port: &'a Port,
    rule: Option<&'a Config<DestinationRule>>,
    accounts: &'a [Str],
    /// Whether the clusters are those of an AUTO_PASSTHROUGH gateway: named like an SNI, without TLS of their own.
    sni: bool,
}

impl<'a> Build<'a> {
    pub(super) fn new(
        cx: &'a Cx<'a>,
        service: &'a Service,
        port: &'a Port,
        accounts: &'a [Str],
        sni: bool,
    ) -> Self {
        let rule = cx.scope.destination_rule(&cx.proxy.labels, &service.hostname).map(|m| &*m.rule);
        Self { cx, service, port, rule, accounts, sni }
    }

    /// The port's cluster and those of its subsets; none if Envoy is to resolve endpoints and there are none.
    pub(super) fn clusters(&self) -> Vec<Cluster> {
        let Some((whole, kind)) = self.whole() else { return Vec::new() };
        let subsets = self.rule.map_or(&[][..], |r| &r.spec.subsets);
        let mut out = vec![whole];
        out.extend(subsets.iter().filter_map(|s| self.subset(s, kind)));
        out
    }

    /// The port's cluster, and how it finds its endpoints.
    fn whole(&self) -> Option<(Cluster, Option<DiscoveryType>)> {
        let mut draft = self.draft("", discovery_type(self.cx, self.service))?;
        if endpoint::keeps_draining(self.cx, self.service) {
            draft.common_lb().override_host_status = Some(session_statuses());
        }
        let of_rule = self.rule.and_then(|r| r.spec.traffic_policy.as_ref());
        let policy = self.policy();
        self.apply(&mut draft, "", policy, of_rule);
        let kind = draft.kind();
        if self.service.mesh_external && !self.sni {
            metadata::set_external(&mut draft.cluster);
        }
        if let Some(rule) = self.rule {
            metadata::set_rule(&mut draft.cluster, &rule.meta);
            metadata::set_alpn_override(&mut draft.cluster, &policy);
        }
        Some((draft.finish(), kind))
    }

    /// A subset's cluster. `kind`: how the whole finds its endpoints.
    fn subset(&self, subset: &Subset, kind: Option<DiscoveryType>) -> Option<Cluster> {
        let of_subset = subset.traffic_policy.as_ref();
        let passthrough = traffic_policy::is_passthrough(of_subset);
        let kind = if passthrough { DiscoveryType::OriginalDst } else { kind? };
        let mut draft = self.draft(&subset.name, kind)?;
        let policy = self.policy().with_subset(of_subset, self.port.port);
        self.apply(&mut draft, &subset.name, policy, of_subset);
        if let Some(rule) = self.rule {
            metadata::set_rule(&mut draft.cluster, &rule.meta);
        }
        metadata::set_subset(&mut draft.cluster, &subset.name);
        metadata::set_alpn_override(&mut draft.cluster, &policy);
        Some(draft.finish())
    }

    /// The policy of the port, for the service as a whole.
    fn policy(&self) -> Policy<'a> {
        let of_rule = self.rule.and_then(|r| r.spec.traffic_policy.as_ref());
        Policy::of_port(of_rule, self.port.port).with_defaults(self.cx.mesh().default_traffic_policy.as_ref())
    }

    fn name(&self, subset: &str) -> String {
        let name = if self.sni { names::outbound_sni } else { names::outbound_cluster };
        name(self.port.port, subset, &self.service.hostname)
    }

    /// A cluster without a policy; `None` if Envoy is to resolve endpoints and there are none.
    fn draft(&self, subset: &str, kind: DiscoveryType) -> Option<Draft> {
        let mut draft = Draft::new(&self.name(subset), kind);
        match kind {
            DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
                set_dns(self.cx, &mut draft.cluster, self.service.races_addresses);
                draft.groups = self.groups(subset);
                if draft.groups.is_empty() {
                    return None;
                }
            }
            DiscoveryType::OriginalDst => {
                draft.cluster.lb_config = port_override(self.service, self.port);
            }
            DiscoveryType::Static | DiscoveryType::Eds => {}
        }
        draft.set_upstream_protocol(self.cx, self.port.protocol);
        metadata::set_services(self.cx, &mut draft.cluster, [self.service]);
        let pattern = &self.cx.mesh().outbound_cluster_stat_name;
        if !pattern.is_empty() {
            let name = stat_name::fill(pattern, self.service.into(), self.port, subset, 0);
            draft.cluster.alt_stat_name = stat_name::delimited(&name);
        }
        Some(draft)
    }

    fn groups(&self, subset: &str) -> Vec<Group> {
        let rule = self.rule.map(|r| &r.spec);
        let target = Target {
            cx: self.cx,
            service: self.service,
            port: self.port,
            subset,
            rule,
            sni: self.sni,
            peers: false,
        };
        target.groups()
    }

    fn apply(
        &self,
        draft: &mut Draft,
        subset: &str,
        policy: Policy<'_>,
        own: Option<&meltemi_api::istio::networking::v1alpha3::TrafficPolicy>,
    ) {
        let sni = names::outbound_sni(self.port.port, subset, &self.service.hostname);
        let tls = tls::Upstream {
            service: self.service,
            settings: policy.tls,
            accounts: self.accounts,
            sni: &sni,
            mode: tls::server_mode(self.cx, self.service, self.port, own),
            selects: self.rule.is_some_and(|r| r.spec.workload_selector.is_some()),
        };
        let outbound = Outbound {
            service: self.service,
            port: self.port,
            policy,
            tls: (!self.sni).then_some(tls),
            // istiod ranks by labels in the cluster of the whole service only.
            ranks_by_labels: subset.is_empty() && !self.sni,
        };
        policy::apply_outbound(self.cx, draft, &outbound);
        draft.name_eds_source();
        draft.exchange_metadata(self.cx);
    }
}

/// For traffic to its original destination: the port that the workload listens on, where it is another one.
pub(super) fn port_override(service: &Service, port: &Port) -> Option<LbConfig> {
    let upstream_port_override = Some(*service.passthrough_target_ports.get(&port.port)?);
    Some(LbConfig::OriginalDstLbConfig(OriginalDstLbConfig { upstream_port_override, ..Default::default() }))
}

/// How Envoy finds the endpoints of a service. Source: Istio `convertResolution`.
fn discovery_type(cx: &Cx<'_>, service: &Service) -> DiscoveryType {
    match service.resolution {
        Resolution::DnsLb if service.races_addresses => DiscoveryType::LogicalDns,
        Resolution::DnsLb => DiscoveryType::StrictDns,
        Resolution::DnsRoundRobinLb => DiscoveryType::LogicalDns,
        // A gateway is no original destination of anything, so it needs the endpoints.
        Resolution::Passthrough if cx.proxy.is_router() => DiscoveryType::Eds,
        Resolution::Passthrough
            if service.registry == Registry::Kubernetes && cx.features().eds_for_headless =>
        {
            DiscoveryType::Eds
        }
        Resolution::Passthrough => DiscoveryType::OriginalDst,
        Resolution::ClientSideLb | Resolution::Alias | Resolution::DynamicDns => DiscoveryType::Eds,
    }
}

#[allow(deprecated)] // Istio still sends DNS settings in the cluster itself.
fn set_dns(cx: &Cx<'_>, cluster: &mut Cluster, races_addresses: bool) {
    let resolver = CaresDnsResolverConfig {
        udp_max_queries: Some(cx.features().dns_udp_max_queries),
        ..Default::default()
    };
    let family = if races_addresses { DnsLookupFamily::All } else { lookup_family(cx, cx.proxy) };
    cluster.dns_lookup_family = family as i32;
    cluster.typed_dns_resolver_config = Some(TypedExtensionConfig {
        name: "envoy.network.dns_resolver.cares".to_owned(),
        typed_config: Some(crate::wire::any(&resolver)),
    });
    cluster.dns_jitter = Some(wkt::millis(i64::from(cx.features().dns_jitter_ms)));
    cluster.dns_refresh_rate = cx.mesh().dns_refresh_rate.as_ref().map(to_prost_duration);
    cluster.respect_dns_ttl = true;
}

/// Which addresses Envoy looks up. Source: Istio `SelectDNSLookupFamily`.
pub(super) fn lookup_family(cx: &Cx<'_>, proxy: &Proxy) -> DnsLookupFamily {
    match proxy.ip_mode {
        IpMode::V6 if cx.features().v4_listener_for_v6 => DnsLookupFamily::All,
        IpMode::V6 => DnsLookupFamily::V6Only,
        IpMode::Dual if cx.features().dual_stack => DnsLookupFamily::All,
        IpMode::V4 | IpMode::Dual => DnsLookupFamily::V4Only,
    }
}

/// The health that a session's endpoint may have to be kept; others take no part in choosing.
fn session_statuses() -> HealthStatusSet {
    use HealthStatus::{Degraded, Draining, Healthy, Unknown};
    HealthStatusSet { statuses: [Healthy, Draining, Unknown, Degraded].map(|s| s as i32).to_vec() }
}

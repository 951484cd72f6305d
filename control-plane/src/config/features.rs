//! Reads istiod's switches from the environment. What each one does is said where it is defined, in
//! [`meltemi_world::features`].

use meltemi_world::features::{Compliance, Features, JwksFetch};
use std::time::Duration;

use super::Env;

/// The switches, istiod's defaults where the environment says nothing.
pub fn read(env: &mut Env) -> Features {
    let d = Features::default();
    Features {
        http10: env.flag("PILOT_HTTP10", d.http10),
        scope_gateway_to_namespace: env
            .flag("PILOT_SCOPE_GATEWAY_TO_NAMESPACE", d.scope_gateway_to_namespace),
        dns_udp_max_queries: env.number("PILOT_DNS_CARES_UDP_MAX_QUERIES", d.dns_udp_max_queries),
        dns_jitter_ms: millis(
            env.duration("PILOT_DNS_JITTER_DURATION", Duration::from_millis(d.dns_jitter_ms.into())),
        ),
        disable_mx_alpn: env.flag("PILOT_DISABLE_MX_ALPN", d.disable_mx_alpn),
        alpn_filter: env.flag("PILOT_ENABLE_ALPN_FILTER", d.alpn_filter),
        metadata_exchange: env.flag("PILOT_ENABLE_METADATA_EXCHANGE", d.metadata_exchange),
        telemetry_label: env.flag("PILOT_ENABLE_TELEMETRY_LABEL", d.telemetry_label),
        endpoint_telemetry_label: env.flag("PILOT_ENDPOINT_TELEMETRY_LABEL", d.endpoint_telemetry_label),
        trace_sampling: trace_sampling(env, d.trace_sampling),
        persistent_session_filter: env
            .flag("PILOT_ENABLE_PERSISTENT_SESSION_FILTER", d.persistent_session_filter),
        persistent_session_label: env.text("PILOT_PERSISTENT_SESSION_LABEL", &d.persistent_session_label),
        persistent_session_header_label: env
            .text("PILOT_PERSISTENT_SESSION_HEADER_LABEL", &d.persistent_session_header_label),
        draining_label: env.text("PILOT_DRAINING_LABEL", &d.draining_label),
        absolute_fqdn_domains: env.flag("PILOT_ENABLE_ABSOLUTE_FQDN_VHOST_DOMAIN", d.absolute_fqdn_domains),
        dual_stack: env.flag("ISTIO_DUAL_STACK", d.dual_stack),
        auto_send_unhealthy: env.flag("PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS", d.auto_send_unhealthy),
        send_unhealthy: env.flag("PILOT_SEND_UNHEALTHY_ENDPOINTS", d.send_unhealthy),
        filter_gateway_clusters: env.flag("PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", d.filter_gateway_clusters),
        tls_on_sidecar_ingress: env.flag("ENABLE_TLS_ON_SIDECAR_INGRESS", d.tls_on_sidecar_ingress),
        continue_headers: env.flag("ENABLE_100_CONTINUE_HEADERS", d.continue_headers),
        gateway_transport_timeout_s: seconds(env.duration(
            "PILOT_GATEWAY_TRANSPORT_SOCKET_CONNECT_TIMEOUT",
            Duration::from_secs(d.gateway_transport_timeout_s.into()),
        )),
        max_connections_per_event: env
            .number("MAX_CONNECTIONS_PER_SOCKET_EVENT_LOOP", d.max_connections_per_event),
        service_entry_selects_pods: env
            .flag("PILOT_ENABLE_SERVICEENTRY_SELECT_PODS", d.service_entry_selects_pods),
        service_selects_workload_entries: env
            .flag("PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES", d.service_selects_workload_entries),
        disable_track_remaining: env.flag("DISABLE_TRACK_REMAINING_CB_METRICS", d.disable_track_remaining),
        prefer_rule_tls_for_external: env
            .flag("PREFER_DESTINATIONRULE_TLS_FOR_EXTERNAL_SERVICES", d.prefer_rule_tls_for_external),
        locality_weighted_lb: env.flag("ENABLE_LOCALITY_WEIGHTED_LB_CONFIG", d.locality_weighted_lb),
        enhanced_rule_merge: env.flag("ENABLE_ENHANCED_DESTINATIONRULE_MERGE", d.enhanced_rule_merge),
        eds_for_headless: env.flag("PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES", d.eds_for_headless),
        mysql_filter: env.flag("PILOT_ENABLE_MYSQL_FILTER", d.mysql_filter),
        redis_filter: env.flag("PILOT_ENABLE_REDIS_FILTER", d.redis_filter),
        mongo_filter: env.flag("PILOT_ENABLE_MONGO_FILTER", d.mongo_filter),
        use_remote_address: env.flag("PILOT_SIDECAR_USE_REMOTE_ADDRESS", d.use_remote_address),
        sidecar_inbound_merge: env
            .flag("PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE", d.sidecar_inbound_merge),
        skip_trust_domain_validation: env
            .flag("PILOT_SKIP_VALIDATE_TRUST_DOMAIN", d.skip_trust_domain_validation),
        route_collapse: env.flag("PILOT_ENABLE_ROUTE_COLLAPSE_OPTIMIZATION", d.route_collapse),
        hcm_internal_networks: env.flag("ENABLE_HCM_INTERNAL_NETWORKS", d.hcm_internal_networks),
        find_pod_by_ip: env.flag("ENABLE_PROXY_FIND_POD_BY_IP", d.find_pod_by_ip),
        ip_autoallocate: env.flag("PILOT_ENABLE_IP_AUTOALLOCATE", d.ip_autoallocate),
        ambient: env.flag("PILOT_ENABLE_AMBIENT", d.ambient),
        mx_additional_labels: sorted_list(&env.text("PILOT_MX_ADDITIONAL_LABELS", "")),
        disable_shadow_host_suffix: env.flag("DISABLE_SHADOW_HOST_SUFFIX", d.disable_shadow_host_suffix),
        pick_best_service_namespace: env
            .flag("PILOT_SIDECAR_PICK_BEST_SERVICE_NAMESPACE", d.pick_best_service_namespace),
        v4_listener_for_v6: env
            .flag("ISTIO_ENABLE_IPV4_OUTBOUND_LISTENER_FOR_IPV6_CLUSTERS", d.v4_listener_for_v6),
        canonical_services_for_external: env.flag(
            "LABEL_CANONICAL_SERVICES_FOR_MESH_EXTERNAL_SERVICE_ENTRIES",
            d.canonical_services_for_external,
        ),
        multiple_custom_authz_providers: env
            .flag("PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS", d.multiple_custom_authz_providers),
        jwks_fetch: jwks_fetch(env),
        xds_identity_check: env.flag("PILOT_ENABLE_XDS_IDENTITY_CHECK", d.xds_identity_check),
        multi_root: env.flag("ISTIO_MULTIROOT_MESH", d.multi_root),
        dynamic_dns_max_hosts: env.number("PILOT_ALLOW_ANY_DYNAMIC_DNS_MAX_HOSTS", d.dynamic_dns_max_hosts),
        selector_policies_for_gateway_api: env
            .flag("ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY", d.selector_policies_for_gateway_api),
        multicluster_headless: env.flag("ENABLE_MULTICLUSTER_HEADLESS", d.multicluster_headless),
        ingress_namespace: env.text("K8S_INGRESS_NS", &d.ingress_namespace),
        ip_autoallocate_v4: env.text("PILOT_IP_AUTOALLOCATE_IPV4_PREFIX", &d.ip_autoallocate_v4),
        ip_autoallocate_v6: env.text("PILOT_IP_AUTOALLOCATE_IPV6_PREFIX", &d.ip_autoallocate_v6),
        compliance: compliance(env),
    }
}

fn trace_sampling(env: &mut Env, default: f64) -> f64 {
    let percent = env.number("PILOT_TRACE_SAMPLING", default);
    if (0.0..=100.0).contains(&percent) {
        return percent;
    }
    env.notice(format!(
        "environment variable PILOT_TRACE_SAMPLING: {percent} is not within 0 and 100; using {default}"
    ));
    default
}

fn jwks_fetch(env: &mut Env) -> JwksFetch {
    match env.get("PILOT_JWT_ENABLE_REMOTE_JWKS").map(str::to_ascii_lowercase).as_deref() {
        Some("true" | "hybrid") => JwksFetch::Hybrid,
        Some("envoy") => JwksFetch::Envoy,
        _ => JwksFetch::ControlPlane,
    }
}

fn compliance(env: &mut Env) -> Compliance {
    match env.text("COMPLIANCE_POLICY", "").as_str() {
        "" => Compliance::None,
        "fips-140-2" => Compliance::Fips140_2,
        "fips-140-3" => Compliance::Fips140_3,
        "pqc" => Compliance::Pqc,
        other => {
            env.notice(format!(
                "environment variable COMPLIANCE_POLICY: {other:?} is no policy (fips-140-2, fips-140-3, pqc); using none"
            ));
            Compliance::None
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn sorted_list(text: &str) -> Vec<String> {
    let mut list: Vec<String> = text.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect();
    list.sort_unstable();
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_gives_the_defaults() {
        assert_eq!(read(&mut Env::default()), Features::default());
    }

    #[test]
    fn switches_are_read() {
        let mut env = Env::of([
            ("PILOT_ENABLE_ALPN_FILTER", "false"),
            ("PILOT_TRACE_SAMPLING", "101"),
            ("PILOT_DNS_JITTER_DURATION", "1s"),
            ("PILOT_MX_ADDITIONAL_LABELS", "b,a,b"),
            ("PILOT_JWT_ENABLE_REMOTE_JWKS", "true"),
        ]);
        let features = read(&mut env);
        assert!(!features.alpn_filter);
        assert_eq!(features.trace_sampling.to_bits(), 1f64.to_bits());
        assert_eq!(features.dns_jitter_ms, 1000);
        assert_eq!(features.mx_additional_labels, ["a", "b"]);
        assert_eq!(features.jwks_fetch, JwksFetch::Hybrid);
        assert!(env.take_notices()[0].contains("PILOT_TRACE_SAMPLING"));
    }
}

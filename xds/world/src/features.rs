//! Switches that istiod reads from its environment and that change what it generates.
//!
//! They are part of the snapshot so that translation never reads the environment. Names and defaults are istiod's
//! (Istio `pilot/pkg/features`).

/// The switches. Fields are documented by the environment variable that sets them.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// `PILOT_HTTP10`: sidecars accept HTTP/1.0.
    pub http10: bool,
    /// `PILOT_SCOPE_GATEWAY_TO_NAMESPACE`: a Gateway selects workloads of its own namespace only.
    pub scope_gateway_to_namespace: bool,
    /// `PILOT_DNS_CARES_UDP_MAX_QUERIES`.
    pub dns_udp_max_queries: u32,
    /// `PILOT_DNS_JITTER_DURATION`, in milliseconds.
    pub dns_jitter_ms: u32,
    /// `PILOT_DISABLE_MX_ALPN`: no peer exchange by ALPN on TCP.
    pub disable_mx_alpn: bool,
    /// `PILOT_ENABLE_ALPN_FILTER`: the HTTP filter `istio.alpn` on outbound chains.
    pub alpn_filter: bool,
    /// `PILOT_ENABLE_METADATA_EXCHANGE`: peer metadata filters.
    pub metadata_exchange: bool,
    /// `PILOT_ENABLE_TELEMETRY_LABEL`.
    pub telemetry_label: bool,
    /// `PILOT_ENDPOINT_TELEMETRY_LABEL`: endpoints carry their workload in metadata.
    pub endpoint_telemetry_label: bool,
    /// `PILOT_TRACE_SAMPLING`: per cent of requests traced where nothing says otherwise.
    pub trace_sampling: f64,
    /// `PILOT_ENABLE_PERSISTENT_SESSION_FILTER`: services with one of the next two labels get sticky sessions.
    pub persistent_session_filter: bool,
    /// `PILOT_PERSISTENT_SESSION_LABEL`.
    pub persistent_session_label: String,
    /// `PILOT_PERSISTENT_SESSION_HEADER_LABEL`.
    pub persistent_session_header_label: String,
    /// `PILOT_DRAINING_LABEL`: endpoints with this label are sent as draining.
    pub draining_label: String,
    /// `PILOT_ENABLE_ABSOLUTE_FQDN_VHOST_DOMAIN`: virtual hosts also answer to the name with a trailing dot.
    pub absolute_fqdn_domains: bool,
    /// `ISTIO_DUAL_STACK`.
    pub dual_stack: bool,
    /// `PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS`: endpoints that are not ready are sent as unhealthy, unless a
    /// DestinationRule sets `minHealthPercent`.
    pub auto_send_unhealthy: bool,
    /// `PILOT_SEND_UNHEALTHY_ENDPOINTS`: they always are.
    pub send_unhealthy: bool,
    /// `PILOT_FILTER_GATEWAY_CLUSTER_CONFIG`: gateways get only clusters that they route to.
    pub filter_gateway_clusters: bool,
    /// `ENABLE_TLS_ON_SIDECAR_INGRESS`.
    pub tls_on_sidecar_ingress: bool,
    /// `ENABLE_100_CONTINUE_HEADERS`: `100 Continue` is proxied as it is.
    pub continue_headers: bool,
    /// `PILOT_GATEWAY_TRANSPORT_SOCKET_CONNECT_TIMEOUT`, in seconds; 0 for none.
    pub gateway_transport_timeout_s: u32,
    /// `MAX_CONNECTIONS_PER_SOCKET_EVENT_LOOP`.
    pub max_connections_per_event: u32,
    /// `PILOT_ENABLE_SERVICEENTRY_SELECT_PODS`.
    pub service_entry_selects_pods: bool,
    /// `PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES`.
    pub service_selects_workload_entries: bool,
    /// `DISABLE_TRACK_REMAINING_CB_METRICS`.
    pub disable_track_remaining: bool,
    /// `PREFER_DESTINATIONRULE_TLS_FOR_EXTERNAL_SERVICES`.
    pub prefer_rule_tls_for_external: bool,
    /// `ENABLE_LOCALITY_WEIGHTED_LB_CONFIG`.
    pub locality_weighted_lb: bool,
    /// `ENABLE_ENHANCED_DESTINATIONRULE_MERGE`.
    pub enhanced_rule_merge: bool,
    /// `PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES`.
    pub eds_for_headless: bool,
    /// `PILOT_ENABLE_MYSQL_FILTER`.
    pub mysql_filter: bool,
    /// `PILOT_ENABLE_REDIS_FILTER`.
    pub redis_filter: bool,
    /// `PILOT_ENABLE_MONGO_FILTER`.
    pub mongo_filter: bool,
    /// `PILOT_SIDECAR_USE_REMOTE_ADDRESS`.
    pub use_remote_address: bool,
    /// `PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE`.
    pub sidecar_inbound_merge: bool,
    /// `PILOT_SKIP_VALIDATE_TRUST_DOMAIN`.
    pub skip_trust_domain_validation: bool,
    /// `PILOT_ENABLE_ROUTE_COLLAPSE_OPTIMIZATION`.
    pub route_collapse: bool,
    /// `ENABLE_HCM_INTERNAL_NETWORKS`.
    pub hcm_internal_networks: bool,
    /// `ENABLE_PROXY_FIND_POD_BY_IP`.
    pub find_pod_by_ip: bool,
    /// `PILOT_ENABLE_IP_AUTOALLOCATE`: ServiceEntries without addresses have those of their status.
    pub ip_autoallocate: bool,
    /// `PILOT_ENABLE_AMBIENT`.
    pub ambient: bool,
    /// `PILOT_MX_ADDITIONAL_LABELS`: labels that peers exchange in addition, sorted.
    pub mx_additional_labels: Vec<String>,
    /// `DISABLE_SHADOW_HOST_SUFFIX`: mirrored requests keep their host name as it is.
    pub disable_shadow_host_suffix: bool,
    /// `PILOT_SIDECAR_PICK_BEST_SERVICE_NAMESPACE`: of several namespaces with a host, a Kubernetes Service wins, then
    /// the oldest; otherwise the first one by name.
    pub pick_best_service_namespace: bool,
    /// `ISTIO_ENABLE_IPV4_OUTBOUND_LISTENER_FOR_IPV6_CLUSTERS`.
    pub v4_listener_for_v6: bool,
    /// `LABEL_CANONICAL_SERVICES_FOR_MESH_EXTERNAL_SERVICE_ENTRIES`.
    pub canonical_services_for_external: bool,
    /// `PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS`.
    pub multiple_custom_authz_providers: bool,
    /// `PILOT_JWT_ENABLE_REMOTE_JWKS`: who fetches keys of JWT issuers.
    pub jwks_fetch: JwksFetch,
    /// `PILOT_ENABLE_XDS_IDENTITY_CHECK`: a stream may only be of a proxy whose identity it proves.
    pub xds_identity_check: bool,
    /// `ISTIO_MULTIROOT_MESH`: proxies are told of all roots of the mesh.
    pub multi_root: bool,
    /// `PILOT_ALLOW_ANY_DYNAMIC_DNS_MAX_HOSTS`.
    pub dynamic_dns_max_hosts: u32,
    /// `ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY`: policies with a selector apply to Gateway API gateways, too.
    pub selector_policies_for_gateway_api: bool,
    /// `ENABLE_MULTICLUSTER_HEADLESS`: names of headless services stand for endpoints of all clusters of the network.
    pub multicluster_headless: bool,
    /// `K8S_INGRESS_NS`: the namespace of the Gateways that Ingresses make.
    pub ingress_namespace: String,
    /// `PILOT_IP_AUTOALLOCATE_IPV4_PREFIX`.
    pub ip_autoallocate_v4: String,
    /// `PILOT_IP_AUTOALLOCATE_IPV6_PREFIX`.
    pub ip_autoallocate_v6: String,
    /// `COMPLIANCE_POLICY`: the standard that TLS must keep to.
    pub compliance: Compliance,
}

/// A standard that TLS must keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compliance {
    /// None in particular.
    #[default]
    None,
    /// FIPS 140-2 (`fips-140-2`).
    Fips140_2,
    /// FIPS 140-3 (`fips-140-3`).
    Fips140_3,
    /// Key agreement that withstands quantum computers (`pqc`).
    Pqc,
}

/// Who fetches the keys that JWTs are verified with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum JwksFetch {
    /// The control plane (`false`, `istiod`).
    #[default]
    ControlPlane,
    /// Envoy, and the control plane where the server is outside the mesh (`true`, `hybrid`).
    Hybrid,
    /// Envoy.
    Envoy,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            http10: false,
            scope_gateway_to_namespace: false,
            dns_udp_max_queries: 100,
            dns_jitter_ms: 100,
            disable_mx_alpn: false,
            alpn_filter: true,
            metadata_exchange: true,
            telemetry_label: true,
            endpoint_telemetry_label: true,
            trace_sampling: 1.0,
            persistent_session_filter: false,
            persistent_session_label: "istio.io/persistent-session".into(),
            persistent_session_header_label: "istio.io/persistent-session-header".into(),
            draining_label: "istio.io/draining".into(),
            absolute_fqdn_domains: true,
            dual_stack: false,
            auto_send_unhealthy: true,
            send_unhealthy: false,
            filter_gateway_clusters: false,
            tls_on_sidecar_ingress: false,
            continue_headers: true,
            gateway_transport_timeout_s: 15,
            max_connections_per_event: 1,
            service_entry_selects_pods: true,
            service_selects_workload_entries: true,
            disable_track_remaining: true,
            prefer_rule_tls_for_external: true,
            locality_weighted_lb: false,
            enhanced_rule_merge: true,
            eds_for_headless: false,
            mysql_filter: false,
            redis_filter: false,
            mongo_filter: true,
            use_remote_address: false,
            sidecar_inbound_merge: false,
            skip_trust_domain_validation: false,
            route_collapse: true,
            hcm_internal_networks: false,
            find_pod_by_ip: false,
            ip_autoallocate: true,
            ambient: false,
            mx_additional_labels: Vec::new(),
            disable_shadow_host_suffix: true,
            pick_best_service_namespace: true,
            v4_listener_for_v6: false,
            canonical_services_for_external: false,
            multiple_custom_authz_providers: false,
            jwks_fetch: JwksFetch::ControlPlane,
            xds_identity_check: true,
            multi_root: false,
            dynamic_dns_max_hosts: 1024,
            selector_policies_for_gateway_api: true,
            multicluster_headless: true,
            ingress_namespace: "istio-system".into(),
            ip_autoallocate_v4: "240.240.0.0/16".into(),
            ip_autoallocate_v6: "2001:2::/48".into(),
            compliance: Compliance::None,
        }
    }
}

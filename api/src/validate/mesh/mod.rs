//! The mesh's configuration and networks. What istiod refuses of them leaves the former ones in force.
//!
//! Source: Istio `pkg/config/validation/agent`, `ValidateMeshConfig` and `ValidateMeshNetworks`.

mod networks;
mod provider;
mod proxy;

pub use networks::networks;

use super::{At, Findings, host, load_balancer, scalar, traffic};
use crate::istio::mesh::v1alpha1::MeshConfig;
use crate::istio::mesh::v1alpha1::mesh_config::TlsConfig;
use crate::wkt::Duration;

const MAX_CONNECT_TIMEOUT: i64 = 3600;
const CURVES: [&str; 7] =
    ["P-224", "P-256", "P-521", "P-384", "X25519", "X25519Kyber768Draft00", "X25519MLKEM768"];

/// Checks a configuration that has been laid over the defaults.
pub fn config(mesh: &MeshConfig) -> Findings {
    let mut out = Findings::default();
    let root = At::root;
    out.check(&root("proxyListenPort"), port(mesh.proxy_listen_port));
    let connect = mesh.connect_timeout.unwrap_or_default();
    out.check(&root("connectTimeout"), scalar::duration(&connect).or_else(|| too_long(&connect)));
    if let Some(detection) = &mesh.protocol_detection_timeout {
        out.check(&root("protocolDetectionTimeout"), whole_milliseconds(detection));
    }
    match &mesh.default_config {
        None => out.error(&root("defaultConfig"), "missing: write {} for the defaults"),
        Some(defaults) => proxy::config(&root("defaultConfig"), defaults, &mut out),
    }
    load_balancer::locality(&root("localityLbSetting"), mesh.locality_lb_setting.as_ref(), true, &mut out);
    load_balancer::zone_aware(
        &root("zoneAwareLbSetting"),
        mesh.zone_aware_lb_setting.as_ref(),
        true,
        &mut out,
    );
    service_settings(mesh, &mut out);
    trust_domains(mesh, &mut out);
    provider::providers(mesh, &mut out);
    tls(mesh, &mut out);
    if let Some(policy) = &mesh.default_traffic_policy {
        let at = root("defaultTrafficPolicy");
        traffic::connection_pool(&at.field("connectionPool"), policy.connection_pool.as_ref(), &mut out);
        traffic::outlier_detection(
            &at.field("outlierDetection"),
            policy.outlier_detection.as_ref(),
            &mut out,
        );
    }
    out
}

fn port(number: i32) -> Option<String> {
    u32::try_from(number).map_or_else(|_| Some(format!("{number} is no port")), scalar::port)
}

fn too_long(timeout: &Duration) -> Option<String> {
    let hour = Duration { seconds: MAX_CONNECT_TIMEOUT, nanos: 0 };
    let longer = (timeout.seconds, timeout.nanos) > (hour.seconds, hour.nanos);
    longer.then(|| format!("{timeout} is too long; at most {hour} is allowed"))
}

fn whole_milliseconds(value: &Duration) -> Option<String> {
    (value.nanos % 1_000_000 != 0).then(|| format!("{value} is too exact; write whole milliseconds"))
}

fn service_settings(mesh: &MeshConfig, out: &mut Findings) {
    let at = At::root("serviceSettings");
    for (i, settings) in mesh.service_settings.iter().enumerate() {
        let at = at.index(i);
        let at = at.field("hosts");
        for (i, name) in settings.hosts.iter().enumerate() {
            out.check(&at.index(i), host::wildcard_domain(name));
        }
    }
}

fn trust_domains(mesh: &MeshConfig, out: &mut Findings) {
    out.check(&At::root("trustDomain"), trust_domain(&mesh.trust_domain));
    let aliases = At::root("trustDomainAliases");
    for (i, alias) in mesh.trust_domain_aliases.iter().enumerate() {
        out.check(&aliases.index(i), trust_domain(alias));
    }
}

/// A name of labels with a dot at its end, if any.
fn trust_domain(domain: &str) -> Option<String> {
    let labels = domain.strip_suffix('.').unwrap_or(domain);
    let good = !domain.is_empty() && (labels.is_empty() || labels.split('.').all(host::is_label));
    (!good).then(|| format!("{domain:?} is no trust domain; write a name such as cluster.local"))
}

fn tls(mesh: &MeshConfig, out: &mut Findings) {
    let curves = |tls: &Option<TlsConfig>| tls.as_ref().map_or_else(Vec::new, |tls| tls.ecdh_curves.clone());
    if !curves(&mesh.mesh_m_tls).is_empty() {
        out.error(
            &At::root("meshMTLS").field("ecdhCurves"),
            "curves are set for TLS outside of the mesh only (tlsDefaults); remove them",
        );
    }
    let (tls, curves) = (At::root("tlsDefaults"), curves(&mesh.tls_defaults));
    let at = tls.field("ecdhCurves");
    for (i, curve) in curves.iter().enumerate() {
        if !curve.is_empty() && !CURVES.contains(&curve.as_str()) {
            out.warn(&at.index(i), format!("{curve} is no curve that Envoy knows, and is passed over"));
        } else if curves[..i].contains(curve) {
            out.warn(&at.index(i), format!("{curve} is named twice; name it once"));
        }
    }
}

/// `<host>:<port>`, where the host is a name or an address.
fn address(text: &str) -> Option<String> {
    let wrong = || Some(format!("{text:?} is no address; write <host>:<port>"));
    let Some((name, digits)) = text.rsplit_once(':') else { return wrong() };
    let name = match name.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']') {
            Some(name) => name,
            None => return wrong(),
        },
        None if name.contains(':') => return wrong(),
        None => name,
    };
    let good = digits.parse::<i32>().is_ok_and(|number| port(number).is_none());
    if !good || host::fqdn(name).is_some() && !host::is_ip(name) { wrong() } else { None }
}

#[cfg(test)]
mod tests;

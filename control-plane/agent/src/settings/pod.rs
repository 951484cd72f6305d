//! What the Pod tells about itself: the downward API's files, addresses, and Envoy's node metadata from all of it.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
};

use serde_json::{Map, Value, json};

use super::{Env, ProxyConfig};
use crate::{Error, cli::Proxy};

const LABELS: &str = "./etc/istio/pod/labels";
const ANNOTATIONS: &str = "./etc/istio/pod/annotations";
/// Where an SDS provider of the user's own listens; istiod sends credentials there if it is announced.
const CREDENTIAL_SOCKET: &str = "./var/run/secrets/credential-uds/socket";

/// Envoy's node metadata.
#[derive(Clone, Debug)]
pub struct Metadata(pub Map<String, Value>);

impl Metadata {
    /// From `ISTIO_META_*` (also in the ProxyConfig's `proxyMetadata`), `ISTIO_METAJSON_*`, and what the Pod is.
    pub fn read(
        env: &Env,
        proxy: &ProxyConfig,
        addresses: &[IpAddr],
        annotations: BTreeMap<String, String>,
        flags: &Proxy,
    ) -> Result<Self, Error> {
        let mut meta: Map<_, _> =
            env.under("ISTIO_META_").into_iter().map(|(name, value)| (name, Value::String(value))).collect();
        let mut labels = BTreeMap::new();
        for (name, value) in env.under("ISTIO_METAJSON_") {
            let setting = format!("ISTIO_METAJSON_{name}");
            let parsed: Map<String, Value> = serde_json::from_str(&value)
                .map_err(|e| Error::setting(&setting, format!("is no JSON object: {e}")))?;
            if name == "LABELS" {
                labels.extend(parsed.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))));
                meta.insert("STATIC_LABELS".into(), json!(labels));
            }
            meta.extend(parsed);
        }
        labels.extend(read_labels());
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
        let own = [
            ("NAME", json!(env.text("POD_NAME", ""))),
            ("NAMESPACE", json!(env.text("POD_NAMESPACE", ""))),
            ("SERVICE_ACCOUNT", json!(env.text("SERVICE_ACCOUNT", "default"))),
            ("INSTANCE_IPS", json!(addresses.join(","))),
            ("LABELS", json!(labels)),
            ("ANNOTATIONS", json!(annotations)),
            ("PROXY_CONFIG", proxy.json()),
            ("ENVOY_STATUS_PORT", json!(env.number("ENVOY_STATUS_PORT", 15021u16)?)),
            ("ENVOY_PROMETHEUS_PORT", json!(env.number("ENVOY_PROMETHEUS_PORT", 15090u16)?)),
            ("PILOT_SAN", json!([pilot_san(&proxy.text("discoveryAddress"))])),
            ("WORKLOAD_IDENTITY_SOCKET_FILE", json!("socket")),
        ];
        meta.extend(own.into_iter().map(|(k, v)| (k.to_owned(), v)));
        if !meta.contains_key("ISTIO_VERSION") {
            meta.insert("ISTIO_VERSION".into(), json!(VERSION));
        }
        if env.switch("EXIT_ON_ZERO_ACTIVE_CONNECTIONS")? {
            meta.insert("EXIT_ON_ZERO_ACTIVE_CONNECTIONS".into(), json!("true"));
        }
        if let Some(path) = flags.outlier_log_path.as_ref().filter(|p| !p.is_empty()) {
            meta.insert("OUTLIER_LOG_PATH".into(), json!(path));
        }
        if fs::exists(CREDENTIAL_SOCKET).unwrap_or(false) {
            meta.insert("credential".into(), json!("true"));
        }
        Ok(Self(meta))
    }

    /// A label of the Pod.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.0.get("LABELS")?.get(name)?.as_str()
    }

    /// An annotation of the Pod.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.0.get("ANNOTATIONS")?.get(name)?.as_str()
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|t| !t.is_empty())
    }

    /// Region, zone and subzone, by the label `istio-locality` (parts separated by `.` or `/`).
    pub fn locality(&self) -> Value {
        let label = self.label("istio-locality").or_else(|| self.label("topology.istio.io/locality"));
        let text = label.unwrap_or_default().replace('.', "/");
        let parts = text.split('/').filter(|p| !p.is_empty());
        let named = ["region", "zone", "sub_zone"].into_iter().zip(parts);
        Value::Object(named.map(|(name, part)| (name.to_owned(), json!(part))).collect())
    }
}

/// The version of Istio whose agent this one stands in for: istiod keeps features from older ones.
const VERSION: &str = "1.31.0";

/// The name that istiod's certificate has.
fn pilot_san(address: &str) -> &str {
    match address.rsplit_once(':').map_or(address, |(host, _)| host) {
        "localhost" => "istiod.istio-system.svc",
        host => host,
    }
}

/// The Pod's annotations, as far as they are mounted.
pub(super) fn annotations() -> BTreeMap<String, String> {
    read(ANNOTATIONS)
}

fn read_labels() -> BTreeMap<String, String> {
    let mut labels = read(LABELS);
    labels.remove("pod-template-hash");
    labels
}

fn read(path: &str) -> BTreeMap<String, String> {
    match fs::read_to_string(path) {
        Ok(text) => downward(&text),
        Err(e) => {
            tracing::debug!("{path}: {e}");
            BTreeMap::new()
        }
    }
}

/// Reads a file of the downward API: lines of `key="value"`, quoted as Go does. A line that is none is passed over.
pub fn downward(text: &str) -> BTreeMap<String, String> {
    let entry = |line: &str| {
        let (key, quoted) = line.split_once('=')?;
        Some((key.to_owned(), unquote(quoted)?))
    };
    text.lines().filter_map(entry).collect()
}

/// Go's `strconv.Unquote`, for the escapes that `%q` writes.
fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    let code = |rest: &mut std::str::Chars<'_>, digits: usize| {
        let hex: String = rest.by_ref().take(digits).collect();
        char::from_u32(u32::from_str_radix(&hex, 16).ok()?)
    };
    while let Some(c) = rest.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        text.push(match rest.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'x' => code(&mut rest, 2)?,
            'u' => code(&mut rest, 4)?,
            'U' => code(&mut rest, 8)?,
            c @ ('\\' | '"') => c,
            _ => return None,
        });
    }
    Some(text)
}

/// The Pod's addresses: `INSTANCE_IP`, and the others of `INSTANCE_IPS` if the template sets that.
pub(super) fn addresses(env: &Env) -> Result<Vec<IpAddr>, Error> {
    let mut addresses = Vec::new();
    for name in ["INSTANCE_IP", "INSTANCE_IPS"] {
        for text in env.text(name, "").split(',').map(str::trim).filter(|t| !t.is_empty()) {
            let address = text
                .parse()
                .map_err(|_| Error::setting(name, format!("holds {text:?}, which is no address")))?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    if addresses.is_empty() {
        tracing::warn!("INSTANCE_IP is not set: istiod is told 127.0.0.1, and finds no Pod by it");
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_downward_apis_quotes_are_gos() {
        let read = downward("app=\"shop\"\nnote=\"two\\nlines \\\"q\\\" \\u00e9\"\nbroken\nbad=\"\\q\"\n");
        assert_eq!(
            read,
            BTreeMap::from([
                ("app".to_owned(), "shop".to_owned()),
                ("note".to_owned(), "two\nlines \"q\" \u{e9}".to_owned()),
            ])
        );
    }

    #[test]
    fn metadata_comes_from_every_place() {
        let env = Env::of([
            ("POD_NAME", "a-1"),
            ("POD_NAMESPACE", "shop"),
            ("ISTIO_META_CLUSTER_ID", "c"),
            ("ISTIO_METAJSON_LABELS", r#"{"istio-locality":"r.z.s"}"#),
        ]);
        let proxy = ProxyConfig::read(&Proxy::default(), &env, &BTreeMap::new()).unwrap();
        let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let meta = Metadata::read(&env, &proxy, &addresses, BTreeMap::new(), &Proxy::default()).unwrap();
        assert_eq!(meta.text("NAME"), Some("a-1"));
        assert_eq!(meta.text("CLUSTER_ID"), Some("c"));
        assert_eq!(meta.text("INSTANCE_IPS"), Some("10.0.0.1,fd00::1"));
        assert_eq!(meta.locality(), json!({"region": "r", "zone": "z", "sub_zone": "s"}));
        assert_eq!(meta.0["PROXY_CONFIG"]["proxyAdminPort"], 15000);
    }

    #[test]
    fn a_bad_address_is_named() {
        let error = addresses(&Env::of([("INSTANCE_IP", "10.0.0.x")])).unwrap_err().to_string();
        assert!(error.contains("INSTANCE_IP") && error.contains("10.0.0.x"), "{error}");
    }
}

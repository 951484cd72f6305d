//! Keys that Envoy hands to an accelerator (ProxyConfig `privateKeyProvider`).
//!
//! Source: Istio `pilot/pkg/xds/sds.go` (`toEnvoyTLSSecret`).

use super::secret::inline;
use crate::Cx;
use bytes::Bytes;
use meltemi_api::envoy::config::core::v3::DataSource;
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::{
    PrivateKeyProvider, private_key_provider::ConfigType,
};
use meltemi_api::istio::mesh::v1alpha1::private_key_provider::Provider;
use meltemi_api::wkt::Any;
use prost::Message;

/// Both of Envoy's contributed providers have these fields: `CryptoMbPrivateKeyMethodConfig` and
/// `QatPrivateKeyMethodConfig`, of `envoy.extensions.private_key_providers`.
#[derive(Clone, PartialEq, Message)]
struct Method {
    #[prost(message, optional, tag = "1")]
    private_key: Option<DataSource>,
    #[prost(message, optional, tag = "2")]
    poll_delay: Option<prost_types::Duration>,
}

const CRYPTOMB: &str =
    "envoy.extensions.private_key_providers.cryptomb.v3alpha.CryptoMbPrivateKeyMethodConfig";
const QAT: &str = "envoy.extensions.private_key_providers.qat.v3alpha.QatPrivateKeyMethodConfig";

/// The provider that the proxy is configured to hand its keys to, if it has it.
pub(super) fn provider(cx: &Cx<'_>, key: &Bytes) -> Option<PrivateKeyProvider> {
    let provider = cx.proxy_config()?.private_key_provider.as_ref()?.provider.as_ref()?;
    let has = cx.proxy.istio_extensions;
    let (name, message, delay, fallback) = match provider {
        Provider::Cryptomb(p) if has.cryptomb => ("cryptomb", CRYPTOMB, &p.poll_delay, p.fallback),
        Provider::Qat(p) if has.qat => ("qat", QAT, &p.poll_delay, p.fallback),
        _ => return None,
    };
    // istiod reads the delay's nanoseconds only, which is all there is of any sensible one.
    let nanos = delay.as_ref().map_or(0, |d| d.nanos);
    let method = Method {
        private_key: Some(inline(key.clone())),
        poll_delay: Some(prost_types::Duration { seconds: 0, nanos }),
    };
    let url = format!("type.googleapis.com/{message}");
    Some(PrivateKeyProvider {
        provider_name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any::from_encoded(
            url,
            Bytes::from(method.encode_to_vec()),
        ))),
        fallback: fallback.is_some_and(|f| f.value),
    })
}

//! Whether HTTP/1 headers keep the case in which they arrive (ProxyConfig `proxyHeaders.preserveHttp1HeaderCase`).

use crate::{Cx, wire};
use meltemi_api::envoy::config::core::v3::{
    TypedExtensionConfig,
    http1_protocol_options::{HeaderKeyFormat, header_key_format::HeaderFormat},
};
use meltemi_api::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;

/// Whether the proxy keeps it. Envoy by itself writes lower case.
pub fn is_preserved(cx: &Cx<'_>) -> bool {
    let headers = cx.proxy_config().and_then(|c| c.proxy_headers.as_ref());
    headers.and_then(|h| h.preserve_http1_header_case.as_ref()).is_some_and(|v| v.value)
}

/// How headers are written: as they arrived, or `None` for Envoy's way.
pub fn format(cx: &Cx<'_>) -> Option<HeaderKeyFormat> {
    let formatter = TypedExtensionConfig {
        name: "preserve_case".to_owned(),
        typed_config: Some(wire::any(&PreserveCaseFormatterConfig::default())),
    };
    is_preserved(cx)
        .then(|| HeaderKeyFormat { header_format: Some(HeaderFormat::StatefulFormatter(formatter)) })
}

//! Access logs that Envoy writes to a file, as text or JSON.

use super::log;
use crate::wire;
use meltemi_api::envoy::config::accesslog::v3::AccessLog;
use meltemi_api::envoy::config::core::v3::{
    DataSource, JsonFormatOptions, SubstitutionFormatString, TypedExtensionConfig, data_source,
    substitution_format_string::Format,
};
use meltemi_api::envoy::extensions::access_loggers::file::v3::{
    FileAccessLog, file_access_log::AccessLogFormat,
};
use meltemi_api::envoy::extensions::formatter::req_without_query::v3::ReqWithoutQuery;
use meltemi_api::istio::mesh::v1alpha1::MeshConfig;
use meltemi_api::istio::mesh::v1alpha1::mesh_config::AccessLogEncoding;
use meltemi_api::istio::mesh::v1alpha1::mesh_config::extension_provider::{
    EnvoyFileAccessLogProvider, envoy_file_access_log_provider::log_format::LogFormat,
};
use meltemi_api::wkt::{json_to_struct, to_prost_struct};
use prost_types::{Struct, Value, value::Kind};

/// Where a provider logs that does not say.
const STDOUT: &str = "/dev/stdout";

/// Istio's own format for text (`EnvoyTextLogFormat`).
pub(super) const TEXT_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% \
%PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% \
%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// Istio's own format for JSON (`EnvoyJSONLogFormatIstio`).
const JSON_FORMAT: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];

/// The log of MeshConfig `accessLogFile`, or of the built-in provider, in MeshConfig's format.
pub(super) fn of_mesh(path: &str, mesh: &MeshConfig) -> AccessLog {
    let format = match mesh.access_log_encoding() {
        AccessLogEncoding::Text => text(&mesh.access_log_format),
        AccessLogEncoding::Json => {
            json(serde_json::from_str(&mesh.access_log_format).ok().as_ref().map(json_to_struct))
        }
    };
    of(path, format)
}

/// The log of a provider.
pub(super) fn of_provider(provider: &EnvoyFileAccessLogProvider) -> AccessLog {
    let mut format = match provider.log_format.as_ref().and_then(|f| f.log_format.as_ref()) {
        Some(LogFormat::Labels(labels)) => {
            json(Some(to_prost_struct(labels)).filter(|l| !l.fields.is_empty()))
        }
        Some(LogFormat::Text(format)) => text(format),
        None => text(""),
    };
    format.omit_empty_values = provider.omit_empty_values;
    of(if provider.path.is_empty() { STDOUT } else { &provider.path }, format)
}

fn of(path: &str, format: SubstitutionFormatString) -> AccessLog {
    let access_log_format = Some(AccessLogFormat::LogFormat(format));
    log("envoy.access_loggers.file", &FileAccessLog { path: path.to_owned(), access_log_format })
}

/// A line of text; an empty format is Istio's own, and a missing end of line is added.
fn text(format: &str) -> SubstitutionFormatString {
    let format = match format {
        "" => TEXT_FORMAT.to_owned(),
        line if line.ends_with('\n') => line.to_owned(),
        line => format!("{line}\n"),
    };
    SubstitutionFormatString {
        formatters: formatters([format.as_str()]),
        format: Some(Format::TextFormatSource(DataSource {
            specifier: Some(data_source::Specifier::InlineString(format)),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// A JSON object; `None` is Istio's own.
fn json(fields: Option<Struct>) -> SubstitutionFormatString {
    let fields = fields.unwrap_or_else(|| {
        let default = JSON_FORMAT.iter().map(|(key, value)| ((*key).to_owned(), wire::string(value)));
        Struct { fields: default.collect() }
    });
    SubstitutionFormatString {
        formatters: formatters(texts(&fields)),
        format: Some(Format::JsonFormat(fields)),
        json_format_options: Some(JsonFormatOptions::default()),
        ..Default::default()
    }
}

/// The texts directly in an object.
pub(super) fn texts(fields: &Struct) -> impl Iterator<Item = &str> {
    fields.fields.values().filter_map(|v: &Value| match &v.kind {
        Some(Kind::StringValue(text)) => Some(text.as_str()),
        _ => None,
    })
}

/// The extensions that formats need; Envoy has the other operators built in.
pub(super) fn formatters<'a>(formats: impl IntoIterator<Item = &'a str>) -> Vec<TypedExtensionConfig> {
    if !formats.into_iter().any(|f| f.contains("%REQ_WITHOUT_QUERY")) {
        return Vec::new();
    }
    vec![TypedExtensionConfig {
        name: "envoy.formatter.req_without_query".to_owned(),
        typed_config: Some(wire::any(&ReqWithoutQuery::default())),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_end_their_line_and_bring_what_they_need() {
        let of = |f| match text(f).format {
            Some(Format::TextFormatSource(source)) => source.specifier,
            _ => None,
        };
        assert_eq!(of("a"), Some(data_source::Specifier::InlineString("a\n".to_owned())));
        assert_eq!(text("%REQ_WITHOUT_QUERY(X)%").formatters.len(), 1);
        assert!(text("").formatters.is_empty());
    }
}

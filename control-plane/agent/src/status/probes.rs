//! The application's probes, which the injector has redirected to the agent: with mutual TLS, kubelet could not ask the
//! application itself.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use tokio::time::timeout;
use tonic::{client::Grpc, codegen::http::uri::PathAndQuery, transport::Endpoint};

use super::client::{self, Target};
use crate::Error;

/// The part of an application's answer that is passed on, in bytes.
const LARGEST_BODY: usize = 10 << 10;

/// Probes by the path under which kubelet asks for them.
#[derive(Debug)]
pub struct Probes {
    probes: BTreeMap<String, Probe>,
    application: IpAddr,
    own_port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    grpc: Option<GrpcAction>,
    #[serde(default = "one")]
    timeout_seconds: u64,
}

#[derive(Debug, Deserialize)]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: u16,
    #[serde(default)]
    scheme: String,
}

#[derive(Debug, Deserialize)]
struct TcpSocket {
    port: u16,
}

#[derive(Debug, Deserialize)]
struct GrpcAction {
    port: u16,
    #[serde(default)]
    service: Option<String>,
}

/// kubelet's default.
fn one() -> u64 {
    1
}

impl Probes {
    /// Reads `ISTIO_KUBE_APP_PROBERS`; `application` is asked, and `own_port` stands in `Host` headers until now.
    pub fn read(text: &str, application: IpAddr, own_port: u16) -> Result<Self, Error> {
        const NAME: &str = "ISTIO_KUBE_APP_PROBERS";
        let text = if text.is_empty() { "{}" } else { text };
        let probes: BTreeMap<String, Probe> =
            serde_json::from_str(text).map_err(|e| Error::setting(NAME, format!("cannot be read: {e}")))?;
        for (path, probe) in &probes {
            if !is_path(path) {
                return Err(Error::setting(NAME, format!("has the path {path}, which no injector writes")));
            }
            let actions = [probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.grpc.is_some()];
            if actions.into_iter().filter(|set| *set).count() != 1 {
                return Err(Error::setting(
                    NAME,
                    format!("must have one of httpGet, tcpSocket and grpc for {path}"),
                ));
            }
        }
        Ok(Self { probes, application, own_port })
    }

    /// Asks the application what kubelet wants to know.
    pub async fn ask(&self, path: &str, headers: &HeaderMap) -> Response {
        let Some(probe) = self.probes.get(path) else {
            let text = format!("app prober config does not exists for {path}");
            return (StatusCode::BAD_REQUEST, text).into_response();
        };
        let limit = Duration::from_secs(probe.timeout_seconds.max(1));
        let outcome = match probe {
            Probe { http_get: Some(get), .. } => self.http(get, headers, limit).await,
            Probe { tcp_socket: Some(socket), .. } => self.tcp(socket.port, limit).await,
            Probe { grpc: Some(grpc), .. } => self.grpc(grpc, limit).await,
            _ => unreachable!("checked when it was read"),
        };
        outcome.unwrap_or_else(|problem| {
            tracing::warn!(target: "probes", "{path}: {problem}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        })
    }

    fn target(&self, port: u16) -> Target {
        Target::application((self.application, port).into())
    }

    async fn http(&self, get: &HttpGet, headers: &HeaderMap, limit: Duration) -> Result<Response, String> {
        let path = if get.path.starts_with('/') { get.path.clone() } else { format!("/{}", get.path) };
        let to = self.target(get.port);
        let headers = self.pass_on(headers, get.port);
        let answer = if get.scheme.eq_ignore_ascii_case("https") {
            client::send_tls(to, &path, &headers, limit, client::LARGEST).await?
        } else {
            client::send(Method::GET, to, &path, &headers, limit, client::LARGEST).await?
        };
        // A redirect without its target would be invalid; it counts as success anyway.
        if answer.status.is_redirection() {
            return Ok(StatusCode::OK.into_response());
        }
        Ok((answer.status, answer.body.slice(..answer.body.len().min(LARGEST_BODY))).into_response())
    }

    /// kubelet's headers, with the application's port in place of the agent's.
    fn pass_on(&self, headers: &HeaderMap, port: u16) -> Vec<(HeaderName, HeaderValue)> {
        let own = |name: &HeaderName| {
            ![header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH].contains(name)
        };
        let value = |name: &HeaderName, value: &HeaderValue| {
            let host = value.to_str().ok().filter(|_| name == header::HOST)?.rsplit_once(':')?;
            (host.1 == self.own_port.to_string())
                .then(|| HeaderValue::try_from(format!("{}:{port}", host.0)).ok())
                .flatten()
        };
        let all = headers.iter().filter(|(name, _)| own(name));
        all.map(|(n, v)| (n.clone(), value(n, v).unwrap_or_else(|| v.clone()))).collect()
    }

    async fn tcp(&self, port: u16, limit: Duration) -> Result<Response, String> {
        let connected = timeout(limit, self.target(port).connect()).await;
        connected.map_err(|_| format!("no connection within {limit:?}"))?.map_err(|e| e.to_string())?;
        Ok(StatusCode::OK.into_response())
    }

    async fn grpc(&self, action: &GrpcAction, limit: Duration) -> Result<Response, String> {
        let check = async {
            let target = self.target(action.port);
            let endpoint =
                Endpoint::from_shared(format!("http://{}", target.to)).map_err(|e| e.to_string())?;
            let endpoint = endpoint.local_address(target.source());
            let channel = endpoint.connect().await.map_err(|e| crate::upstream::chain(&e))?;
            let mut client = Grpc::new(channel);
            client.ready().await.map_err(|e| crate::upstream::chain(&e))?;
            let request = tonic::Request::new(Check { service: action.service.clone().unwrap_or_default() });
            let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
            let codec = tonic_prost::ProstCodec::<Check, Health>::default();
            client.unary(request, path, codec).await.map_err(|s| format!("{:?}: {}", s.code(), s.message()))
        };
        let answer = timeout(limit, check).await.map_err(|_| format!("no answer within {limit:?}"))??;
        match answer.into_inner().status {
            SERVING => Ok(StatusCode::OK.into_response()),
            other => Err(format!("the service's health is {other}, not SERVING")),
        }
    }
}

/// `/app-health/CONTAINER/livez` and the like.
fn is_path(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    matches!(
        parts.as_slice(),
        ["", "app-health" | "app-lifecycle", container, "livez" | "readyz" | "startupz" | "prestopz" | "poststartz"]
            if !container.is_empty()
    )
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Check {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Health {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn read(text: &str) -> Result<Probes, Error> {
        Probes::read(text, Ipv4Addr::LOCALHOST.into(), 15020)
    }

    #[test]
    fn probes_that_no_injector_writes_are_refused() {
        for (text, part) in [
            ("x", "cannot be read"),
            (r#"{"/x":{"tcpSocket":{"port":1}}}"#, "/x"),
            (r#"{"/app-health/a/livez":{}}"#, "one of"),
            (r#"{"/app-health/a/livez":{"httpGet":{"port":"http"}}}"#, "cannot be read"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        read("").unwrap();
    }

    #[tokio::test]
    async fn the_application_decides() {
        let app = axum::Router::new()
            .route(
                "/good",
                axum::routing::get(|headers: HeaderMap| async move {
                    headers[header::HOST].to_str().unwrap().to_owned()
                }),
            )
            .route("/moved", axum::routing::get(|| async { axum::response::Redirect::to("/else") }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let probe = |path: &str| format!(r#"{{"httpGet":{{"path":"{path}","port":{port}}}}}"#);
        let probes = read(&format!(
            r#"{{"/app-health/a/livez":{},"/app-health/a/readyz":{},"/app-health/a/startupz":{},"/app-health/b/livez":{{"tcpSocket":{{"port":{port}}}}},"/app-health/b/readyz":{{"tcpSocket":{{"port":1}}}}}}"#,
            probe("/good"),
            probe("/missing"),
            probe("/moved"),
        ))
        .unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "10.0.0.1:15020".parse().unwrap());
        for (path, status) in [
            ("/app-health/a/livez", 200),
            ("/app-health/a/readyz", 404),
            ("/app-health/a/startupz", 200),
            ("/app-health/b/livez", 200),
            ("/app-health/b/readyz", 500),
            ("/app-health/c/livez", 400),
        ] {
            assert_eq!(probes.ask(path, &headers).await.status(), status, "{path}");
        }
        let answer = probes.ask("/app-health/a/livez", &headers).await;
        let body = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        assert_eq!(body, format!("10.0.0.1:{port}"), "the application's own port");
    }
}

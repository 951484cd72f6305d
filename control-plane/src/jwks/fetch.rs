//! One GET over HTTP(S): bounded in size, in time, and in where it may lead.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use meltemi_world::jwks::Source;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::dial::Rules;
use super::document;
use crate::metrics::Metrics;

/// How large a document may be. Key sets have some kilobytes.
const MAX_SIZE: usize = 1024 * 1024;
/// How many redirects are followed, all on one host.
const MAX_REDIRECTS: usize = 3;

/// Fetches keys. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    /// Which addresses are dialled.
    pub rules: Arc<Rules>,
    /// How servers are authenticated.
    pub tls: Arc<rustls::ClientConfig>,
    /// Where requests are counted.
    pub metrics: Metrics,
}

impl Fetcher {
    /// The key set of a source, fetched within `time`. `of_mesh` tells whether a host is that of a service of the mesh.
    ///
    /// # Errors
    /// If it cannot be had: a sentence that says why, without anything of what was served.
    pub async fn keys(
        &self,
        source: &Source,
        time: Duration,
        of_mesh: impl Fn(&str) -> bool,
    ) -> Result<String, String> {
        let fetching = async {
            let url = match source {
                Source::Keys(url) => url.to_string(),
                Source::Discovery(url) => document::keys_url(&self.get(url, &of_mesh).await?)?,
            };
            let body = self.get(&url, &of_mesh).await?;
            document::keys(&body).map(str::to_owned)
        };
        let outcome = tokio::time::timeout(time, fetching).await;
        outcome.unwrap_or_else(|_| {
            self.metrics.keys_fetched(false);
            Err(format!("there was no whole answer within {time:?}"))
        })
    }

    async fn get(&self, url: &str, of_mesh: &impl Fn(&str) -> bool) -> Result<Bytes, String> {
        let answer = self.follow(url, of_mesh).await;
        self.metrics.keys_fetched(answer.is_ok());
        answer
    }

    async fn follow(&self, url: &str, of_mesh: &impl Fn(&str) -> bool) -> Result<Bytes, String> {
        let mut target = Target::read(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask(&target, of_mesh).await?;
            let status = answer.status();
            if status.is_success() {
                return whole(answer).await;
            }
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                return Err(format!("the answer has status {}", status.as_u16()));
            }
            target = target.redirected(answer.headers().get(header::LOCATION))?;
        }
        Err(format!("there are more than {MAX_REDIRECTS} redirects"))
    }

    async fn ask(
        &self,
        target: &Target,
        of_mesh: &impl Fn(&str) -> bool,
    ) -> Result<Response<Incoming>, String> {
        let host = target.host();
        let stream =
            self.rules.connect(host, target.port(), of_mesh(host)).await.map_err(|e| e.to_string())?;
        if !target.tls {
            return exchange(stream, target).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name for TLS"))?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        exchange(stream.map_err(|e| format!("TLS: {e}"))?, target).await
    }
}

async fn exchange<S>(stream: S, target: &Target) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |e: hyper::Error| format!("HTTP: {e}");
    let (mut sender, connection) =
        http1::Builder::new().handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(text)?;
    // It ends with the answer's body, which the caller reads or drops.
    tokio::spawn(connection);
    sender.send_request(target.request()?).await.map_err(text)
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, String> {
    match Limited::new(answer.into_body(), MAX_SIZE).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(format!("the answer is longer than {MAX_SIZE} bytes")),
        Err(e) => Err(format!("the answer broke off: {e}")),
    }
}

/// What is asked of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    tls: bool,
    authority: Authority,
    path: PathAndQuery,
}

impl Target {
    fn read(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
        let parts = uri.into_parts();
        let tls = match parts.scheme {
            Some(scheme) if scheme == Scheme::HTTPS => true,
            Some(scheme) if scheme == Scheme::HTTP => false,
            _ => return Err("the URL is neither of http nor of https".to_owned()),
        };
        let authority = parts.authority.ok_or("the URL has no host")?;
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { tls, authority, path })
    }

    /// The host, without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, String> {
        let (user, host) = match self.authority.as_str().rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, self.authority.as_str()),
        };
        let mut request = Request::get(self.path.as_str())
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "meltemi")
            .header(header::CONNECTION, "close");
        if let Some(user) = user {
            let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(user)))
                .map_err(|_| "the URL's user cannot be read")?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Empty::new()).map_err(|_| "the URL cannot be asked for".to_owned())
    }

    /// Where a redirect leads, which must be the same host: another one was not named by whoever may say whom to trust.
    fn redirected(&self, location: Option<&HeaderValue>) -> Result<Self, String> {
        let location = location.and_then(|l| l.to_str().ok()).ok_or("the redirect leads nowhere")?;
        if location.starts_with('/') && !location.starts_with("//") {
            let path = location.parse().map_err(|_| "the redirect leads to no path")?;
            return Ok(Self { path, ..self.clone() });
        }
        let next = Self::read(location).map_err(|_| "the redirect leads to no URL of HTTP")?;
        let upgrade = next.tls && !self.tls && next.port() == 443;
        if next.host() != self.host() || (next.tls, next.port()) != (self.tls, self.port()) && !upgrade {
            return Err(format!("it redirects to {}, which is another server", next.authority));
        }
        Ok(Self { authority: if upgrade { next.authority } else { self.authority.clone() }, ..next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_their_server() {
        let to = |from: &str, location: &'static str| {
            let next =
                Target::read(from).unwrap().redirected(Some(&HeaderValue::from_static(location))).ok()?;
            Some(format!("{} {}:{}{}", next.tls, next.host(), next.port(), next.path))
        };
        let table = [
            ("https://a/x", "/y?z", Some("true a:443/y?z")),
            ("https://a/x", "https://a:443/y", Some("true a:443/y")),
            ("http://a/x", "https://a/x", Some("true a:443/x")),
            ("https://a/x", "http://a/x", None),
            ("https://a/x", "https://b/x", None),
            ("https://a/x", "//b/x", None),
            ("http://a/x", "http://a:8080/x", None),
            ("http://a/x", "http://169.254.169.254/", None),
            ("http://a/x", "file:///etc/passwd", None),
        ];
        for (from, location, wanted) in table {
            assert_eq!(to(from, location).as_deref(), wanted, "{from} -> {location}");
        }
        assert!(Target::read("http://a").unwrap().redirected(None).is_err());
    }

    #[test]
    fn urls_are_of_http() {
        for url in ["ftp://a/", "/a", "a", "http:///x", ""] {
            assert!(Target::read(url).is_err(), "{url}");
        }
        assert_eq!(
            Target::read("http://[::1]:81").map(|t| (t.host().to_owned(), t.port())),
            Ok(("::1".into(), 81))
        );
        let request = Target::read("http://u:p@a:81/x?y").unwrap().request().unwrap();
        assert_eq!(
            (request.uri().to_string().as_str(), &request.headers()["host"]),
            ("/x?y", &HeaderValue::from_static("a:81"))
        );
        assert_eq!(request.headers()["authorization"], "Basic dTpw");
    }
}

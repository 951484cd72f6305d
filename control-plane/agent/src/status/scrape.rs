//! `/stats/prometheus`: the metrics of the agent, Envoy and the application on one page.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, header};
use serde::Deserialize;

use super::client;
use crate::{Error, envoy::Admin, metrics::Metrics};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const LIMIT: Duration = Duration::from_secs(10);

/// Where the application's metrics are; the Pod's own `prometheus.io/*` annotations, which the injector has kept.
#[derive(Debug, Deserialize)]
struct Annotations {
    #[serde(default)]
    scrape: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    port: String,
}

/// What is scraped.
#[derive(Debug)]
pub struct Scrape {
    admin: Admin,
    application: Option<(SocketAddr, String)>,
    metrics: Arc<Metrics>,
}

impl Scrape {
    /// Reads `ISTIO_PROMETHEUS_ANNOTATIONS`. An application at one of `own_ports` would scrape the agent itself.
    pub fn read(text: &str, admin: Admin, own_ports: &[u16], metrics: Arc<Metrics>) -> Result<Self, Error> {
        const NAME: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";
        let mut application = None;
        if !text.is_empty() {
            let told: Annotations = serde_json::from_str(text)
                .map_err(|e| Error::setting(NAME, format!("cannot be read: {e}")))?;
            if told.scrape == "true" {
                let port = if told.port.is_empty() { "80" } else { &told.port };
                let port: u16 = port
                    .parse()
                    .map_err(|_| Error::setting(NAME, format!("has the port {port:?}, which is none")))?;
                if own_ports.contains(&port) {
                    let text =
                        format!("has the port {port}, which is the agent's own; name the application's");
                    return Err(Error::setting(NAME, text));
                }
                let path = if told.path.is_empty() { "/metrics".to_owned() } else { told.path };
                application = Some(((Ipv4Addr::LOCALHOST, port).into(), path));
            }
        }
        Ok(Self { admin, application, metrics })
    }

    /// The page. What cannot be scraped is missing, and counted.
    pub async fn page(&self, query: &str, accept: Option<&HeaderValue>) -> Response {
        self.metrics.scrapes.inc();
        let (envoy, application) = tokio::join!(self.admin.prometheus(query), self.application(accept));
        let mut page = self.metrics.text();
        match envoy {
            Ok(text) => page.push_str(&text),
            Err(error) => {
                tracing::warn!("the metrics of Envoy are missing: {error}");
                self.metrics.envoy_scrape_failures.inc();
            }
        }
        let mut kind = HeaderValue::from_static(TEXT);
        match application {
            Ok(None) => {}
            // Last, since an OpenMetrics page ends with its own mark.
            Ok(Some(answer)) => {
                if let Some(own) = answer.headers.get(header::CONTENT_TYPE).filter(|v| is_open_metrics(v)) {
                    kind = own.clone();
                }
                page.push_str(&String::from_utf8_lossy(&answer.body));
            }
            Err(error) => {
                tracing::warn!("the metrics of the application are missing: {error}");
                self.metrics.application_scrape_failures.inc();
            }
        }
        ([(header::CONTENT_TYPE, kind)], page).into_response()
    }

    async fn application(&self, accept: Option<&HeaderValue>) -> Result<Option<client::Answer>, String> {
        let Some((to, path)) = &self.application else { return Ok(None) };
        let headers: Vec<(HeaderName, HeaderValue)> =
            accept.map(|a| (header::ACCEPT, a.clone())).into_iter().collect();
        let answer = client::send(Method::GET, (*to).into(), path, &headers, LIMIT, client::LARGEST).await?;
        if answer.status.is_success() {
            Ok(Some(answer))
        } else {
            Err(format!("it answers {}", answer.status))
        }
    }
}

fn is_open_metrics(kind: &HeaderValue) -> bool {
    kind.to_str().is_ok_and(|k| k.starts_with("application/openmetrics-text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Scrape, Error> {
        Scrape::read(text, Admin::new(([127, 0, 0, 1], 1).into()), &[15020, 15090], Arc::default())
    }

    #[test]
    fn annotations_name_the_application() {
        let scrape = read(r#"{"scrape":"true","path":"","port":"9090"}"#).unwrap();
        assert_eq!(scrape.application, Some(("127.0.0.1:9090".parse().unwrap(), "/metrics".into())));
        assert_eq!(read("").unwrap().application, None);
        assert_eq!(read(r#"{"scrape":"false","port":"9090"}"#).unwrap().application, None);
        assert!(read(r#"{"scrape":"true","port":"15020"}"#).unwrap_err().to_string().contains("own"));
        assert!(read(r#"{"scrape":"true","port":"http"}"#).is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_scraped_is_counted() {
        let scrape = read("").unwrap();
        let page = scrape.page("", None).await;
        let body = axum::body::to_bytes(page.into_body(), 1 << 20).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains("istio_agent_scrapes_total 1"));
        assert_eq!(scrape.metrics.envoy_scrape_failures.get(), 1);
    }
}

//! `meltemi request`: asks the control plane that runs beside it.

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

use crate::config::flags;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends the request and returns the body of the answer.
///
/// # Errors
/// If nothing listens there, or the answer is an error.
pub async fn send(request: &flags::Request) -> Result<String> {
    tokio::time::timeout(PATIENCE, exchange(request)).await.context("no answer within a minute")?
}

async fn exchange(flags: &flags::Request) -> Result<String> {
    let address = &flags.address;
    let stream = TcpStream::connect(address).await.with_context(|| {
        format!(
            "nothing listens on {address}; is the control plane running, with --monitoringAddr at this port?"
        )
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let slash = if flags.path.starts_with('/') { "" } else { "/" };
    let request = Request::builder()
        .method(Method::from_bytes(flags.method.to_ascii_uppercase().as_bytes())?)
        .uri(format!("{slash}{}", flags.path))
        .header(header::HOST, address)
        .body(Full::new(bytes::Bytes::from(flags.body.clone())))
        .with_context(|| format!("{:?} is not a path", flags.path))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if !status.is_success() {
        bail!("{status}: {}", text.trim());
    }
    Ok(text)
}

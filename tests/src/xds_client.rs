//! A client of the aggregated discovery service that sends exactly what it is told to, nonces included.
//!
//! It acknowledges nothing by itself; [`crate::proxy`] is the client that behaves as Envoy does.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use hyper_util::rt::TokioIo;
use meltemi_api::{
    envoy::{
        config::core::v3::{Locality, Node},
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
    google::rpc::Status,
    wkt,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::{netns::Place, tls};

/// Type URLs of the resources that every Envoy asks for.
pub mod types {
    /// Clusters.
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// Endpoints of a cluster.
    pub const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// Listeners.
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// Routes of a listener.
    pub const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// Certificates and roots.
    pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
}

/// The node that [`crate::bootstrap::node`] describes, as a message.
pub fn node(description: &Value) -> Node {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let locality = &description["locality"];
    let metadata = wkt::json_to_value(&description["metadata"]);
    let fields = match metadata.kind {
        Some(prost_types::value::Kind::StructValue(fields)) => Some(fields),
        _ => None,
    };
    Node {
        id: text(&description["id"]),
        cluster: text(&description["cluster"]),
        locality: (!locality["region"].is_null()).then(|| Locality {
            region: text(&locality["region"]),
            zone: text(&locality["zone"]),
            ..Default::default()
        }),
        metadata: fields,
        ..Default::default()
    }
}

/// The receive window of a client that reads as fast as it can.
const WINDOW: u32 = 4 << 20;

/// A connection to a control plane, on which the other side may send `window` bytes ahead of the reader.
async fn connect(
    from: &Place,
    to: SocketAddr,
    window: u32,
) -> Result<AggregatedDiscoveryServiceClient<Channel>> {
    let from = from.clone();
    let connector = service_fn(move |_| {
        let from = from.clone();
        async move { from.connect(to).await.map(TokioIo::new).map_err(std::io::Error::other) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{to}"))?
        .initial_stream_window_size(window)
        .initial_connection_window_size(window);
    let channel =
        endpoint.connect_with_connector(connector).await.with_context(|| format!("connecting to {to}"))?;
    Ok(AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(256 << 20))
}

/// What a client trusts and shows on a TLS port.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Roots, in PEM.
    pub roots: String,
    /// The name that the server must prove.
    pub server: String,
    /// A service account's token.
    pub token: Option<String>,
}

/// A connection over TLS, likewise.
async fn connect_secure(
    to: SocketAddr,
    credentials: &Credentials,
) -> Result<AggregatedDiscoveryServiceClient<Channel>> {
    let config = tls::client(&credentials.roots, &[b"h2"])?;
    let server = credentials.server.clone();
    let connector = service_fn(move |_| {
        let (config, server) = (config.clone(), server.clone());
        async move {
            let stream = tokio::net::TcpStream::connect(to).await?;
            tls::shake(config, &server, stream).await.map(TokioIo::new).map_err(std::io::Error::other)
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{}", credentials.server))?;
    let channel =
        endpoint.connect_with_connector(connector).await.with_context(|| format!("connecting to {to}"))?;
    Ok(AggregatedDiscoveryServiceClient::new(channel))
}

/// One stream of the delta protocol.
#[derive(Debug)]
pub struct Delta {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    node: Option<Node>,
}

impl Delta {
    /// Opens a stream; `node` goes out with its first request.
    pub async fn open(from: &Place, to: SocketAddr, node: Node) -> Result<Self> {
        Self::open_with_window(from, to, node, WINDOW).await
    }

    /// As [`Delta::open`], for a reader who lets the control plane send so many bytes ahead.
    pub async fn open_with_window(from: &Place, to: SocketAddr, node: Node, window: u32) -> Result<Self> {
        let mut client = connect(from, to, window).await?;
        let (requests, queue) = mpsc::unbounded_channel();
        let responses =
            client.delta_aggregated_resources(UnboundedReceiverStream::new(queue)).await?.into_inner();
        Ok(Self { requests, responses, node: Some(node) })
    }

    /// Opens a stream to a TLS port. The error is the server's if it lets nobody in.
    pub async fn open_secure(to: SocketAddr, node: Node, credentials: &Credentials) -> Result<Self> {
        let mut client = connect_secure(to, credentials).await?;
        let (requests, queue) = mpsc::unbounded_channel();
        let mut request = tonic::Request::new(UnboundedReceiverStream::new(queue));
        if let Some(token) = &credentials.token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
        }
        let responses = client.delta_aggregated_resources(request).await?.into_inner();
        Ok(Self { requests, responses, node: Some(node) })
    }

    /// Sends a request as it is; the stream's first one gets the node.
    pub fn send(&mut self, mut request: DeltaDiscoveryRequest) -> Result<()> {
        if let Some(node) = self.node.take() {
            request.node = Some(node);
        }
        self.requests.send(request).context("the stream is closed")
    }

    /// Subscribes to resources by name; `*` stands for all.
    pub fn subscribe(&mut self, kind: &str, names: &[&str]) -> Result<()> {
        let resource_names_subscribe = names.iter().map(ToString::to_string).collect();
        self.send(DeltaDiscoveryRequest {
            type_url: kind.into(),
            resource_names_subscribe,
            ..Default::default()
        })
    }

    /// Gives up resources by name.
    pub fn unsubscribe(&mut self, kind: &str, names: &[&str]) -> Result<()> {
        let resource_names_unsubscribe = names.iter().map(ToString::to_string).collect();
        self.send(DeltaDiscoveryRequest {
            type_url: kind.into(),
            resource_names_unsubscribe,
            ..Default::default()
        })
    }

    /// Acknowledges a nonce, a forged one too.
    pub fn ack(&mut self, kind: &str, nonce: &str) -> Result<()> {
        let response_nonce = nonce.into();
        self.send(DeltaDiscoveryRequest { type_url: kind.into(), response_nonce, ..Default::default() })
    }

    /// Rejects a nonce.
    pub fn nack(&mut self, kind: &str, nonce: &str, why: &str) -> Result<()> {
        self.send(DeltaDiscoveryRequest {
            type_url: kind.into(),
            response_nonce: nonce.into(),
            error_detail: Some(rejection(why)),
            ..Default::default()
        })
    }

    /// The next response, if one comes in time.
    pub async fn next(&mut self, limit: Duration) -> Result<Option<DeltaDiscoveryResponse>> {
        next(&mut self.responses, limit).await
    }

    /// The next response, which must come in time and be of a type.
    pub async fn expect(&mut self, kind: &str, limit: Duration) -> Result<DeltaDiscoveryResponse> {
        match self.next(limit).await? {
            Some(response) if response.type_url == kind => Ok(response),
            Some(response) => bail!("expected {kind}, got {}", response.type_url),
            None => bail!("no {kind} within {limit:?}"),
        }
    }
}

/// One stream of the state-of-the-world protocol.
#[derive(Debug)]
pub struct Sotw {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    node: Option<Node>,
}

impl Sotw {
    /// Opens a stream; `node` goes out with its first request.
    pub async fn open(from: &Place, to: SocketAddr, node: Node) -> Result<Self> {
        let mut client = connect(from, to, WINDOW).await?;
        let (requests, queue) = mpsc::unbounded_channel();
        let responses =
            client.stream_aggregated_resources(UnboundedReceiverStream::new(queue)).await?.into_inner();
        Ok(Self { requests, responses, node: Some(node) })
    }

    /// Sends a request as it is; the stream's first one gets the node.
    pub fn send(&mut self, mut request: DiscoveryRequest) -> Result<()> {
        if let Some(node) = self.node.take() {
            request.node = Some(node);
        }
        self.requests.send(request).context("the stream is closed")
    }

    /// Asks for these resources (none: all), with nothing received yet.
    pub fn subscribe(&mut self, kind: &str, names: &[&str]) -> Result<()> {
        let resource_names = names.iter().map(ToString::to_string).collect();
        self.send(DiscoveryRequest { type_url: kind.into(), resource_names, ..Default::default() })
    }

    /// Acknowledges a response and goes on asking for these resources.
    pub fn ack(&mut self, response: &DiscoveryResponse, names: &[&str]) -> Result<()> {
        self.send(DiscoveryRequest {
            type_url: response.type_url.clone(),
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            ..Default::default()
        })
    }

    /// Rejects a response; `version` is the last that was accepted.
    pub fn nack(
        &mut self,
        response: &DiscoveryResponse,
        version: &str,
        names: &[&str],
        why: &str,
    ) -> Result<()> {
        self.send(DiscoveryRequest {
            type_url: response.type_url.clone(),
            version_info: version.into(),
            response_nonce: response.nonce.clone(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            error_detail: Some(rejection(why)),
            ..Default::default()
        })
    }

    /// The next response, if one comes in time.
    pub async fn next(&mut self, limit: Duration) -> Result<Option<DiscoveryResponse>> {
        next(&mut self.responses, limit).await
    }
}

fn rejection(why: &str) -> Status {
    const INVALID_ARGUMENT: i32 = 3;
    Status { code: INVALID_ARGUMENT, message: why.into(), ..Default::default() }
}

async fn next<T>(responses: &mut Streaming<T>, limit: Duration) -> Result<Option<T>> {
    match tokio::time::timeout(limit, responses.message()).await {
        Err(_) => Ok(None),
        Ok(Ok(Some(response))) => Ok(Some(response)),
        Ok(Ok(None)) => bail!("the control plane ended the stream"),
        Ok(Err(status)) => bail!("the stream failed: {status}"),
    }
}

//! One stream: requests in, responses out.
//!
//! There is no task and no queue of its own behind a stream. It is driven by the transport, which asks for the next
//! chunk when it has room for one; only then is the next response made. What a client does not take therefore costs
//! nothing, and what changes meanwhile is merged into what it is sent once it reads again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http_body::Frame;
use meltemi_api::envoy::service::discovery::v3 as discovery;
use meltemi_distribution::{Protocol, Refusal, Stream, Verdict, View};
use tokio::sync::watch;
use tonic::{Code, Status, Streaming};

use crate::registry::{Connection, Event};
use crate::service::Shared;
use crate::source::{Peer, Update};
use crate::special::{Asked, HEALTH, Reply};
use crate::wire::{Incoming, Outgoing};

/// One stream.
pub(crate) struct Session<R> {
    shared: Arc<Shared>,
    requests: Streaming<R>,
    peer: Peer,
    proxy: Option<Proxy>,
    outgoing: Option<Sending>,
    /// When the stream is ended so that the client connects anew, perhaps elsewhere.
    ends_at: Option<tokio::time::Instant>,
    ended: bool,
}

/// A response on its way.
struct Sending {
    message: Outgoing,
    type_url: Arc<str>,
    since: Instant,
}

/// What the stream knows of its proxy, from its first request on.
struct Proxy {
    registered: Registered,
    stream: Stream,
    updates: watch::Receiver<Update>,
    /// There may be something to send.
    look: bool,
    /// The view of the push under way.
    view: Option<Arc<dyn View>>,
    /// When the change became known that the push under way is about, once it sent something.
    changed_at: Option<Instant>,
    pushed: bool,
}

/// Takes a connection out of the registry when its stream is dropped, however that comes about.
struct Registered {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.registry.remove(&self.connection.id);
        self.shared.observer.disconnected(self.connection.version());
        tracing::info!(connection = %self.connection.id, "stream ended");
    }
}

impl<R: Incoming> Session<R> {
    pub(crate) fn new(shared: Arc<Shared>, requests: Streaming<R>, peer: Peer) -> Self {
        let ends_at = shared.options.max_age.map(|age| {
            // Streams that began together, at a restart, must not end together.
            let spread = f64::from(shared.registry.number() as u32 % 64) / 640.0;
            tokio::time::Instant::now() + age.mul_f64(1.0 + spread)
        });
        Self { shared, requests, peer, proxy: None, outgoing: None, ends_at, ended: false }
    }

    /// The next frame of the response's body; nothing after the trailers.
    pub(crate) async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Infallible>> {
        if self.ended {
            return None;
        }
        let status = match self.chunk().await {
            Ok(chunk) => return Some(Ok(Frame::data(chunk))),
            Err(status) => status,
        };
        self.ended = true;
        self.end(&status);
        let mut trailers = http::HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            // Only a message that is no header value can fail; the code must arrive all the same.
            trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from(status.code() as i32));
        }
        Some(Ok(Frame::trailers(trailers)))
    }

    /// Drops what belongs to the proxy at once: the transport may hold on to the body.
    fn end(&mut self, status: &Status) {
        if !matches!(status.code(), Code::Ok | Code::Cancelled | Code::Unavailable) {
            let id = self.proxy.as_ref().map(|p| &*p.registered.connection.id);
            tracing::warn!(connection = id, peer = ?self.peer.address, code = ?status.code(), "stream failed: {}", status.message());
            self.shared.observer.failed(status);
        }
        self.proxy = None;
        self.outgoing = None;
    }

    /// The next chunk of data, or with what status the stream ends.
    async fn chunk(&mut self) -> Result<Bytes, Status> {
        loop {
            if let Some(sending) = &mut self.outgoing {
                if let Some(chunk) = sending.message.chunk() {
                    return Ok(chunk);
                }
                self.shared.observer.sent(&sending.type_url, sending.since.elapsed());
                self.outgoing = None;
            }
            // Requests first: an answer to a response that was just sent decides what is sent next, and a client that
            // starts waits for its answers, not for pushes.
            while let Some(message) = self.requests.message().now_or_never() {
                self.take(message).await?;
                if self.outgoing.is_some() {
                    break;
                }
            }
            if self.outgoing.is_some() || self.push() {
                continue;
            }
            self.wait().await?;
        }
    }

    /// Waits for a request, a change, or the time for removals.
    async fn wait(&mut self) -> Result<(), Status> {
        let wake_at = self.proxy.as_ref().and_then(|p| p.stream.wake_at());
        let ends_at = self.ends_at;
        let updates = self.proxy.as_mut().map(|p| &mut p.updates);
        let message = tokio::select! {
            biased;
            () = self.shared.closing.cancelled() => {
                return Err(Status::unavailable("the server is shutting down"));
            }
            message = self.requests.message() => Some(message),
            changed = async { updates.expect("checked").changed().await }, if updates.is_some() => {
                changed.map_err(|_| Status::unavailable("the proxy is no longer served here"))?;
                None
            }
            () = async { tokio::time::sleep_until(wake_at.expect("checked").into()).await }, if wake_at.is_some() => None,
            () = async { tokio::time::sleep_until(ends_at.expect("checked")).await }, if ends_at.is_some() => {
                return Err(Status::unavailable("the stream has reached its age; connect again"));
            }
        };
        match message {
            Some(message) => self.take(message).await,
            None => {
                if let Some(proxy) = &mut self.proxy {
                    proxy.look = true;
                }
                Ok(())
            }
        }
    }

    /// Takes in what the client sent: a request, the end, or an error.
    async fn take(&mut self, message: Result<Option<R>, Status>) -> Result<(), Status> {
        let mut request = match message {
            Ok(Some(request)) => request,
            Ok(None) => return Err(Status::ok("")),
            // gRPC servers answer a message that is too large with ResourceExhausted.
            Err(s) if s.code() == Code::OutOfRange => return Err(Status::resource_exhausted(s.message())),
            Err(status) => return Err(status),
        };
        self.shared.observer.received(request.encoded_len());
        let node = request.take_node();
        if self.proxy.is_none() {
            // pilot-agent may report health before Envoy asks for anything (`receiveDelta`).
            if request.type_url() == HEALTH {
                return Ok(());
            }
            let node = node.filter(|n| !n.id.is_empty());
            let node = node.ok_or_else(|| Status::invalid_argument("missing node information"))?;
            let handle = self.shared.source.open(&node, &self.peer)?;
            let number = self.shared.registry.number();
            let updates = handle.updates();
            let connection = Arc::new(Connection::new(number, node, self.peer.clone(), R::PROTOCOL, handle));
            self.shared.registry.add(&connection);
            self.shared.observer.connected(connection.version());
            tracing::info!(connection = %connection.id, peer = ?self.peer.address, "new stream");
            let registered = Registered { shared: Arc::clone(&self.shared), connection };
            self.proxy = Some(Proxy {
                registered,
                stream: Stream::new(R::PROTOCOL, number).sharing(Arc::clone(&self.shared.lists)),
                updates,
                look: false,
                view: None,
                changed_at: None,
                pushed: false,
            });
        }
        let Some(proxy) = &mut self.proxy else { return Ok(()) };
        if self.shared.special.handles(request.type_url()) {
            self.outgoing = special(&self.shared, &proxy.registered.connection, &request);
            return Ok(());
        }
        proxy.look = true;
        proxy.request(&self.shared, request)
    }

    /// Makes the next response, if there is one.
    fn push(&mut self) -> bool {
        let Some(proxy) = &mut self.proxy else { return false };
        self.outgoing = proxy.next(&self.shared);
        self.outgoing.is_some()
    }
}

impl Proxy {
    fn request<R: Incoming>(&mut self, shared: &Shared, request: R) -> Result<(), Status> {
        let code = request.error().map_or(0, |e| e.code);
        let request = request.into_request();
        tracing::debug!(connection = %self.registered.connection.id, %request, "request");
        let (type_url, error) = (request.type_url.clone(), request.error.clone());
        let verdict = self.stream.request(request).map_err(|refusal| match refusal {
            Refusal::TooManyNames { .. } | Refusal::TooManyTypes { .. } => {
                Status::resource_exhausted(refusal.to_string())
            }
        })?;
        let event = match verdict {
            Verdict::Rejected => {
                let error = error.unwrap_or_default();
                tracing::warn!(connection = %self.registered.connection.id, type_url, error, "response rejected");
                shared.observer.rejected(&type_url, &self.registered.connection.node.id, code, &error);
                Event::Rejected
            }
            Verdict::Expired => {
                shared.observer.expired_nonce(&type_url);
                Event::Other
            }
            Verdict::Acked | Verdict::None => Event::Other,
        };
        self.registered.connection.publish(&type_url, self.stream.status(&type_url), event);
        Ok(())
    }

    fn next(&mut self, shared: &Shared) -> Option<Sending> {
        loop {
            if self.view.is_none() {
                if !std::mem::take(&mut self.look) && !self.updates.has_changed().unwrap_or(false) {
                    return None;
                }
                // Marked as seen before the view is taken, so that a change in between is not lost.
                let update = *self.updates.borrow_and_update();
                if self.stream.generation().is_some_and(|g| update.generation > g) {
                    self.changed_at = Some(update.since);
                }
                self.view = Some(self.registered.connection.proxy.view());
            }
            let started = Instant::now();
            let view = self.view.as_ref()?;
            if let Some(response) = self.stream.next(&**view, started) {
                tracing::debug!(connection = %self.registered.connection.id, %response, "response");
                let type_url = Arc::clone(&response.type_url);
                let message = Outgoing::response(self.stream.protocol(), response);
                self.pushed = true;
                self.registered.connection.publish(&type_url, self.stream.status(&type_url), Event::Sent);
                shared.observer.pushed(&type_url, started.elapsed(), message.size);
                return Some(Sending { message, type_url, since: Instant::now() });
            }
            // The push is done. The view is let go, so that an idle stream keeps no old state of the world.
            self.view = None;
            self.look = false;
            if let (Some(since), true) = (self.changed_at.take(), std::mem::take(&mut self.pushed)) {
                shared.observer.converged(since.elapsed());
            }
        }
    }
}

fn special<R: Incoming>(shared: &Shared, connection: &Arc<Connection>, request: &R) -> Option<Sending> {
    let type_url = request.type_url();
    let asked = Asked { type_url, names: request.names(), report: request.error(), connection };
    let Reply { resources, control_plane } = shared.special.answer(asked)?;
    let control_plane =
        control_plane.map(|identifier| meltemi_api::envoy::config::core::v3::ControlPlane { identifier });
    // No subscription stands behind the answer, so its nonce is never compared with anything.
    let nonce = format!("special.{:x}", shared.registry.number());
    let message = match R::PROTOCOL {
        Protocol::Delta => Outgoing::message(&discovery::DeltaDiscoveryResponse {
            type_url: type_url.to_owned(),
            nonce,
            control_plane,
            resources: resources
                .into_iter()
                .map(|(name, any)| discovery::Resource { name, resource: Some(any), ..Default::default() })
                .collect(),
            ..Default::default()
        }),
        Protocol::Sotw => Outgoing::message(&discovery::DiscoveryResponse {
            type_url: type_url.to_owned(),
            nonce,
            control_plane,
            resources: resources.into_iter().map(|(_, any)| any).collect(),
            ..Default::default()
        }),
    };
    Some(Sending { message, type_url: type_url.into(), since: Instant::now() })
}

/// For how long a stream may last before its client must connect anew, as istiod's Helm chart sets it.
pub const MAX_AGE: Duration = Duration::from_secs(30 * 60);

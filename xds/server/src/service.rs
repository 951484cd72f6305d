//! The gRPC service of ADS: admission, and the two methods.
//!
//! Written against HTTP instead of the generated server, since that one copies a whole message into a buffer of each
//! stream.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Request, Response, header};
use http_body_util::StreamBody;
use meltemi_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_distribution::{NameLists, Protocol};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::Codec;
use tonic::server::NamedService;
use tonic::{Status, Streaming};

use crate::io::{Authenticator, Call, Remote};
use crate::observer::{Observer, Unobserved};
use crate::pace::Pace;
use crate::registry::Registry;
use crate::session::{MAX_AGE, Session};
use crate::source::{Peer, Source};
use crate::special::{Ordinary, Special};
use crate::wire::Incoming;

const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Limits of the service.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The largest request.
    pub max_request: usize,
    /// After what time a stream is ended, if at all. Up to a tenth is added, other for each stream.
    pub max_age: Option<Duration>,
    /// How many streams may begin in a second, if that is limited. Others wait a second at most.
    pub new_streams: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_request: 4 * 1024 * 1024, max_age: Some(MAX_AGE), new_streams: None }
    }
}

/// What all streams share.
pub(crate) struct Shared {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) special: Arc<dyn Special>,
    pub(crate) options: Options,
    pub(crate) closing: CancellationToken,
    pub(crate) lists: Arc<NameLists>,
    pace: Option<Arc<Pace>>,
    authenticator: Option<Arc<dyn Authenticator>>,
}

/// The ADS service. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Ads {
    shared: Arc<Shared>,
}

impl Ads {
    /// A service for callers without identity, as on a plaintext port.
    pub fn new(source: Arc<dyn Source>, registry: Arc<Registry>) -> Self {
        Self {
            shared: Arc::new(Shared {
                source,
                registry,
                observer: Arc::new(Unobserved),
                special: Arc::new(Ordinary),
                options: Options::default(),
                closing: CancellationToken::new(),
                lists: Arc::default(),
                pace: None,
                authenticator: None,
            }),
        }
    }

    /// The same service for callers that must prove who they are.
    #[must_use]
    pub fn authenticated(&self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.with(|shared| shared.authenticator = Some(authenticator))
    }

    /// The same service, observed.
    #[must_use]
    pub fn observed(&self, observer: Arc<dyn Observer>) -> Self {
        self.with(|shared| shared.observer = observer)
    }

    /// The same service with answers to special types.
    #[must_use]
    pub fn special(&self, special: Arc<dyn Special>) -> Self {
        self.with(|shared| shared.special = special)
    }

    /// The same service with other limits.
    #[must_use]
    pub fn limited(&self, options: Options) -> Self {
        self.with(|shared| {
            shared.options = options;
            shared.pace = options.new_streams.map(|n| Arc::new(Pace::new(n)));
        })
    }

    fn with(&self, change: impl FnOnce(&mut Shared)) -> Self {
        let s = &self.shared;
        let mut shared = Shared {
            source: Arc::clone(&s.source),
            registry: Arc::clone(&s.registry),
            observer: Arc::clone(&s.observer),
            special: Arc::clone(&s.special),
            options: s.options,
            closing: s.closing.clone(),
            lists: Arc::clone(&s.lists),
            pace: s.pace.clone(),
            authenticator: s.authenticator.clone(),
        };
        change(&mut shared);
        Self { shared: Arc::new(shared) }
    }

    /// Ends all streams, of all services made from one.
    pub fn close(&self) {
        self.shared.closing.cancel();
    }

    async fn open<R: Incoming>(self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        match self.admit(&head, R::PROTOCOL).await {
            Err(status) => status.into_http(),
            Ok(peer) => self.stream::<R>(body, peer),
        }
    }

    async fn admit(&self, request: &Parts, protocol: Protocol) -> Result<Peer, Status> {
        if !self.shared.source.ready() {
            let message = "server is not ready to serve discovery information";
            // istiod answers a plain error on delta streams, and ztunnel tries again sooner after that.
            return Err(match protocol {
                Protocol::Sotw => Status::unavailable(message),
                Protocol::Delta => Status::unknown(message),
            });
        }
        if let Some(pace) = &self.shared.pace {
            pace.turn().await?;
        }
        let unknown = Remote::default();
        let remote = request.extensions.get::<Remote>().unwrap_or(&unknown);
        let identities = match &self.shared.authenticator {
            None => Vec::new(),
            Some(authenticator) => {
                let call = Call { remote, headers: &request.headers };
                authenticator.authenticate(call).await.map_err(Status::unauthenticated)?
            }
        };
        Ok(Peer { address: remote.address, identities })
    }

    fn stream<R: Incoming>(self, body: Body, peer: Peer) -> Response<Body> {
        let limit = self.shared.options.max_request;
        let decoder = tonic_prost::ProstCodec::<R, R>::default().decoder();
        let requests = Streaming::new_request(decoder, body, None, Some(limit));
        let session = Session::new(self.shared, requests, peer);
        let frames = futures::stream::unfold(session, |mut session| async move {
            let frame = session.frame().await?;
            Some((frame, session))
        });
        let mut response = Response::new(Body::new(StreamBody::new(frames)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

impl NamedService for Ads {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl tower::Service<Request<Body>> for Ads {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let ads = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                DELTA => ads.open::<DeltaDiscoveryRequest>(request).await,
                SOTW => ads.open::<DiscoveryRequest>(request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

//! An authorization service, by HTTP and by Envoy's gRPC, on one port.
//!
//! An HTTP request is allowed if it has the header `x-ext-authz: allow`; the server behind then gets
//! `x-ext-authz-check-result: allowed`. A TCP connection is allowed to the service account `teller`.

use std::{collections::HashMap, net::Ipv4Addr};

use anyhow::Result;
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Args;
use meltemi_api::{
    envoy::{
        config::core::v3::{HeaderValue, HeaderValueOption},
        r#type::v3::HttpStatus,
    },
    google::rpc,
};
use tokio::net::TcpListener;
use tonic::{Code, Status, server::Grpc};
use tonic_prost::ProstCodec;

/// The header by which a request says what is to be decided.
pub const WISH: &str = "x-ext-authz";
/// The header by which a server knows of the decision.
pub const RESULT: &str = "x-ext-authz-check-result";
const ALLOWED: &str = "allowed";

/// Where to listen.
#[derive(Args, Clone, Debug)]
pub struct Authorizer {
    /// The port.
    #[arg(long)]
    pub port: u16,
}

impl Authorizer {
    /// Serves until the process ends.
    pub async fn run(self) -> Result<()> {
        let app = Router::new()
            .route("/envoy.service.auth.v3.Authorization/Check", post(by_grpc))
            .fallback(by_http);
        Ok(axum::serve(TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port)).await?, app).await?)
    }
}

fn allows(wish: Option<&str>) -> bool {
    wish == Some("allow")
}

async fn by_http(headers: HeaderMap) -> Response {
    if allows(headers.get(WISH).and_then(|v| v.to_str().ok())) {
        [(RESULT, ALLOWED)].into_response()
    } else {
        (StatusCode::FORBIDDEN, "denied by HTTP").into_response()
    }
}

async fn by_grpc(request: Request) -> Response {
    let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
    Grpc::new(codec).unary(Check, request).await.map(Body::new)
}

struct Check;

impl tonic::server::UnaryService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = std::future::Ready<Result<tonic::Response<CheckResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(decide(request.into_inner()))))
    }
}

fn decide(request: CheckRequest) -> CheckResponse {
    let attributes = request.attributes.unwrap_or_default();
    let allowed = match attributes.request.and_then(|r| r.http) {
        Some(http) => allows(http.headers.get(WISH).map(String::as_str)),
        None => attributes.source.is_some_and(|s| s.principal.ends_with("/sa/teller")),
    };
    let code = if allowed { Code::Ok } else { Code::PermissionDenied };
    let header = HeaderValue { key: RESULT.into(), value: ALLOWED.into(), ..Default::default() };
    let option = HeaderValueOption { header: Some(header), ..Default::default() };
    CheckResponse {
        status: Some(rpc::Status { code: code as i32, ..Default::default() }),
        denied: (!allowed)
            .then(|| Denied { status: Some(HttpStatus { code: 403 }), body: "denied by gRPC".into() }),
        ok: allowed.then(|| Allowed { headers: vec![option] }),
    }
}

// What the service reads and writes of `envoy/service/auth/v3/{external_auth,attribute_context}.proto`.

#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attributes {
    #[prost(message, optional, tag = "1")]
    source: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    request: Option<Asked>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Peer {
    #[prost(string, tag = "4")]
    principal: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(message, optional, tag = "2")]
    http: Option<AskedHttp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AskedHttp {
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<rpc::Status>,
    #[prost(message, optional, tag = "2")]
    denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    ok: Option<Allowed>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Denied {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Allowed {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderValueOption>,
}

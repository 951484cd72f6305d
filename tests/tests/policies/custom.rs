//! CUSTOM: decisions of an authorization service outside of the proxies.

use meltemi_tests::ext_authz::{RESULT, WISH};
use serde_json::{Value, json};

use crate::bank::{
    Caller::{Outsider, Teller, Visitor},
    FORBIDDEN,
    Request::Tcp,
    Row, Stage,
    Want::{Allowed, Refused, Saw, SawNo, Status},
    get, policy,
};

/// The authorization services of the mesh; `nobody` has no endpoints.
pub const MESH: &str = r#"
extensionProviders:
- name: by-http
  envoyExtAuthzHttp:
    service: authorizer.bank.svc.cluster.local
    port: 8000
    includeRequestHeadersInCheck: [x-ext-authz]
    headersToUpstreamOnAllow: [x-ext-authz-check-result]
- name: by-grpc
  envoyExtAuthzGrpc: {service: authorizer.bank.svc.cluster.local, port: 9000}
- name: away
  envoyExtAuthzGrpc: {service: nobody.bank.svc.cluster.local, port: 9000, statusOnError: "503"}
- name: away-open
  envoyExtAuthzHttp: {service: nobody.bank.svc.cluster.local, port: 8000, failOpen: true}
"#;

/// Asks a service about requests under `/ask` at the HTTP port.
fn custom(provider: &str) -> Value {
    about(provider, json!([{"to": [{"operation": {"paths": ["/ask*"]}}]}]))
}

fn about(provider: &str, rules: Value) -> Value {
    policy("custom", json!({"action": "CUSTOM", "provider": {"name": provider}, "rules": rules}))
}

pub fn stages() -> Vec<Stage> {
    let stage = |name, policies, rows| Stage { name, policies, rows };
    let asked = || {
        vec![
            Row("the service allows", Teller, get("/ask").header(WISH, "allow"), Saw(RESULT, "allowed")),
            Row("the service denies", Teller, get("/ask"), FORBIDDEN),
            Row("the service denies whoever asks", Outsider, get("/ask/more").header(WISH, "no"), FORBIDDEN),
            Row("the service is not asked", Visitor, get("/else"), SawNo(RESULT)),
        ]
    };
    let deny = policy(
        "deny",
        json!({"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["guest"]}}]}]}),
    );
    let allow = policy("allow", json!({"rules": [{"to": [{"operation": {"paths": ["/ask"]}}]}]}));
    vec![
        stage("CUSTOM by HTTP", vec![custom("by-http")], asked()),
        stage("CUSTOM by gRPC", vec![custom("by-grpc")], asked()),
        stage(
            "CUSTOM with DENY and ALLOW",
            vec![custom("by-grpc"), deny, allow],
            vec![
                Row("all agree", Teller, get("/ask").header(WISH, "allow"), Allowed),
                Row("the service denies what is allowed", Teller, get("/ask"), FORBIDDEN),
                Row(
                    "DENY denies what the service allows",
                    Visitor,
                    get("/ask").header(WISH, "allow"),
                    FORBIDDEN,
                ),
                Row(
                    "not allowed though the service allows",
                    Teller,
                    get("/ask/more").header(WISH, "allow"),
                    FORBIDDEN,
                ),
            ],
        ),
        stage(
            "CUSTOM of TCP",
            vec![about("by-grpc", json!([{"to": [{"operation": {"ports": ["9000"]}}]}]))],
            vec![
                Row("the service knows the peer and allows", Teller, Tcp, Allowed),
                Row("the service knows the peer and denies", Visitor, Tcp, Refused),
                Row("other ports are not asked about", Visitor, get("/"), Allowed),
            ],
        ),
        stage(
            "CUSTOM by a service that is away",
            vec![custom("away")],
            vec![
                Row(
                    "an error is the status that the provider says",
                    Teller,
                    get("/ask").header(WISH, "allow"),
                    Status(503),
                ),
                Row("other requests are not touched", Teller, get("/else"), Allowed),
            ],
        ),
        stage(
            "CUSTOM by a service that is away and fails open",
            vec![custom("away-open")],
            vec![Row("an error allows", Teller, get("/ask"), Allowed)],
        ),
        stage(
            "CUSTOM by a service that no mesh configuration defines",
            vec![custom("unheard-of")],
            vec![
                Row("what nobody can decide is denied", Teller, get("/ask").header(WISH, "allow"), FORBIDDEN),
                Row("other requests are not touched", Teller, get("/else"), Allowed),
            ],
        ),
    ]
}

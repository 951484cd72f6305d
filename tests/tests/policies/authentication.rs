//! Who a caller is: PeerAuthentication of connections, RequestAuthentication of requests.

use anyhow::Result;
use meltemi_tests::jwt::Signer;
use serde_json::{Value, json};

use crate::bank::{
    Caller::{Outsider, Teller, Visitor},
    FORBIDDEN, Request,
    Request::Tcp,
    Row, Stage, UNAUTHORIZED,
    Want::{Allowed, Refused, Saw, SawNo},
    get, object, policy,
};

const CERTIFICATE: &str = "x-forwarded-client-cert";

/// A PeerAuthentication.
fn peer(namespace: &str, mode: &str) -> Value {
    object("PeerAuthentication", namespace, "default", json!({"mtls": {"mode": mode}}))
}

fn peer_of_server(spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "server"}});
    object("PeerAuthentication", "bank", "server", spec)
}

pub fn peers() -> Vec<Stage> {
    let stage = |name, policies, rows| Stage { name, policies, rows };
    vec![
        stage(
            "STRICT in the mesh",
            vec![peer("istio-system", "STRICT")],
            vec![
                Row("mutual TLS is let in", Teller, get("/"), Saw(CERTIFICATE, "/ns/bank/sa/teller")),
                Row("plain text is not", Outsider, get("/"), Refused),
                Row("TCP in mutual TLS is let in", Visitor, Tcp, Allowed),
                Row("TCP in plain text is not", Outsider, Tcp, Refused),
            ],
        ),
        stage(
            "PERMISSIVE in a namespace, STRICT in the mesh",
            vec![peer("istio-system", "STRICT"), peer("bank", "PERMISSIVE")],
            vec![
                Row("plain text is let in", Outsider, get("/"), Allowed),
                Row("mutual TLS is still used", Visitor, get("/"), Saw(CERTIFICATE, "/ns/guest/sa/visitor")),
            ],
        ),
        stage(
            "STRICT in a namespace",
            vec![peer("bank", "STRICT")],
            vec![
                Row("plain text is refused", Outsider, get("/"), Refused),
                Row("mutual TLS is let in", Teller, get("/"), Allowed),
            ],
        ),
        stage(
            "DISABLE of a workload, STRICT in its namespace",
            vec![peer("bank", "STRICT"), peer_of_server(json!({"mtls": {"mode": "DISABLE"}}))],
            vec![
                Row("plain text is let in", Outsider, get("/"), Allowed),
                Row("clients of the mesh use it too", Teller, get("/"), SawNo(CERTIFICATE)),
            ],
        ),
        stage(
            "STRICT of a workload, but for a port",
            vec![peer_of_server(json!({
                "mtls": {"mode": "STRICT"}, "portLevelMtls": {"8081": {"mode": "PERMISSIVE"}, "9000": {"mode": "DISABLE"}},
            }))],
            vec![
                Row("plain text is refused", Outsider, get("/"), Refused),
                Row("at the permissive port it is let in", Outsider, get("/").at(81), Allowed),
                Row(
                    "where mutual TLS is, too",
                    Teller,
                    get("/").at(81),
                    Saw(CERTIFICATE, "/ns/bank/sa/teller"),
                ),
                Row("at the port without TLS it is let in", Outsider, Tcp, Allowed),
                Row("and clients of the mesh use it", Visitor, Tcp, Allowed),
            ],
        ),
        stage(
            "PERMISSIVE of a workload, but for a port",
            vec![peer_of_server(
                json!({"mtls": {"mode": "PERMISSIVE"}, "portLevelMtls": {"8081": {"mode": "STRICT"}}}),
            )],
            vec![
                Row("plain text is let in", Outsider, get("/"), Allowed),
                Row("at the strict port it is refused", Outsider, get("/").at(81), Refused),
                Row("where mutual TLS is let in", Visitor, get("/").at(81), Allowed),
            ],
        ),
    ]
}

/// The tokens that callers show.
pub struct Tokens {
    keys: String,
    good: String,
    teller: String,
    expired: String,
    stranger: String,
    for_others: String,
    forged: String,
}

impl Tokens {
    pub fn new() -> Result<Self> {
        let signer = Signer::new()?;
        let claims = |extra: Value| {
            let mut claims = json!({"iss": "https://id.bank", "sub": "alice", "aud": ["bank", "shop"]});
            if let (Some(all), Some(more)) = (claims.as_object_mut(), extra.as_object()) {
                all.extend(more.clone());
            }
            claims
        };
        let details = json!({"azp": "app", "groups": ["staff", "auditors"], "org": {"unit": {"name": "vault"}}, "level": "gold"});
        Ok(Self {
            keys: signer.jwks()?,
            good: signer.token(claims(json!({})))?,
            teller: signer.token(claims(details))?,
            expired: signer.token(claims(json!({"exp": 1_000_000_000})))?,
            stranger: signer.token(claims(json!({"iss": "https://id.elsewhere"})))?,
            for_others: signer.token(claims(json!({"aud": "shop"})))?,
            forged: Signer::new()?.token(claims(json!({})))?,
        })
    }

    fn authentication(&self) -> Value {
        object(
            "RequestAuthentication",
            "bank",
            "tokens",
            json!({
                "selector": {"matchLabels": {"app": "server"}},
                "jwtRules": [{
                    "issuer": "https://id.bank", "audiences": ["bank"], "jwks": self.keys, "forwardOriginalToken": true,
                    "outputClaimToHeaders": [{"header": "x-subject", "claim": "sub"}],
                }],
            }),
        )
    }
}

fn with(token: &str, request: Request) -> Request {
    request.header("authorization", &format!("Bearer {token}"))
}

pub fn tokens(t: &Tokens) -> Result<Vec<Stage>> {
    let root = |token: &str| with(token, get("/"));
    let checked = Stage {
        name: "tokens are checked",
        policies: vec![t.authentication()],
        rows: vec![
            Row("none is needed", Teller, get("/"), Allowed),
            Row("a good one is passed on", Teller, root(&t.good), Saw("authorization", "Bearer ey")),
            Row("a claim is told", Outsider, root(&t.good), Saw("x-subject", "alice")),
            Row("expired", Teller, root(&t.expired), UNAUTHORIZED),
            Row("of another issuer", Teller, root(&t.stranger), UNAUTHORIZED),
            Row("for another audience", Teller, root(&t.for_others), FORBIDDEN),
            Row("signed by somebody else", Outsider, root(&t.forged), UNAUTHORIZED),
            Row("no token at all", Teller, root("nonsense"), UNAUTHORIZED),
        ],
    };
    let path = |path: &str, from: Value, when: Value| {
        let mut rule = json!({"to": [{"operation": {"paths": [path]}}]});
        if !from.is_null() {
            rule["from"] = json!([{"source": from}]);
        }
        if !when.is_null() {
            rule["when"] = json!([when]);
        }
        rule
    };
    let claim = |key: &str, values: &[&str]| json!({"key": key, "values": values});
    let rules = json!([
        path("/any", json!({"requestPrincipals": ["*"]}), Value::Null),
        path("/alice", json!({"requestPrincipals": ["https://id.bank/alice"]}), Value::Null),
        path("/bob", json!({"requestPrincipals": ["https://id.bank/bob"]}), Value::Null),
        path("/issuer", json!({"requestPrincipals": ["https://id.bank/*"]}), Value::Null),
        path("/nobody", json!({"notRequestPrincipals": ["*"]}), Value::Null),
        path("/principal", Value::Null, claim("request.auth.principal", &["*/alice"])),
        path("/audience", Value::Null, claim("request.auth.audiences", &["shop"])),
        path("/presenter", Value::Null, claim("request.auth.presenter", &["app"])),
        path("/group", Value::Null, claim("request.auth.claims[groups]", &["auditors"])),
        path("/level", Value::Null, claim("request.auth.claims[level]", &["go*"])),
        path("/unit", Value::Null, claim("request.auth.claims[org][unit][name]", &["vault"])),
        path("/not-level", Value::Null, json!({"key": "request.auth.claims[level]", "notValues": ["gold"]})),
        path("/both", json!({"principals": ["*/sa/teller"], "requestPrincipals": ["*"]}), Value::Null),
    ]);
    let required = Stage {
        name: "tokens are required",
        policies: vec![t.authentication(), policy("tokens", json!({"rules": rules}))],
        rows: vec![
            Row("any token", Outsider, with(&t.good, get("/any")), Allowed),
            Row("no token", Teller, get("/any"), FORBIDDEN),
            Row(
                "a bad token is bad before it is missing",
                Teller,
                with(&t.expired, get("/any")),
                UNAUTHORIZED,
            ),
            Row("issuer and subject", Teller, with(&t.good, get("/alice")), Allowed),
            Row("another subject", Teller, with(&t.good, get("/bob")), FORBIDDEN),
            Row("issuer", Teller, with(&t.good, get("/issuer")), Allowed),
            Row("without a token", Teller, get("/nobody"), Allowed),
            Row("with a token", Teller, with(&t.good, get("/nobody")), FORBIDDEN),
            Row("request.auth.principal", Teller, with(&t.good, get("/principal")), Allowed),
            Row("request.auth.audiences", Teller, with(&t.good, get("/audience")), Allowed),
            Row("request.auth.presenter", Teller, with(&t.teller, get("/presenter")), Allowed),
            Row("request.auth.presenter", Teller, with(&t.good, get("/presenter")), FORBIDDEN),
            Row("claim that is a list", Teller, with(&t.teller, get("/group")), Allowed),
            Row("claim that is a list", Teller, with(&t.good, get("/group")), FORBIDDEN),
            Row("start of a claim", Teller, with(&t.teller, get("/level")), Allowed),
            Row("claim in claims", Teller, with(&t.teller, get("/unit")), Allowed),
            Row("claim in claims", Teller, with(&t.good, get("/unit")), FORBIDDEN),
            Row("claim that must differ", Teller, with(&t.teller, get("/not-level")), FORBIDDEN),
            Row("claim that differs by its absence", Teller, with(&t.good, get("/not-level")), Allowed),
            Row("peer and token", Teller, with(&t.good, get("/both")), Allowed),
            Row("token of another peer", Visitor, with(&t.good, get("/both")), FORBIDDEN),
        ],
    };
    Ok(vec![checked, required])
}

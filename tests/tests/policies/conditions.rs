//! ALLOW and DENY by conditions (`when`).

use serde_json::{Value, json};

use crate::bank::{
    Caller::{Outsider, Teller, Visitor},
    FORBIDDEN, Row, Stage,
    Want::Allowed,
    get, policy,
};

pub fn stages() -> Vec<Stage> {
    vec![allow(), deny()]
}

fn when(path: &str, conditions: Value) -> Value {
    json!({"to": [{"operation": {"paths": [path]}}], "when": conditions})
}

fn is(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "values": values})
}

fn is_not(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "notValues": values})
}

fn allow() -> Stage {
    let rules = json!([
        when(
            "/header",
            json!([{"key": "request.headers[x-role]", "values": ["admin", "dev*", "*-lead"], "notValues": ["dev-null"]}])
        ),
        when("/any-header", json!([is("request.headers[x-role]", &["*"])])),
        when("/source-ip", json!([is("source.ip", &["10.244.2.0/24"])])),
        when("/not-source-ip", json!([is_not("source.ip", &["10.244.2.1"])])),
        when("/remote-ip", json!([is("remote.ip", &["203.0.113.0/24"])])),
        when("/namespace", json!([is("source.namespace", &["bank"])])),
        when("/principal", json!([is("source.principal", &["cluster.local/ns/guest/sa/visitor"])])),
        when("/account", json!([is("source.serviceAccount", &["guest/visitor"])])),
        when("/trust-domain", json!([is("source.trustDomain", &["cluster.*"])])),
        when("/destination-ip", json!([is("destination.ip", &["10.244.1.2"])])),
        when("/not-destination-ip", json!([is_not("destination.ip", &["10.244.1.0/24"])])),
        when("/destination-port", json!([is("destination.port", &["8081"])])),
        when("/sni", json!([is("connection.sni", &["outbound_.80_._.server.bank.svc.cluster.local"])])),
        when("/any-sni", json!([is("connection.sni", &["outbound_.80_*"])])),
        when("/two", json!([is("source.namespace", &["bank"]), is("request.headers[x-role]", &["admin"])])),
    ]);
    let role = |path: &str, role: &str| get(path).header("x-role", role);
    Stage {
        name: "ALLOW by condition",
        policies: vec![policy("conditions", json!({"rules": rules}))],
        rows: vec![
            Row("header", Teller, role("/header", "admin"), Allowed),
            Row("start of a header", Teller, role("/header", "developer"), Allowed),
            Row("end of a header", Teller, role("/header", "test-lead"), Allowed),
            Row("header that is left out", Teller, role("/header", "dev-null"), FORBIDDEN),
            Row("another header", Teller, role("/header", "guest"), FORBIDDEN),
            Row("no header", Teller, get("/header"), FORBIDDEN),
            Row("any header", Outsider, role("/any-header", "guest"), Allowed),
            Row("any header is not none", Outsider, get("/any-header"), FORBIDDEN),
            Row("source.ip", Visitor, get("/source-ip"), Allowed),
            Row("source.ip", Outsider, get("/source-ip"), FORBIDDEN),
            Row("not source.ip", Outsider, get("/not-source-ip"), Allowed),
            Row("not source.ip", Visitor, get("/not-source-ip"), FORBIDDEN),
            Row("remote.ip", Visitor, get("/remote-ip").header("x-forwarded-for", "203.0.113.7"), Allowed),
            Row("remote.ip", Visitor, get("/remote-ip"), FORBIDDEN),
            Row("source.namespace", Teller, get("/namespace"), Allowed),
            Row("source.namespace", Visitor, get("/namespace"), FORBIDDEN),
            Row("source.principal", Visitor, get("/principal"), Allowed),
            Row("source.principal", Teller, get("/principal"), FORBIDDEN),
            Row("source.serviceAccount", Visitor, get("/account"), Allowed),
            Row("source.serviceAccount", Teller, get("/account"), FORBIDDEN),
            Row("source.trustDomain", Teller, get("/trust-domain"), Allowed),
            Row("source.trustDomain", Outsider, get("/trust-domain"), FORBIDDEN),
            Row("destination.ip", Teller, get("/destination-ip"), Allowed),
            Row("not destination.ip", Teller, get("/not-destination-ip"), FORBIDDEN),
            Row("destination.port", Teller, get("/destination-port").at(81), Allowed),
            Row("destination.port", Teller, get("/destination-port"), FORBIDDEN),
            Row("connection.sni", Teller, get("/sni"), Allowed),
            Row("connection.sni without TLS", Outsider, get("/sni"), FORBIDDEN),
            Row("start of connection.sni", Visitor, get("/any-sni"), Allowed),
            Row("start of connection.sni", Visitor, get("/any-sni").at(81), FORBIDDEN),
            Row("both conditions", Teller, role("/two", "admin"), Allowed),
            Row("one of two conditions", Teller, role("/two", "guest"), FORBIDDEN),
            Row("the other of two conditions", Visitor, role("/two", "admin"), FORBIDDEN),
        ],
    }
}

fn deny() -> Stage {
    let rules = json!([
        {"when": [is_not("source.namespace", &["bank"])], "to": [{"operation": {"ports": ["8080"]}}]},
        {"when": [is("request.headers[x-banned]", &["*"])], "to": [{"operation": {"ports": ["8080", "8081"]}}]},
    ]);
    Stage {
        name: "DENY by condition",
        policies: vec![policy("conditions", json!({"action": "DENY", "rules": rules}))],
        rows: vec![
            Row("not meant", Teller, get("/"), Allowed),
            Row("meant", Visitor, get("/"), FORBIDDEN),
            Row("not meant by the port", Visitor, get("/").at(81), Allowed),
            Row("meant by the header", Teller, get("/").at(81).header("x-banned", "1"), FORBIDDEN),
        ],
    }
}

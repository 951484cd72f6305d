//! Policies of connections that are not HTTP: what asks for more than a connection has is left out of a DENY rule, which
//! makes it wider, and takes an ALLOW rule away.

use serde_json::{Value, json};

use crate::bank::{
    Caller::{Outsider, Teller, Visitor},
    Request::Tcp,
    Row, Stage,
    Want::{Allowed, Refused},
    get, policy,
};

pub fn stages() -> Vec<Stage> {
    let stage = |name, spec: Value, rows| Stage { name, policies: vec![policy("tcp", spec)], rows };
    vec![
        stage(
            "ALLOW of TCP",
            json!({"rules": [{"from": [{"source": {"namespaces": ["bank"]}}], "to": [{"operation": {"ports": ["9000"]}}]}]}),
            vec![
                Row("namespace and port", Teller, Tcp, Allowed),
                Row("another namespace", Visitor, Tcp, Refused),
                Row("no namespace", Outsider, Tcp, Refused),
            ],
        ),
        stage(
            "DENY of TCP",
            json!({"action": "DENY", "rules": [{"from": [{"source": {"ipBlocks": ["10.244.2.0/24"]}}], "to": [{"operation": {"ports": ["9000"]}}]}]}),
            vec![
                Row("meant", Visitor, Tcp, Refused),
                Row("not meant by the address", Teller, Tcp, Allowed),
                Row("not meant by the port", Visitor, get("/"), Allowed),
            ],
        ),
        stage(
            "DENY by method",
            json!({"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["guest"]}}], "to": [{"operation": {"methods": ["DELETE"]}}]}]}),
            vec![
                Row("what cannot be told of a connection is left out", Visitor, Tcp, Refused),
                Row("what can be told holds", Teller, Tcp, Allowed),
                Row("requests are told apart", Visitor, get("/"), Allowed),
            ],
        ),
        stage(
            "ALLOW by method",
            json!({"rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]}),
            vec![
                Row("no connection can be told to be meant", Teller, Tcp, Refused),
                Row("requests can", Teller, get("/"), Allowed),
            ],
        ),
    ]
}

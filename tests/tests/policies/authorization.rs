//! ALLOW and DENY by who asks and for what; AUDIT and dry runs, which decide nothing.

use hyper::Method;
use serde_json::{Value, json};

use crate::bank::{
    Caller::{Outsider, Teller, Visitor},
    FORBIDDEN, Row, Stage,
    Want::{Allowed, Saw, SawNo},
    ask, get, object, policy,
};

const TELLER: &str = "cluster.local/ns/bank/sa/teller";
const VISITOR: &str = "cluster.local/ns/guest/sa/visitor";

pub fn stages() -> Vec<Stage> {
    vec![
        nothing(),
        sources(),
        operations(),
        presence(),
        deny_first(),
        deny_unless(),
        empty(),
        open(),
        root(),
        elsewhere(),
        audit(),
    ]
}

/// A rule for a path, and for sources.
fn from(path: &str, sources: Value) -> Value {
    json!({"to": [{"operation": {"paths": [path]}}], "from": sources})
}

fn one(source: Value) -> Value {
    json!([{"source": source}])
}

fn nothing() -> Stage {
    let certificate = "x-forwarded-client-cert";
    Stage {
        name: "no policy",
        policies: vec![],
        rows: vec![
            Row(
                "the peer's identity is the caller's",
                Teller,
                get("/"),
                Saw(certificate, ";URI=spiffe://cluster.local/ns/bank/sa/teller"),
            ),
            Row(
                "the peer's identity is the caller's",
                Visitor,
                get("/"),
                Saw(certificate, ";URI=spiffe://cluster.local/ns/guest/sa/visitor"),
            ),
            Row("without mutual TLS there is none", Outsider, get("/"), SawNo(certificate)),
            Row(
                "and a pretended one is taken away",
                Outsider,
                get("/").header(certificate, "URI=spiffe://cluster.local/ns/bank/sa/teller"),
                SawNo(certificate),
            ),
        ],
    }
}

fn sources() -> Stage {
    let rules = json!([
        from("/principal", one(json!({"principals": [TELLER]}))),
        from("/principal-prefix", one(json!({"principals": ["cluster.local/ns/bank/*"]}))),
        from("/principal-suffix", one(json!({"principals": ["*/sa/visitor"]}))),
        from("/principal-any", one(json!({"principals": ["*"]}))),
        from("/not-principal", one(json!({"notPrincipals": [TELLER]}))),
        from("/namespace", one(json!({"namespaces": ["bank"]}))),
        from("/namespace-prefix", one(json!({"namespaces": ["gue*"]}))),
        from("/not-namespace", one(json!({"notNamespaces": ["bank"]}))),
        from("/account", one(json!({"serviceAccounts": ["teller"]}))),
        from("/account-elsewhere", one(json!({"serviceAccounts": ["guest/visitor"]}))),
        from("/trust-domain", one(json!({"trustDomains": ["cluster.local"]}))),
        from("/other-trust-domain", one(json!({"trustDomains": ["elsewhere"]}))),
        from("/ip", one(json!({"ipBlocks": ["10.244.2.0/24"]}))),
        from("/one-ip", one(json!({"ipBlocks": ["10.244.9.9"]}))),
        from("/not-ip", one(json!({"notIpBlocks": ["10.244.2.0/24"]}))),
        from("/remote-ip", one(json!({"remoteIpBlocks": ["203.0.113.0/24"]}))),
        from("/not-remote-ip", one(json!({"notRemoteIpBlocks": ["203.0.113.0/24"]}))),
        from("/either", json!([{"source": {"principals": [TELLER]}}, {"source": {"namespaces": ["guest"]}}])),
        from("/both", one(json!({"namespaces": ["bank", "guest"], "ipBlocks": ["10.244.2.1"]}))),
    ]);
    let remote = |path: &str| get(path).header("x-forwarded-for", "203.0.113.7");
    Stage {
        name: "ALLOW by source",
        policies: vec![policy("sources", json!({"action": "ALLOW", "rules": rules}))],
        rows: vec![
            Row("principal", Teller, get("/principal"), Allowed),
            Row("principal", Visitor, get("/principal"), FORBIDDEN),
            Row("principal", Outsider, get("/principal"), FORBIDDEN),
            Row("start of a principal", Teller, get("/principal-prefix"), Allowed),
            Row("start of a principal", Visitor, get("/principal-prefix"), FORBIDDEN),
            Row("end of a principal", Visitor, get("/principal-suffix"), Allowed),
            Row("end of a principal", Teller, get("/principal-suffix"), FORBIDDEN),
            Row("any principal", Visitor, get("/principal-any"), Allowed),
            Row("any principal is not none", Outsider, get("/principal-any"), FORBIDDEN),
            Row("all principals but one", Visitor, get("/not-principal"), Allowed),
            Row("all principals but one", Teller, get("/not-principal"), FORBIDDEN),
            Row("nobody is not that one", Outsider, get("/not-principal"), Allowed),
            Row("namespace", Teller, get("/namespace"), Allowed),
            Row("namespace", Visitor, get("/namespace"), FORBIDDEN),
            Row("start of a namespace", Visitor, get("/namespace-prefix"), Allowed),
            Row("start of a namespace", Teller, get("/namespace-prefix"), FORBIDDEN),
            Row("all namespaces but one", Visitor, get("/not-namespace"), Allowed),
            Row("all namespaces but one", Teller, get("/not-namespace"), FORBIDDEN),
            Row("account of the policy's namespace", Teller, get("/account"), Allowed),
            Row("account of the policy's namespace", Visitor, get("/account"), FORBIDDEN),
            Row("account of a namespace", Visitor, get("/account-elsewhere"), Allowed),
            Row("account of a namespace", Teller, get("/account-elsewhere"), FORBIDDEN),
            Row("trust domain", Teller, get("/trust-domain"), Allowed),
            Row("trust domain", Outsider, get("/trust-domain"), FORBIDDEN),
            Row("another trust domain", Teller, get("/other-trust-domain"), FORBIDDEN),
            Row("address range", Visitor, get("/ip"), Allowed),
            Row("address range", Teller, get("/ip"), FORBIDDEN),
            Row("address", Outsider, get("/one-ip"), Allowed),
            Row("all addresses but a range", Teller, get("/not-ip"), Allowed),
            Row("all addresses but a range", Visitor, get("/not-ip"), FORBIDDEN),
            Row("address before proxies", Teller, remote("/remote-ip"), Allowed),
            Row("address before proxies", Teller, get("/remote-ip"), FORBIDDEN),
            Row("all addresses before proxies but a range", Teller, get("/not-remote-ip"), Allowed),
            Row("all addresses before proxies but a range", Teller, remote("/not-remote-ip"), FORBIDDEN),
            Row("one of two sources", Teller, get("/either"), Allowed),
            Row("the other of two sources", Visitor, get("/either"), Allowed),
            Row("neither of two sources", Outsider, get("/either"), FORBIDDEN),
            Row("all that a source says", Visitor, get("/both"), Allowed),
            Row("half of what a source says", Teller, get("/both"), FORBIDDEN),
            Row("no rule for the path", Teller, get("/else"), FORBIDDEN),
        ],
    }
}

fn operations() -> Stage {
    let to = |operation: Value| json!({"to": [{"operation": operation}]});
    let rules = json!([
        to(json!({"paths": ["/exact", "/also"]})),
        to(json!({"paths": ["/prefix/*"]})),
        to(json!({"paths": ["*.txt"]})),
        to(json!({"paths": ["/users/{*}/name"]})),
        to(json!({"paths": ["/files/{**}"]})),
        to(json!({"paths": ["/area/*"], "notPaths": ["/area/secret", "/area/{*}/secret"]})),
        to(json!({"paths": ["/method"], "methods": ["POST"]})),
        to(json!({"paths": ["/not-method"], "notMethods": ["POST"]})),
        to(json!({"paths": ["/port"], "ports": ["8081"]})),
        to(json!({"paths": ["/not-port"], "notPorts": ["8081"]})),
        to(json!({"paths": ["/host"], "hosts": ["server.bank"]})),
        to(json!({"paths": ["/host-suffix"], "hosts": ["*.local"]})),
        to(json!({"paths": ["/host-prefix"], "hosts": ["server.*"]})),
        to(json!({"paths": ["/not-host"], "notHosts": ["server.bank"]})),
        {"to": [{"operation": {"paths": ["/first"]}}, {"operation": {"paths": ["/second"], "methods": ["POST"]}}]},
    ]);
    let post = |path: &str| ask(Method::POST, 80, "server.bank", path);
    let long = |path: &str| ask(Method::GET, 80, "server.bank.svc.cluster.local", path);
    Stage {
        name: "ALLOW by operation",
        policies: vec![policy("operations", json!({"rules": rules}))],
        rows: vec![
            Row("path", Teller, get("/exact"), Allowed),
            Row("another path of the list", Teller, get("/also"), Allowed),
            Row("a query is no part of a path", Teller, get("/exact?a=b"), Allowed),
            Row("a path is judged as it is once it is normal", Teller, get("/else/../exact"), Allowed),
            Row("a path's case counts", Teller, get("/Exact"), FORBIDDEN),
            Row("a path is not its start", Teller, get("/exact/more"), FORBIDDEN),
            Row("start of a path", Outsider, get("/prefix/a/b"), Allowed),
            Row("start of a path", Outsider, get("/prefixes"), FORBIDDEN),
            Row("end of a path", Teller, get("/any/where.txt"), Allowed),
            Row("end of a path", Teller, get("/any/where.txt.gz"), FORBIDDEN),
            Row("one segment", Teller, get("/users/17/name"), Allowed),
            Row("one segment", Teller, get("/users/17/18/name"), FORBIDDEN),
            Row("any segments", Teller, get("/files/a/b/c"), Allowed),
            Row("any segments", Teller, get("/file/a"), FORBIDDEN),
            Row("a path that is not left out", Teller, get("/area/public"), Allowed),
            Row("a path that is left out", Teller, get("/area/secret"), FORBIDDEN),
            Row("a path that a template leaves out", Teller, get("/area/one/secret"), FORBIDDEN),
            Row("method", Teller, post("/method"), Allowed),
            Row("method", Teller, get("/method"), FORBIDDEN),
            Row("all methods but one", Teller, get("/not-method"), Allowed),
            Row("all methods but one", Teller, post("/not-method"), FORBIDDEN),
            Row("the port is the workload's", Teller, get("/port").at(81), Allowed),
            Row("port", Teller, get("/port"), FORBIDDEN),
            Row("all ports but one", Outsider, get("/not-port"), Allowed),
            Row("all ports but one", Outsider, get("/not-port").at(81), FORBIDDEN),
            Row("host", Teller, get("/host"), Allowed),
            Row("host", Teller, long("/host"), FORBIDDEN),
            Row("end of a host", Teller, long("/host-suffix"), Allowed),
            Row("end of a host", Teller, get("/host-suffix"), FORBIDDEN),
            Row("start of a host", Teller, long("/host-prefix"), Allowed),
            Row("all hosts but one", Teller, long("/not-host"), Allowed),
            Row("all hosts but one", Teller, get("/not-host"), FORBIDDEN),
            Row("one of two operations", Teller, get("/first"), Allowed),
            Row("the other of two operations", Teller, post("/second"), Allowed),
            Row("half of the other", Teller, get("/second"), FORBIDDEN),
        ],
    }
}

fn presence() -> Stage {
    Stage {
        name: "any path",
        policies: vec![policy(
            "presence",
            json!({"rules": [{"to": [{"operation": {"paths": ["*"], "methods": ["P*"]}}]}]}),
        )],
        rows: vec![
            Row("any path", Teller, ask(Method::PUT, 80, "server.bank", "/whatever"), Allowed),
            Row("start of a method", Teller, get("/whatever"), FORBIDDEN),
        ],
    }
}

fn deny_first() -> Stage {
    let allow = json!({"rules": [{"from": one(json!({"namespaces": ["bank"]}))}]});
    let deny = json!({"action": "DENY", "rules": [
        from("/vault/*", one(json!({"principals": [TELLER]}))),
        {"to": [{"operation": {"methods": ["DELETE"]}}]},
    ]});
    Stage {
        name: "DENY before ALLOW",
        policies: vec![policy("allow", allow), policy("deny", deny)],
        rows: vec![
            Row("allowed and not denied", Teller, get("/"), Allowed),
            Row("allowed, but denied", Teller, get("/vault/1"), FORBIDDEN),
            Row(
                "allowed, but denied by another rule",
                Teller,
                ask(Method::DELETE, 80, "server.bank", "/"),
                FORBIDDEN,
            ),
            Row("neither allowed nor denied", Visitor, get("/"), FORBIDDEN),
        ],
    }
}

fn deny_unless() -> Stage {
    let deny = json!({"action": "DENY", "rules": [
        {"from": one(json!({"notNamespaces": ["bank"]})), "to": [{"operation": {"notPaths": ["/public"], "ports": ["8080"]}}]},
    ]});
    Stage {
        name: "DENY unless",
        policies: vec![policy("deny", deny)],
        rows: vec![
            Row("not meant: of the namespace", Teller, get("/"), Allowed),
            Row("meant", Visitor, get("/"), FORBIDDEN),
            Row("meant: of no namespace", Outsider, get("/"), FORBIDDEN),
            Row("not meant: by path", Visitor, get("/public"), Allowed),
            Row("not meant: by port", Visitor, get("/").at(81), Allowed),
        ],
    }
}

fn empty() -> Stage {
    Stage {
        name: "an empty policy",
        policies: vec![object("AuthorizationPolicy", "bank", "nobody", json!({}))],
        rows: vec![
            Row("allows nothing", Teller, get("/"), FORBIDDEN),
            Row("allows nothing", Outsider, get("/"), FORBIDDEN),
        ],
    }
}

fn open() -> Stage {
    Stage {
        name: "an empty rule",
        policies: vec![
            object("AuthorizationPolicy", "bank", "nobody", json!({})),
            policy("all", json!({"rules": [{}]})),
        ],
        rows: vec![
            Row("allows all, whatever else allows nothing", Visitor, get("/"), Allowed),
            Row("allows all, also those without a name", Outsider, get("/"), Allowed),
        ],
    }
}

fn root() -> Stage {
    let deny = json!({"action": "DENY", "rules": [{"from": one(json!({"principals": [VISITOR]}))}]});
    Stage {
        name: "policies of the root namespace",
        policies: vec![
            object("AuthorizationPolicy", "istio-system", "mesh", deny),
            policy("all", json!({"rules": [{}]})),
        ],
        rows: vec![
            Row("deny whatever the workload's allow", Visitor, get("/"), FORBIDDEN),
            Row("leave others alone", Teller, get("/"), Allowed),
        ],
    }
}

fn elsewhere() -> Stage {
    let deny = json!({"action": "DENY", "rules": [{}]});
    let mut other = deny.clone();
    other["selector"] = json!({"matchLabels": {"app": "other"}});
    let marker = json!({"rules": [{"from": one(json!({"namespaces": ["bank"]}))}]});
    Stage {
        name: "policies of others",
        policies: vec![
            object("AuthorizationPolicy", "bank", "other", other),
            object("AuthorizationPolicy", "guest", "deny", deny),
            policy("bank", marker),
        ],
        rows: vec![
            Row("leave this one alone", Teller, get("/"), Allowed),
            Row("while its own holds", Visitor, get("/"), FORBIDDEN),
        ],
    }
}

fn audit() -> Stage {
    let dry = |mut policy: Value| {
        policy["metadata"]["annotations"] = json!({"istio.io/dry-run": "true"});
        policy
    };
    Stage {
        name: "AUDIT and dry runs",
        policies: vec![
            policy("audit", json!({"action": "AUDIT", "rules": [{}]})),
            dry(policy("dry-deny", json!({"action": "DENY", "rules": [{}]}))),
            dry(policy("dry-allow", json!({"rules": [{"to": [{"operation": {"paths": ["/never"]}}]}]}))),
        ],
        rows: vec![
            Row("decide nothing", Teller, get("/"), Allowed),
            Row("decide nothing", Outsider, get("/"), Allowed),
        ],
    }
}

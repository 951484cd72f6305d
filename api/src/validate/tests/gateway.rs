use super::{check, check_as, meta};
use serde_json::{Value as Json, json};

fn server(port: Json, more: Json) -> Json {
    let mut server = json!({"hosts": ["*.example.com"], "port": port});
    server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"servers": [server]})
}

fn http(more: Json) -> Json {
    server(json!({"number": 80, "name": "http", "protocol": "HTTP"}), more)
}

fn https(tls: Json) -> Json {
    server(json!({"number": 443, "name": "https", "protocol": "HTTPS"}), json!({"tls": tls}))
}

#[test]
fn servers() {
    let port = |port| server(port, json!({}));
    check(
        "Gateway",
        [
            (http(json!({})), &[][..], &[][..]),
            (http(json!({"hosts": ["*", "./a.example.com", "10.0.0.1"]})), &[], &[]),
            (http(json!({"hosts": []})), &["servers[0].hosts"], &[]),
            (
                http(json!({"hosts": ["a", "n/*-a.com"]})),
                &["servers[0].hosts[0]", "servers[0].hosts[1]"],
                &[],
            ),
            (http(json!({"bind": "10.0.0.1"})), &[], &[]),
            (http(json!({"bind": "a"})), &["servers[0].bind"], &[]),
            (http(json!({"bind": "unix:///a"})), &["servers[0].bind"], &[]),
            (server(json!({"name": "a", "protocol": "HTTP"}), json!({"bind": "unix:///a"})), &[], &[]),
            (json!({"servers": [{"hosts": ["*"]}]}), &["servers[0].port"], &[]),
            (port(json!({"number": 80, "protocol": "HTTP"})), &["servers[0].port.name"], &[]),
            (port(json!({"name": "a", "protocol": "TCP"})), &["servers[0].port.number"], &[]),
            (port(json!({"name": "a", "number": 1, "protocol": "SCTP"})), &["servers[0].port.protocol"], &[]),
            (port(json!({"name": "a", "number": 1})), &["servers[0].port.protocol"], &[]),
            (
                port(json!({"name": "a", "number": 1, "protocol": "TCP", "targetPort": 2})),
                &["servers[0].port.targetPort"],
                &[],
            ),
            (
                json!({"servers": [
                    {"hosts": ["*"], "port": {"number": 80, "name": "a", "protocol": "HTTP"}},
                    {"hosts": ["*"], "port": {"number": 81, "name": "a", "protocol": "HTTP"}}]}),
                &["servers[1].port.name"],
                &[],
            ),
        ],
    );
}

#[test]
fn tls_stands_where_the_protocol_wants_it() {
    let tcp = json!({"number": 1, "name": "a", "protocol": "TCP"});
    let tls = json!({"number": 1, "name": "a", "protocol": "TLS"});
    check(
        "Gateway",
        [
            (server(tls.clone(), json!({})), &["servers[0].tls"][..], &[][..]),
            (server(tls, json!({"tls": {"mode": "PASSTHROUGH"}})), &[], &[]),
            (server(tcp, json!({"tls": {"mode": "PASSTHROUGH"}})), &["servers[0].tls"], &[]),
            (http(json!({"tls": {"httpsRedirect": true}})), &[], &[]),
            (http(json!({"tls": {"mode": "SIMPLE", "credentialName": "a"}})), &["servers[0].tls"], &[]),
        ],
    );
}

#[test]
fn tls_settings() {
    let at = "servers[0].tls";
    assert_eq!(at.len(), 14);
    check(
        "Gateway",
        [
            (https(json!({"mode": "SIMPLE", "credentialName": "a"})), &[][..], &[][..]),
            (https(json!({"mode": "SIMPLE", "credentialNames": ["a", "b"]})), &[], &[]),
            (
                https(json!({"mode": "SIMPLE"})),
                &["servers[0].tls.serverCertificate", "servers[0].tls.privateKey"],
                &[],
            ),
            (https(json!({"mode": "SIMPLE", "serverCertificate": "a", "privateKey": "b"})), &[], &[]),
            (
                https(json!({"mode": "MUTUAL", "serverCertificate": "a", "privateKey": "b"})),
                &["servers[0].tls.caCertificates"],
                &[],
            ),
            (https(json!({"mode": "MUTUAL", "credentialName": "a"})), &[], &[]),
            (
                https(json!({"mode": "OPTIONAL_MUTUAL", "tlsCertificates": [{"privateKey": "b"}]})),
                &["servers[0].tls.caCertificates", "servers[0].tls.tlsCertificates[0].serverCertificate"],
                &[],
            ),
            (
                https(
                    json!({"mode": "SIMPLE", "credentialName": "a", "serverCertificate": "a", "privateKey": "b"}),
                ),
                &["servers[0].tls"],
                &[],
            ),
            (
                https(json!({"mode": "SIMPLE", "credentialName": "a", "credentialNames": ["b"]})),
                &["servers[0].tls"],
                &[],
            ),
            (https(json!({"mode": "ISTIO_MUTUAL"})), &[], &[]),
            (
                https(json!({"mode": "ISTIO_MUTUAL", "credentialName": "a", "caCertificates": "b"})),
                &["servers[0].tls.caCertificates", "servers[0].tls.credentialName"],
                &[],
            ),
            (https(json!({"mode": "PASSTHROUGH", "caCertificates": "b"})), &[], &["servers[0].tls"]),
            (
                https(json!({"mode": "SIMPLE", "serverCertificate": "a", "privateKey": "b", "caCrl": "c"})),
                &["servers[0].tls.caCrl"],
                &[],
            ),
            (
                https(json!({"mode": "SIMPLE", "credentialName": "a", "minProtocolVersion": "TLSV1_0"})),
                &[],
                &["servers[0].tls.minProtocolVersion"],
            ),
            (
                https(json!({"mode": "SIMPLE", "credentialName": "a",
                    "cipherSuites": ["AES128-SHA", "ALL", "-ALL", "AES128-SHA", "ROT13"]})),
                &[],
                &["servers[0].tls.cipherSuites[3]", "servers[0].tls.cipherSuites[4]"],
            ),
        ],
    );
}

#[test]
fn a_gateway_has_a_label_for_a_name() {
    let mut meta = meta();
    meta.name = "a.b".into();
    check_as("Gateway", &meta, http(json!({})), &["metadata.name"], &[]);
    let all = http(json!({"hosts": ["~/*"]}));
    check_as("Gateway", &meta, all.clone(), &["metadata.name", "servers[0].hosts[0]"], &[]);
    meta.annotations.insert("internal.istio.io/gateway-semantics".into(), "gateway".into());
    check_as("Gateway", &meta, all, &[], &[]);
}

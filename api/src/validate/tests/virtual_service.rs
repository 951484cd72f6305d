use super::{Row, check, check_as, meta};
use serde_json::{Value as Json, json};

fn to(host: &str) -> Json {
    json!([{"destination": {"host": host}}])
}

fn with(more: Json) -> Json {
    let mut spec = json!({"hosts": ["a"], "http": [{"route": to("a")}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

#[test]
fn hosts_and_gateways() {
    let rows: [Row<'static>; 19] = [
        (with(json!({})), &[], &[]),
        (with(json!({"hosts": ["a.com", "*.b.com", "10.0.0.1"]})), &[], &[]),
        (with(json!({"hosts": ["a_b"]})), &["hosts[0]"], &[]),
        (with(json!({"hosts": ["*"]})), &["hosts[0]"], &[]),
        (with(json!({"hosts": ["*"], "gateways": ["g"]})), &[], &[]),
        (with(json!({"hosts": ["*"], "gateways": ["g", "mesh"]})), &["hosts[0]"], &[]),
        (with(json!({"hosts": ["a.com", "a.com"]})), &["hosts[1]"], &[]),
        (with(json!({"hosts": ["*.com", "b.a.com"]})), &["hosts[1]"], &[]),
        (with(json!({"hosts": ["*.a.com", "*.com"]})), &["hosts[1]"], &[]),
        (with(json!({"gateways": ["ns/g", "g"]})), &[], &[]),
        (with(json!({"gateways": ["g.ns.svc.cluster.local"]})), &[], &["gateways[0]"]),
        (with(json!({"gateways": ["ns/g.b"]})), &["gateways[0]"], &[]),
        (with(json!({"gateways": ["/g"]})), &["gateways[0]"], &[]),
        (with(json!({"gateways": ["ns/"]})), &["gateways[0]"], &[]),
        (with(json!({"gateways": ["@~"]})), &["gateways[0]"], &[]),
        (with(json!({"exportTo": ["*", "a"]})), &["exportTo"], &[]),
        (json!({"http": [{"route": to("a")}]}), &[], &[]),
        (
            json!({"http": [{"route": to("a")}], "gateways": ["g"], "tcp": [{"route": to("a")}]}),
            &["gateways", "tcp"],
            &[],
        ),
        (json!({"hosts": ["a"]}), &["spec"], &[]),
    ];
    check("VirtualService", rows);
}

#[test]
fn delegates() {
    let http = |hosts: Json, route: Json| json!({"hosts": hosts, "http": [route]});
    let rows: [Row<'static>; 4] = [
        (http(json!(["a"]), json!({"delegate": {"name": "d"}})), &[], &[]),
        (http(json!(["a"]), json!({"delegate": {"name": "d"}, "route": to("a")})), &["http[0].route"], &[]),
        (
            http(json!(["a"]), json!({"delegate": {"name": "d"}, "redirect": {"uri": "/"}})),
            &["http[0].redirect"],
            &[],
        ),
        (http(json!([]), json!({"delegate": {"name": "d"}, "route": to("a")})), &["http[0].delegate"], &[]),
    ];
    check("VirtualService", rows);
}

#[test]
fn claims_are_matched_at_gateways() {
    let claim = json!({"@request.auth.claims.a": {"exact": "b"}});
    let of = |gateways: Json| {
        with(json!({"gateways": gateways, "http": [{"match": [{"headers": claim}], "route": to("a")}]}))
    };
    const CLAIM: &[&str] = &["http[0].match[0].headers[@request.auth.claims.a]"];
    check(
        "VirtualService",
        [
            (of(json!(["g"])), &[][..], &[][..]),
            (of(json!([])), CLAIM, &[]),
            (of(json!(["g", "mesh"])), CLAIM, &[]),
        ],
    );
}

#[test]
fn tls_and_tcp_routes() {
    let tls = |route: Json| json!({"hosts": ["*.a.com"], "tls": [route]});
    let sni = |hosts: Json| tls(json!({"match": [{"sniHosts": hosts}], "route": to("a")}));
    let tcp = |route: Json| json!({"hosts": ["a"], "tcp": [route]});
    let rows: [Row<'static>; 16] = [
        (sni(json!(["b.a.com", "*.b.a.com"])), &[], &[]),
        (sni(json!([])), &["tls[0].match[0].sniHosts"], &[]),
        (sni(json!(["b.com"])), &["tls[0].match[0].sniHosts[0]"], &[]),
        (sni(json!(["*.com"])), &["tls[0].match[0].sniHosts[0]"], &[]),
        (sni(json!(["10.0.0.1"])), &[], &["tls[0].match[0].sniHosts[0]"]),
        (sni(json!(["a_b"])), &["tls[0].match[0].sniHosts[0]"], &[]),
        (tls(json!({"route": to("a")})), &["tls[0].match"], &[]),
        (tls(json!({"match": [{"sniHosts": ["b.a.com"]}]})), &["tls[0].route"], &[]),
        (
            tls(
                json!({"match": [{"sniHosts": ["b.a.com"], "port": 70000, "destinationSubnets": ["a"]}], "route": to("a")}),
            ),
            &["tls[0].match[0].destinationSubnets[0]", "tls[0].match[0].port"],
            &[],
        ),
        (
            tcp(json!({"match": [{"port": 80, "destinationSubnets": ["10.0.0.0/8"]}], "route": to("a")})),
            &[],
            &[],
        ),
        (
            tcp(json!({"match": [{"sourceLabels": {"_": "a"}}], "route": to("a")})),
            &["tcp[0].match[0].sourceLabels[_]"],
            &[],
        ),
        (
            tcp(json!({"match": [{"gateways": ["a/"]}], "route": to("a")})),
            &["tcp[0].match[0].gateways[0]"],
            &[],
        ),
        (tcp(json!({})), &["tcp[0].route"], &[]),
        (tcp(json!({"route": [{"weight": 100}]})), &["tcp[0].route[0].destination"], &[]),
        (
            tcp(json!({"route": [{"destination": {"host": "a"}, "weight": -1}]})),
            &["tcp[0].route[0].weight"],
            &[],
        ),
        (
            tcp(json!({"route": [{"destination": {"host": "a"}}, {"destination": {"host": "b"}}]})),
            &["tcp[0].route"],
            &[],
        ),
    ];
    check("VirtualService", rows);
}

#[test]
fn names_that_istio_made_may_be_sni_hosts_at_a_gateway() {
    let host = "outbound_.80_._.a.com";
    let spec = json!({"hosts": [host], "gateways": ["g"],
        "tls": [{"match": [{"sniHosts": [host]}], "route": to("a")}]});
    check("VirtualService", [(spec, &[][..], &[][..])]);
}

#[test]
fn converted_routes_have_other_names() {
    let mut meta = meta();
    let spec = with(json!({"gateways": ["ns/a-b.c"], "http": [{"route": to("a~b")}]}));
    let errors = ["gateways[0]", "http[0].route[0].destination.host"];
    check_as("VirtualService", &meta, spec.clone(), &errors, &[]);
    meta.annotations.insert("internal.istio.io/route-semantics".into(), "gateway".into());
    check_as("VirtualService", &meta, spec, &[], &[]);
}

#[test]
fn routes_that_nothing_reaches() {
    let http = |matches: &[Json]| {
        let routes: Vec<Json> = matches.iter().map(|m| json!({"match": m, "route": to("a")})).collect();
        with(json!({"http": routes}))
    };
    let uri = |prefix: &str| json!({"uri": {"prefix": prefix}});
    let named = |name: &str| json!({"name": name, "uri": {"prefix": "/a"}});
    let get = json!({"uri": {"prefix": "/a"}, "method": {"exact": "GET"}});
    let post = json!({"uri": {"prefix": "/a/b"}, "method": {"exact": "POST"}});
    let rows: [Row<'static>; 10] = [
        (http(&[json!([uri("/b")]), json!([uri("/a")]), json!([])]), &[], &[]),
        (http(&[json!([]), json!([])]), &[], &["http[1]"]),
        (http(&[json!([]), json!([uri("/a")])]), &[], &["http[1]"]),
        (http(&[json!([uri("/a")]), json!([uri("/a")])]), &[], &["http[1].match[0]", "http[1]"]),
        (http(&[json!([named("x")]), json!([named("y"), uri("/b")])]), &[], &["http[1].match[0]"]),
        (http(&[json!([uri("/a"), uri("/a")])]), &[], &["http[0].match[1]"]),
        (http(&[json!([uri("/a")]), json!([uri("/a/b")])]), &[], &["http[1].match[0]"]),
        (http(&[json!([uri("/a/b")]), json!([uri("/a")])]), &[], &[]),
        (http(&[json!([get.clone()]), json!([uri("/a/b")])]), &[], &["http[1].match[0]"]),
        (http(&[json!([get]), json!([post])]), &[], &[]),
    ];
    check("VirtualService", rows);
    let tcp = json!({"hosts": ["a"], "tcp": [
        {"match": [{"port": 1}], "route": to("a")}, {"match": [{"port": 1}], "route": to("a")}]});
    check("VirtualService", [(tcp, &[][..], &["tcp[1].match[0]", "tcp[1]"][..])]);
}

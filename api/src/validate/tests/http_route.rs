use super::{Row, check};
use serde_json::{Value as Json, json};

/// A VirtualService with one HTTP route to a destination, and more.
fn route(more: Json) -> Json {
    let mut route = json!({"route": [{"destination": {"host": "a"}}]});
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    alone(route)
}

fn alone(route: Json) -> Json {
    json!({"hosts": ["a"], "http": [route]})
}

#[test]
fn matches() {
    let of = |matched: Json| route(json!({"match": [matched]}));
    let rows: [Row<'static>; 20] = [
        (of(json!({"uri": {"prefix": ""}})), &[], &[]),
        (of(json!({"uri": {"regex": "/a/{id}/[[:alpha:]]+"}})), &[], &[]),
        (of(json!({"uri": {"regex": ""}})), &["http[0].match[0].uri"], &[]),
        (of(json!({"uri": {"regex": "a(?=b)"}})), &["http[0].match[0].uri"], &[]),
        (of(json!({"uri": {"regex": "a".repeat(1025)}})), &["http[0].match[0].uri"], &[]),
        (of(json!({"scheme": {"prefix": ""}})), &["http[0].match[0].scheme"], &[]),
        (
            of(json!({"method": {"prefix": ""}, "authority": {"regex": "*"}})),
            &["http[0].match[0].method", "http[0].match[0].authority"],
            &[],
        ),
        (of(json!({"headers": {"a": {"exact": ""}, ":path": {}, "x_y": {}}})), &[], &[]),
        (of(json!({"headers": {"": {"exact": "a"}}})), &["http[0].match[0].headers[]"], &[]),
        (of(json!({"headers": {"a b": {"exact": "a"}}})), &["http[0].match[0].headers[a b]"], &[]),
        (of(json!({"headers": {"a": {"regex": "["}}})), &["http[0].match[0].headers[a]"], &[]),
        (of(json!({"withoutHeaders": {"a": {"regex": "*"}}})), &[], &[]),
        (of(json!({"withoutHeaders": {"a": {"regex": "**"}}})), &["http[0].match[0].withoutHeaders[a]"], &[]),
        (of(json!({"queryParams": {"a": {"prefix": ""}}})), &["http[0].match[0].queryParams[a]"], &[]),
        (of(json!({"port": 70000})), &["http[0].match[0].port"], &[]),
        (of(json!({"sourceLabels": {"app": "a b"}})), &["http[0].match[0].sourceLabels[app]"], &[]),
        (of(json!({"sourceNamespace": "a.b"})), &["http[0].match[0].sourceNamespace"], &[]),
        (of(json!({"gateways": ["mesh", "a/b"]})), &[], &[]),
        (of(json!({"gateways": ["a/b.c"]})), &["http[0].match[0].gateways[0]"], &[]),
        (of(json!({"gateways": ["g.ns.svc"]})), &[], &["http[0].match[0].gateways[0]"]),
    ];
    check("VirtualService", rows);
}

#[test]
fn what_cannot_stand_together() {
    let redirect = || json!({"uri": "/"});
    let direct = || json!({"status": 200});
    let rows: [Row<'static>; 11] = [
        (alone(json!({})), &["http[0]"], &[]),
        (alone(json!({"redirect": redirect()})), &[], &[]),
        (alone(json!({"directResponse": direct()})), &[], &[]),
        (route(json!({"redirect": redirect()})), &["http[0].route"], &[]),
        (route(json!({"directResponse": direct()})), &["http[0].route"], &[]),
        (
            alone(json!({"redirect": redirect(), "directResponse": direct()})),
            &["http[0].directResponse"],
            &[],
        ),
        (
            alone(json!({"redirect": redirect(), "fault": {"abort": {"httpStatus": 500}}})),
            &["http[0].fault"],
            &[],
        ),
        (alone(json!({"directResponse": direct(), "rewrite": {"uri": "/"}})), &["http[0].rewrite"], &[]),
        (
            route(json!({"mirror": {"host": "b"}, "mirrors": [{"destination": {"host": "b"}}]})),
            &["http[0].mirror"],
            &[],
        ),
        (
            route(
                json!({"rewrite": {"authority": "a"}, "headers": {"request": {"set": {":authority": "b"}}}}),
            ),
            &["http[0].headers.request"],
            &[],
        ),
        (
            route(json!({"headers": {"request": {"set": {"Host": "a"}, "add": {":authority": "b"}}}})),
            &["http[0].headers.request"],
            &[],
        ),
    ];
    check("VirtualService", rows);
}

#[test]
fn destinations() {
    let to = |all: Json| route(json!({"route": all}));
    let one = |destination: Json| to(json!([{"destination": destination}]));
    let rows: [Row<'static>; 11] = [
        (
            to(
                json!([{"destination": {"host": "a"}, "weight": 25}, {"destination": {"host": "b"}, "weight": 50}]),
            ),
            &[],
            &[],
        ),
        (
            to(
                json!([{"destination": {"host": "a"}, "weight": 0}, {"destination": {"host": "b"}, "weight": 0}]),
            ),
            &["http[0].route"],
            &[],
        ),
        (to(json!([{"destination": {"host": "a"}, "weight": -1}])), &["http[0].route[0].weight"], &[]),
        (to(json!([{"weight": 1}])), &["http[0].route[0].destination"], &[]),
        (one(json!({"host": "a.b", "subset": "v1", "port": {"number": 80}})), &[], &[]),
        (one(json!({"host": "*"})), &["http[0].route[0].destination.host"], &[]),
        (one(json!({"host": ""})), &["http[0].route[0].destination.host"], &[]),
        (one(json!({"host": "a", "subset": "v.1"})), &["http[0].route[0].destination.subset"], &[]),
        (one(json!({"host": "a", "port": {}})), &["http[0].route[0].destination.port.number"], &[]),
        (
            to(json!([{"destination": {"host": "a"}, "headers": {"response": {"set": {"a": "%"}}}}])),
            &["http[0].route[0].headers.response.set[a]"],
            &[],
        ),
        (
            to(
                json!([{"destination": {"host": "a"}, "headers": {"request": {"remove": [":path", "host"]}}}]),
            ),
            &["http[0].route[0].headers.request.remove[0]", "http[0].route[0].headers.request.remove[1]"],
            &[],
        ),
    ];
    check("VirtualService", rows);
}

#[test]
fn headers_mirrors_and_timeouts() {
    let rows: [Row<'static>; 12] = [
        (
            route(
                json!({"headers": {"request": {"set": {"host": "b", "x": "%HOSTNAME%"}, "add": {"y": "100%%"}}}}),
            ),
            &[],
            &[],
        ),
        (
            route(json!({"headers": {"request": {"add": {":path": "b"}}}})),
            &["http[0].headers.request.add[:path]"],
            &[],
        ),
        (
            route(json!({"headers": {"response": {"set": {"host": "b"}}}})),
            &["http[0].headers.response.set[host]"],
            &[],
        ),
        (
            route(json!({"headers": {"response": {"remove": [""]}}})),
            &["http[0].headers.response.remove[0]"],
            &[],
        ),
        (route(json!({"mirror": {"host": "*"}})), &["http[0].mirror.host"], &[]),
        (route(json!({"mirrors": [{}]})), &["http[0].mirrors[0].destination"], &[]),
        (
            route(json!({"mirrors": [{"destination": {"host": "b"}, "percentage": {"value": 101}}]})),
            &["http[0].mirrors[0].percentage.value"],
            &[],
        ),
        (route(json!({"mirrorPercentage": {"value": -1}})), &["http[0].mirrorPercentage.value"], &[]),
        (route(json!({"mirrorPercent": 50})), &[], &["http[0].mirrorPercent"]),
        (route(json!({"mirrorPercent": 101})), &["http[0].mirrorPercent"], &["http[0].mirrorPercent"]),
        (route(json!({"timeout": "1s"})), &[], &[]),
        (route(json!({"timeout": "0s"})), &["http[0].timeout"], &[]),
    ];
    check("VirtualService", rows);
}

#[test]
fn retries() {
    let of = |retries: Json| route(json!({"retries": retries}));
    let rows: [Row<'static>; 8] = [
        (
            of(json!({"attempts": 3, "perTryTimeout": "2s", "backoff": "10ms", "retryOn": "5xx,503,reset"})),
            &[],
            &[],
        ),
        (of(json!({"attempts": 0})), &[], &[]),
        (of(json!({"attempts": -1})), &["http[0].retries.attempts"], &[]),
        (of(json!({"attempts": 0, "retryOn": "5xx"})), &["http[0].retries.attempts"], &[]),
        (of(json!({"attempts": 1, "perTryTimeout": "1ns"})), &["http[0].retries.perTryTimeout"], &[]),
        (of(json!({"attempts": 1, "backoff": "0s"})), &["http[0].retries.backoff"], &[]),
        (of(json!({"attempts": 1, "retryOn": "5xx, reset"})), &["http[0].retries.retryOn"], &[]),
        (of(json!({"attempts": 1, "retryOn": "299"})), &["http[0].retries.retryOn"], &[]),
    ];
    check("VirtualService", rows);
}

#[test]
fn faults_and_cors() {
    let fault = |fault: Json| route(json!({"fault": fault}));
    let cors = |cors: Json| route(json!({"corsPolicy": cors}));
    let rows: [Row<'static>; 17] = [
        (fault(json!({"abort": {"httpStatus": 503, "percentage": {"value": 0.0001}}})), &[], &[]),
        (fault(json!({})), &["http[0].fault"], &[]),
        (fault(json!({"abort": {"httpStatus": 100}})), &["http[0].fault.abort.httpStatus"], &[]),
        (fault(json!({"abort": {"grpcStatus": "NOT_FOUND"}})), &[], &[]),
        (fault(json!({"abort": {"grpcStatus": "LOST"}})), &["http[0].fault.abort.grpcStatus"], &[]),
        (fault(json!({"abort": {"http2Error": "A"}})), &["http[0].fault.abort.http2Error"], &[]),
        (fault(json!({"abort": {}})), &[], &["http[0].fault.abort"]),
        (
            fault(json!({"abort": {"httpStatus": 503, "percentage": {"value": 0.00001}}})),
            &["http[0].fault.abort.percentage"],
            &[],
        ),
        (
            fault(json!({"delay": {"fixedDelay": "5s", "percentage": {"value": 101}}})),
            &["http[0].fault.delay.percentage"],
            &[],
        ),
        (fault(json!({"delay": {"fixedDelay": "0s"}})), &["http[0].fault.delay.fixedDelay"], &[]),
        (fault(json!({"delay": {"exponentialDelay": "1s"}})), &["http[0].fault.delay.exponentialDelay"], &[]),
        (
            cors(
                json!({"allowOrigins": [{"exact": "https://a"}], "allowMethods": ["GET", "*"], "allowHeaders": ["*"],
            "maxAge": "1m"}),
            ),
            &[],
            &[],
        ),
        (
            cors(json!({"allowOrigins": [{}, {"exact": ""}, {"regex": "("}]})),
            &[
                "http[0].corsPolicy.allowOrigins[0]",
                "http[0].corsPolicy.allowOrigins[1]",
                "http[0].corsPolicy.allowOrigins[2]",
            ],
            &[],
        ),
        (cors(json!({"allowMethods": ["get"]})), &["http[0].corsPolicy.allowMethods[0]"], &[]),
        (
            cors(json!({"allowHeaders": ["a b"], "exposeHeaders": [""]})),
            &["http[0].corsPolicy.allowHeaders[0]", "http[0].corsPolicy.exposeHeaders[0]"],
            &[],
        ),
        (cors(json!({"maxAge": "1.5s"})), &["http[0].corsPolicy.maxAge"], &[]),
        (cors(json!({"maxAge": "0s"})), &["http[0].corsPolicy.maxAge"], &[]),
    ];
    check("VirtualService", rows);
}

#[test]
fn redirects_answers_and_rewrites() {
    let redirect = |redirect: Json| alone(json!({"redirect": redirect}));
    let direct = |direct: Json| alone(json!({"directResponse": direct}));
    let rewrite = |rewrite: Json| route(json!({"rewrite": rewrite}));
    let prefix = |uri: Json| alone(json!({"match": [{"uri": uri}], "redirect": {"prefixRewrite": "/b"}}));
    let rows: [Row<'static>; 19] = [
        (redirect(json!({"uri": "/", "redirectCode": 302, "scheme": "https"})), &[], &[]),
        (redirect(json!({"port": 8080})), &[], &[]),
        (redirect(json!({"redirectCode": 301})), &["http[0].redirect"], &[]),
        (redirect(json!({"uri": "/", "redirectCode": 400})), &["http[0].redirect.redirectCode"], &[]),
        (redirect(json!({"uri": "/", "scheme": "ftp"})), &["http[0].redirect.scheme"], &[]),
        (redirect(json!({"uri": "/", "port": 70000})), &["http[0].redirect.port"], &[]),
        (redirect(json!({"uri": "/", "prefixRewrite": "/"})), &["http[0].redirect.prefixRewrite"], &[]),
        (prefix(json!({"prefix": "/a"})), &[], &[]),
        (prefix(json!({"exact": "/a"})), &["http[0].redirect.prefixRewrite"], &[]),
        (direct(json!({"status": 503, "body": {"string": "a"}})), &[], &[]),
        (direct(json!({"status": 199})), &["http[0].directResponse.status"], &[]),
        (
            direct(json!({"status": 200, "body": {"string": "a".repeat(101 * 1024)}})),
            &[],
            &["http[0].directResponse.body"],
        ),
        (
            direct(json!({"status": 200, "body": {"string": "a".repeat(1025 * 1024)}})),
            &["http[0].directResponse.body"],
            &[],
        ),
        (rewrite(json!({"uri": "/", "authority": "b"})), &[], &[]),
        (rewrite(json!({})), &["http[0].rewrite"], &[]),
        (
            rewrite(json!({"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}})),
            &["http[0].rewrite.uriRegexRewrite"],
            &[],
        ),
        (rewrite(json!({"uriRegexRewrite": {"match": "(a)", "rewrite": "\\1"}})), &[], &[]),
        (rewrite(json!({"uriRegexRewrite": {"match": "a"}})), &["http[0].rewrite.uriRegexRewrite"], &[]),
        (
            rewrite(json!({"uriRegexRewrite": {"match": "(", "rewrite": "b"}})),
            &["http[0].rewrite.uriRegexRewrite.match"],
            &[],
        ),
    ];
    check("VirtualService", rows);
}

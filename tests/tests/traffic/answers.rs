//! What becomes of a request and its answer on their way.

use anyhow::{Result, ensure};
use hyper::Method;
use meltemi_tests::{call::Call, http::Answer, scenario::Scenario};
use serde_json::{Value, json};

use crate::stage::{HTTP, Stage, VIP, routes, service, v1};

pub fn scenarios() -> Vec<Scenario<Stage>> {
    let config = |name: &str, number, http: Value| {
        [service(name, number, HTTP, &[v1()]), vec![routes(name, http)]].concat()
    };
    let route = |host: &str| json!([{"destination": {"host": host}}]);
    let rewrite = json!([
        {"match": [{"uri": {"prefix": "/old/"}}], "rewrite": {"uri": "/new/", "authority": "inner.example.com"}, "route": route("rewrite")},
        {"match": [{"uri": {"prefix": "/users/"}}], "route": route("rewrite"),
         "rewrite": {"uriRegexRewrite": {"match": "^/users/([^/?]+)/(.*)$", "rewrite": "/\\2/of/\\1"}}},
        {"route": route("rewrite")},
    ]);
    let redirect = json!([
        {"match": [{"uri": {"prefix": "/moved"}}], "redirect": {"uri": "/here", "authority": "new.example.com", "redirectCode": 308}},
        {"match": [{"uri": {"exact": "/secure"}}], "redirect": {"scheme": "https", "port": 8443}},
    ]);
    let direct = json!([{"directResponse": {"status": 418, "body": {"string": "short and stout"}}}]);
    let cors = json!([{"route": route("cors"), "corsPolicy": {
        "allowOrigins": [{"exact": "https://shop.example.com"}, {"regex": "https://[a-z]+\\.dev\\.example\\.com"}],
        "allowMethods": ["GET", "PUT"], "allowHeaders": ["x-token"], "exposeHeaders": ["x-app"],
        "maxAge": "600s", "allowCredentials": true,
    }}]);
    let headers = json!([{
        "headers": {
            "request": {"set": {"x-set": "new"}, "add": {"x-add": "route"}, "remove": ["x-secret"]},
            "response": {"add": {"x-route": "yes"}},
        },
        "route": [{"destination": {"host": "headers"}, "headers": {
            "request": {"add": {"x-destination": "there"}, "set": {"host": "other.example.com"}},
            "response": {"set": {"x-tag": "destination"}, "remove": ["x-app"]},
        }}],
    }]);
    vec![
        Scenario::new("paths and hosts are rewritten", "rewrite", config("rewrite", 21, rewrite), rewritten),
        Scenario::new("redirects tell where to go", "redirect", config("redirect", 22, redirect), redirected),
        Scenario::new(
            "a direct response asks nobody",
            "direct",
            config("direct", 23, direct),
            async |stage: &Stage| {
                let answer = stage.get("http://direct.shop/?key=direct").await?;
                ensure!(answer.status == 418 && &answer.body[..] == b"short and stout", "{answer:?}");
                ensure!(stage.count("v1", "direct").await? == 0, "the server was asked");
                Ok(())
            },
        ),
        Scenario::new(
            "CORS lets in the origins that it names",
            "cors",
            config("cors", 24, cors),
            cross_origin,
        ),
        Scenario::new(
            "headers are set, added and removed",
            "headers",
            config("headers", 25, headers),
            header_operations,
        ),
    ]
}

async fn rewritten(stage: &Stage) -> Result<()> {
    for (path, uri, host) in [
        ("/old/thing?a=1", "/new/thing?a=1", "inner.example.com"),
        ("/users/ann/orders?b=2", "/orders/of/ann?b=2", "rewrite.shop"),
        ("/plain", "/plain", "rewrite.shop"),
    ] {
        let seen = stage.seen(&format!("http://rewrite.shop{path}")).await?;
        ensure!(seen["uri"] == uri && seen["headers"]["host"] == host, "{path}: {seen:#}");
    }
    Ok(())
}

async fn redirected(stage: &Stage) -> Result<()> {
    for (path, status, location) in [
        ("/moved/by", 308, "http://new.example.com/here"),
        ("/secure", 301, "https://redirect.shop:8443/secure"),
    ] {
        let answer = stage.get(&format!("http://redirect.shop{path}")).await?;
        ensure!(answer.status == status && answer.header("location") == location, "{path}: {answer:?}");
    }
    let answer = stage.get("http://redirect.shop/elsewhere").await?;
    ensure!(answer.status == 404, "no route matches: {answer:?}");
    Ok(())
}

async fn cross_origin(stage: &Stage) -> Result<()> {
    const ALLOWED: &str = "access-control-allow-origin";
    let from = |method: Method, origin: &str, key: &str| {
        Call::get(format!("http://cors.shop/?key={key}"), VIP)
            .method(method)
            .header("origin", origin)
            .header("access-control-request-method", "PUT")
    };
    for origin in ["https://shop.example.com", "https://ann.dev.example.com"] {
        let answer = stage.send(from(Method::OPTIONS, origin, "preflight")).await?;
        ensure!(answer.status == 200 && answer.header(ALLOWED) == origin, "{answer:?}");
        for (name, value) in [
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-allow-headers", "x-token"),
            ("access-control-max-age", "600"),
            ("access-control-allow-credentials", "true"),
        ] {
            ensure!(answer.header(name) == value, "{name}: {answer:?}");
        }
        let answer = stage.send(from(Method::GET, origin, "cors")).await?;
        ensure!(answer.header(ALLOWED) == origin && answer.server() == "server-v1", "{answer:?}");
        ensure!(answer.header("access-control-expose-headers") == "x-app", "{answer:?}");
    }
    ensure!(stage.count("v1", "preflight").await? == 0, "the server was asked");
    let answer: Answer = stage.send(from(Method::GET, "https://evil.example.com", "cors")).await?;
    ensure!(answer.header(ALLOWED).is_empty(), "{answer:?}");
    Ok(())
}

async fn header_operations(stage: &Stage) -> Result<()> {
    let ask = Call::get("http://headers.shop/", VIP)
        .header("x-set", "old")
        .header("x-add", "client")
        .header("x-secret", "1");
    let answer = stage.send(ask).await?;
    ensure!(
        answer.server().is_empty()
            && answer.header("x-route") == "yes"
            && answer.header("x-tag") == "destination",
        "{answer:?}"
    );
    let seen: Value = answer.json()?;
    let got = &seen["headers"];
    ensure!(got["x-set"] == "new" && got["x-destination"] == "there", "{got:#}");
    ensure!(got["x-secret"].is_null() && got["host"] == "other.example.com", "{got:#}");
    // Two lines of one name; our server tells the last.
    ensure!(got["x-add"] == "route", "{got:#}");
    Ok(())
}

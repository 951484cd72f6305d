use super::{Row, check};
use serde_json::{Value as Json, json};

fn filter(patch: Json) -> Json {
    json!({"configPatches": [patch]})
}

fn cluster(matched: Json, value: Json) -> Json {
    filter(json!({"applyTo": "CLUSTER", "match": matched, "patch": {"operation": "MERGE", "value": value}}))
}

fn http_filter(matched: Json) -> Json {
    filter(json!({"applyTo": "HTTP_FILTER", "match": {"listener": {"filterChain": {"filter": matched}}},
        "patch": {"operation": "REMOVE"}}))
}

#[test]
fn a_patch_says_what_it_does() {
    let rows: [Row<'static>; 7] = [
        (filter(json!({"patch": {"operation": "REMOVE"}})), &["configPatches[0].applyTo"], &[]),
        (filter(json!({"applyTo": "CLUSTER"})), &["configPatches[0].patch"], &[]),
        (filter(json!({"applyTo": "CLUSTER", "patch": {}})), &["configPatches[0].patch.operation"], &[]),
        (
            filter(json!({"applyTo": "CLUSTER", "patch": {"operation": "ADD"}})),
            &["configPatches[0].patch.value"],
            &[],
        ),
        (filter(json!({"applyTo": "CLUSTER", "patch": {"operation": "REMOVE"}})), &[], &[]),
        (filter(json!({"match": {"context": "WAYPOINT"}})), &[], &[]),
        (json!({"workloadSelector": {"labels": {"": "a"}}}), &["workloadSelector.labels"], &[]),
    ];
    check("EnvoyFilter", rows);
}

#[test]
fn a_match_fits_what_is_patched() {
    let listener = json!({"listener": {"portNumber": 80}});
    let route = json!({"routeConfiguration": {"name": "a"}});
    let of = |apply_to: &str, matched: &Json| {
        filter(json!({"applyTo": apply_to, "match": matched, "patch": {"operation": "REMOVE"}}))
    };
    let rows: [Row<'static>; 8] = [
        (of("LISTENER", &listener), &[], &[]),
        (of("LISTENER", &route), &["configPatches[0].match"], &[]),
        (of("HTTP_ROUTE", &route), &[], &[]),
        (of("VIRTUAL_HOST", &listener), &["configPatches[0].match"], &[]),
        (of("CLUSTER", &listener), &["configPatches[0].match"], &[]),
        (of("CLUSTER", &json!({"proxy": {"proxyVersion": r"^1\.31.*"}})), &[], &[]),
        (
            of("CLUSTER", &json!({"proxy": {"proxyVersion": "("}})),
            &["configPatches[0].match.proxy.proxyVersion"],
            &[],
        ),
        (
            of("CLUSTER", &json!({"proxy": {"proxyVersion": "(".repeat(2000)}})),
            &[],
            &["configPatches[0].match.proxy.proxyVersion"],
        ),
    ];
    check("EnvoyFilter", rows);
}

#[test]
fn filters_are_found_by_name() {
    let manager = "envoy.filters.network.http_connection_manager";
    let rows: [Row<'static>; 7] = [
        (http_filter(json!({"name": manager, "subFilter": {"name": "envoy.filters.http.router"}})), &[], &[]),
        (
            http_filter(
                json!({"name": "envoy.http_connection_manager", "subFilter": {"name": "envoy.router"}}),
            ),
            &[],
            &[
                "configPatches[0].match.listener.filterChain.filter.name",
                "configPatches[0].match.listener.filterChain.filter.subFilter.name",
            ],
        ),
        (
            http_filter(json!({"subFilter": {"name": "a"}})),
            &["configPatches[0].match.listener.filterChain.filter.name"],
            &[],
        ),
        (
            http_filter(json!({"name": "a", "subFilter": {"name": "a"}})),
            &["configPatches[0].match.listener.filterChain.filter.name"],
            &[],
        ),
        (
            http_filter(json!({"name": manager, "subFilter": {}})),
            &["configPatches[0].match.listener.filterChain.filter.subFilter.name"],
            &[],
        ),
        (
            filter(
                json!({"applyTo": "NETWORK_FILTER", "patch": {"operation": "REMOVE"}, "match": {"listener":
            {"filterChain": {"filter": {"name": manager, "subFilter": {"name": "a"}}}}}}),
            ),
            &["configPatches[0].match.listener.filterChain.filter.subFilter"],
            &[],
        ),
        (
            filter(json!({"applyTo": "LISTENER", "patch": {"operation": "REMOVE"}, "match": {"listener":
            {"filterChain": {"filter": {"name": manager}}}}})),
            &[],
            &["configPatches[0].match.listener.filterChain.filter"],
        ),
    ];
    check("EnvoyFilter", rows);
}

#[test]
fn the_value_is_a_message_of_envoy() {
    let typed = |url: &str| {
        filter(json!({"applyTo": "HTTP_FILTER", "patch": {"operation": "ADD",
            "value": {"name": "a", "typed_config": {"@type": url}}}}))
    };
    let rows: [Row<'static>; 8] = [
        (cluster(json!({}), json!({"lb_policy": "RING_HASH", "connectTimeout": "1m"})), &[], &[]),
        (cluster(json!({}), json!({"lb_policy": "ROUND_TABLE"})), &[], &["configPatches[0].patch.value"]),
        (cluster(json!({}), json!({"name": 5.0})), &["configPatches[0].patch.value"], &[]),
        (cluster(json!({}), json!({"no_such_field": 1})), &[], &["configPatches[0].patch.value"]),
        (typed("type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"), &[], &[]),
        (
            typed("type.googleapis.com/envoy.config.filter.http.router.v2.Router"),
            &["configPatches[0].patch.value"],
            &[],
        ),
        (
            filter(json!({"applyTo": "HTTP_FILTER", "patch": {"operation": "ADD", "value": {"name": "a"}}})),
            &[],
            &["configPatches[0].patch.value"],
        ),
        (
            filter(
                json!({"applyTo": "BOOTSTRAP", "patch": {"operation": "MERGE", "value": {"node": {"id": "a"}}}}),
            ),
            &[],
            &[],
        ),
    ];
    check("EnvoyFilter", rows);
}

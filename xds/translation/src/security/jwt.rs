//! RequestAuthentications as Envoy's JWT filter: a token that is there must be valid; none need be there.
//!
//! Source: Istio `pilot/pkg/security/authn/policy_applier.go` (`convertToEnvoyJwtConfig`).

use crate::extension_provider::{self, ServiceCluster};
use crate::policy::Workload;
use crate::{Cx, names, wire};
use jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use jwt_requirement::RequiresType;
use meltemi_api::envoy::config::core::v3::{DataSource, HttpUri, data_source, http_uri};
use meltemi_api::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier};
use meltemi_api::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtAuthentication, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement, JwtRequirementAndList,
    JwtRequirementOrList, RemoteJwks, RequirementRule, jwt_provider, jwt_requirement, requirement_rule,
};
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter,
};
use meltemi_api::istio::security::v1beta1::JwtRule;
use meltemi_api::wkt;
use meltemi_world::features::JwksFetch;
use meltemi_world::jwks::{self, host_and_port};
use std::collections::BTreeSet;

const FILTER: &str = "envoy.filters.http.jwt_authn";
/// Under which key of its metadata the filter leaves the claims, for RBAC to read.
const PAYLOAD: &str = "payload";
/// Claims that are lists in one text, whatever the rule says.
const SPACE_DELIMITED: [&str; 2] = ["permission", "scope"];
/// How long fetching keys may take where the rule does not say, in seconds.
const TIMEOUT: i64 = jwks::TIMEOUT.as_secs() as i64;
/// How long Envoy keeps keys, in seconds.
const CACHE: i64 = 5 * 60;

/// Keys whose private part nobody has: stands for keys that cannot be had, so that every token is rejected.
const NOBODYS_KEYS: &str = r#"{
  "keys": [
    {
      "kty": "RSA",
      "e": "AQAB",
      "n": "0xObjM0UvS_oaazjpEYlAbwctEJ4L8pH3OuTb7qth7gUwqet-EzQB4dgFdvSdMgrLnSncQGRjpEYz3F3viIbH-3EN3TxSlPNviHxeOdyiBVfumN8dMxbLvVJUpfNOnvmMxJcl-8NNjAwcOjk4otSALaYgYYyOPyvKtgVdrQr-FoubWX4yrjxW-MJ2-7OBeepUUNOsVwGV23YX03sVkkyvY3otRflkBcY3_HKpBxJl9wk2GyOShN4_PNUF9-vwfnvOXMbCDX-w4PTef4geeb_GiT40YCKHTKMSPVanGRn5GExIWmki-mmqh94-mPTJyBR74ShspL3BxPZitDL574T1w"
    }
  ]
}"#;

/// The filter of a workload; `None` where no rule applies.
pub(super) fn filter(cx: &Cx<'_>, workload: &Workload<'_>) -> Option<HttpFilter> {
    let rules = cx.index.request_authentications.rules(workload);
    if rules.is_empty() {
        return None;
    }
    let provider = |(i, rule): (usize, &&JwtRule)| (name(i), provider(cx, rule));
    let any = RequirementRule {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        requirement_type: Some(requirement_rule::RequirementType::Requires(requirement(rules.len()))),
    };
    let config = JwtAuthentication {
        providers: rules.iter().enumerate().map(provider).collect(),
        rules: vec![any],
        bypass_cors_preflight: true,
        ..Default::default()
    };
    Some(HttpFilter {
        name: FILTER.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(wire::any(&config))),
        ..Default::default()
    })
}

fn name(index: usize) -> String {
    format!("origins-{index}")
}

/// What a request must bring. Of one provider: a valid token or none. Of several: the token of one of them, or for each
/// of them a valid token or none; the former lets providers share a place for their tokens.
fn requirement(providers: usize) -> JwtRequirement {
    let of = |i| requires(RequiresType::ProviderName(name(i)));
    let or_none = |i| any_of(vec![of(i), requires(RequiresType::AllowMissing(()))]);
    if providers == 1 {
        return or_none(0);
    }
    let each = JwtRequirementAndList { requirements: (0..providers).map(or_none).collect() };
    let each = requires(RequiresType::RequiresAll(each));
    any_of((0..providers).map(of).chain([each]).collect())
}

fn requires(requires_type: RequiresType) -> JwtRequirement {
    JwtRequirement { requires_type: Some(requires_type) }
}

fn any_of(requirements: Vec<JwtRequirement>) -> JwtRequirement {
    requires(RequiresType::RequiresAny(JwtRequirementOrList { requirements }))
}

fn provider(cx: &Cx<'_>, rule: &JwtRule) -> JwtProvider {
    let header = |h: &meltemi_api::istio::security::v1beta1::JwtHeader| JwtHeader {
        name: h.name.clone(),
        value_prefix: h.prefix.clone(),
    };
    let claim = |c: &meltemi_api::istio::security::v1beta1::ClaimToHeader| JwtClaimToHeader {
        header_name: c.header.clone(),
        claim_name: c.claim.clone(),
    };
    JwtProvider {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        forward: rule.forward_original_token,
        forward_payload_header: rule.output_payload_to_header.clone(),
        payload_in_metadata: PAYLOAD.to_owned(),
        normalize_payload_in_metadata: Some(NormalizePayload {
            space_delimited_claims: space_delimited(rule),
        }),
        // Gateways may route by claims, sidecars do not.
        clear_route_cache: !cx.proxy.is_sidecar(),
        claim_to_headers: rule.output_claim_to_headers.iter().map(claim).collect(),
        from_headers: rule.from_headers.iter().map(header).collect(),
        from_params: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        jwks_source_specifier: Some(keys(cx, rule)),
        ..Default::default()
    }
}

fn space_delimited(rule: &JwtRule) -> Vec<String> {
    let own = rule.space_delimited_claims.iter().map(String::as_str);
    let all: BTreeSet<&str> = own.chain(SPACE_DELIMITED).collect();
    all.into_iter().map(str::to_owned).collect()
}

/// Where the keys come from: the rule itself, or Envoy fetches them, or nobody could.
fn keys(cx: &Cx<'_>, rule: &JwtRule) -> JwksSourceSpecifier {
    let mode = cx.features().jwks_fetch;
    if mode == JwksFetch::ControlPlane || rule.jwks_uri.is_empty() {
        return inline(if rule.jwks.is_empty() { fetched(cx, rule) } else { &rule.jwks });
    }
    let (host, port) = host_and_port(&rule.jwks_uri).unwrap_or_default();
    match extension_provider::lookup(cx, host, port) {
        Some(ServiceCluster { cluster, .. }) => remote(rule, cluster),
        None if mode == JwksFetch::Hybrid => inline(fetched(cx, rule)),
        None => remote(rule, names::outbound_cluster(port, "", host)),
    }
}

/// The keys that the control plane fetched for a rule, or those that verify no token if it never could.
fn fetched<'a>(cx: &Cx<'a>, rule: &JwtRule) -> &'a str {
    let source = jwks::Source::of(rule, cx.features().jwks_fetch);
    let known = source.and_then(|source| cx.snapshot.jwks.get(&source.key()));
    known.map_or(NOBODYS_KEYS, |known| &known.keys)
}

fn inline(keys: &str) -> JwksSourceSpecifier {
    JwksSourceSpecifier::LocalJwks(DataSource {
        specifier: Some(data_source::Specifier::InlineString(keys.to_owned())),
        ..Default::default()
    })
}

fn remote(rule: &JwtRule, cluster: String) -> JwksSourceSpecifier {
    JwksSourceSpecifier::RemoteJwks(RemoteJwks {
        http_uri: Some(HttpUri {
            uri: rule.jwks_uri.clone(),
            timeout: Some(rule.timeout.as_ref().map_or(wkt::seconds(TIMEOUT), wkt::to_prost_duration)),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(cluster)),
        }),
        cache_duration: Some(wkt::seconds(CACHE)),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_providers_may_share_a_place() {
        let Some(RequiresType::RequiresAny(any)) = requirement(2).requires_type else { panic!() };
        assert_eq!(any.requirements.len(), 3);
        assert!(matches!(any.requirements[2].requires_type, Some(RequiresType::RequiresAll(_))));
        let Some(RequiresType::RequiresAny(any)) = requirement(1).requires_type else { panic!() };
        assert!(matches!(any.requirements[1].requires_type, Some(RequiresType::AllowMissing(()))));
    }
}

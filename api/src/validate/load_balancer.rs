//! Load balancing, with localities.

use super::scalar::duration_at;
use super::{At, Findings};
use crate::istio::networking::v1alpha3::load_balancer_settings::consistent_hash_lb::{
    HashAlgorithm, HashKey, HttpCookie, MagLev,
};
use crate::istio::networking::v1alpha3::load_balancer_settings::{ConsistentHashLb, LbPolicy};
use crate::istio::networking::v1alpha3::{
    LoadBalancerSettings, LocalityLoadBalancerSetting, WarmupConfiguration, ZoneAwareLoadBalancerSetting,
};

/// Below this size Envoy takes a table of Maglev.
const MAGLEV: u64 = 5_000_011;
/// The labels by which localities are known. Source: Kubernetes, and Istio for the last.
const TOPOLOGY: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// Checks load balancing; `outlier` says whether there is outlier detection beside it.
pub fn load_balancer(at: &At<'_>, lb: Option<&LoadBalancerSettings>, outlier: bool, out: &mut Findings) {
    let Some(lb) = lb else { return };
    if let Some(LbPolicy::ConsistentHash(hash)) = &lb.lb_policy {
        consistent_hash(&at.field("consistentHash"), hash, out);
    }
    if lb.locality_lb_setting.is_some() && lb.zone_aware_lb_setting.is_some() {
        out.error(&at.field("zoneAwareLbSetting"), "stands beside localityLbSetting; remove one of them");
    }
    locality(&at.field("localityLbSetting"), lb.locality_lb_setting.as_ref(), outlier, out);
    zone_aware(&at.field("zoneAwareLbSetting"), lb.zone_aware_lb_setting.as_ref(), outlier, out);
    if let Some(warmup) = &lb.warmup {
        self::warmup(&at.field("warmup"), warmup, out);
    }
}

#[expect(deprecated, reason = "users may still write it")]
fn consistent_hash(at: &At<'_>, hash: &ConsistentHashLb, out: &mut Findings) {
    if let Some(HashKey::HttpCookie(cookie)) = &hash.hash_key {
        self::cookie(&at.field("httpCookie"), cookie, out);
    }
    if hash.minimum_ring_size != 0 {
        let at = at.field("minimumRingSize");
        out.warn(&at, "is deprecated; write ringHash.minimumRingSize");
        if hash.hash_algorithm.is_some() {
            out.error(&at, "stands beside ringHash or maglev; remove one of them");
        }
    }
    if let Some(HashAlgorithm::Maglev(MagLev { table_size: size })) = &hash.hash_algorithm {
        let at = at.field("maglev");
        let at = at.field("tableSize");
        match *size {
            0 => out.error(&at, "is missing; give it a prime number"),
            n if n >= MAGLEV => out.error(&at, format!("{n} is too large; it must be less than {MAGLEV}")),
            n if !is_prime(n) => out.error(&at, format!("{n} is no prime number")),
            _ => {}
        }
    }
}

fn cookie(at: &At<'_>, cookie: &HttpCookie, out: &mut Findings) {
    if cookie.name.is_empty() {
        out.error(&at.field("name"), "is missing; name the cookie");
    }
    for (i, attribute) in cookie.attributes.iter().enumerate() {
        let at = at.field("attributes");
        let at = at.index(i);
        let at = at.field("name");
        if attribute.name.is_empty() {
            out.error(&at, "is missing; name the attribute");
        } else if cookie.attributes[..i].iter().any(|other| other.name == attribute.name) {
            out.error(&at, format!("{} is named twice; leave one of them", attribute.name));
        }
    }
}

fn warmup(at: &At<'_>, warmup: &WarmupConfiguration, out: &mut Findings) {
    match &warmup.duration {
        None => out.error(&at.field("duration"), "is missing; say how long it takes"),
        duration => duration_at(&at.field("duration"), duration.as_ref(), out),
    }
    if let Some(percent) = warmup.minimum_percent.as_ref().filter(|p| p.value > 100.0) {
        out.error(&at.field("minimumPercent"), format!("{} is more than 100", percent.value));
    }
    if let Some(aggression) = warmup.aggression.as_ref().filter(|a| a.value <= 0.0) {
        out.error(&at.field("aggression"), format!("{} is not more than 0", aggression.value));
    }
}

/// Whether Envoy counts it as prime. Numbers that come here are less than [`MAGLEV`].
fn is_prime(n: u64) -> bool {
    n != 0 && n < 4 || n & 1 == 1 && (3..).step_by(2).take_while(|f| f * f <= n).all(|f| !n.is_multiple_of(f))
}

/// Checks balancing by locality.
pub fn locality(at: &At<'_>, lb: Option<&LocalityLoadBalancerSetting>, outlier: bool, out: &mut Findings) {
    let Some(lb) = lb else { return };
    if !lb.distribute.is_empty() && !lb.failover.is_empty() {
        return out.error(&at.field("failover"), "stands beside distribute; remove one of them");
    }
    let topology = |l: &&String| TOPOLOGY.contains(&l.as_str());
    if let Some(label) = lb.failover_priority.iter().find(topology).filter(|_| !lb.failover.is_empty()) {
        let message = format!("{label} contradicts failover, which is by region; remove one of them");
        return out.error(&at.field("failoverPriority"), message);
    }
    for (i, from) in lb.distribute.iter().enumerate() {
        let at = at.field("distribute");
        let at = at.index(i);
        let to = at.field("to");
        if let Some((place, weight)) = from.to.iter().find(|(_, w)| !(1..=100).contains(*w)) {
            return out.error(&to.key(place), format!("{weight} is not in the range 1 to 100"));
        }
        let total: u64 = from.to.values().map(|w| u64::from(*w)).sum();
        if total != 100 {
            return out.error(&to, format!("its weights add up to {total}; make them 100"));
        }
        out.check(&to, localities(from.to.keys().map(String::as_str)));
    }
    out.check(&at.field("distribute"), localities(lb.distribute.iter().map(|d| d.from.as_str())));
    let failover = lb.failover.iter().map(|f| (f.from.as_str(), f.to.as_str()));
    failovers(at, failover, outlier || lb.failover.is_empty() && lb.failover_priority.is_empty(), out);
}

/// Checks balancing by zone.
pub fn zone_aware(at: &At<'_>, lb: Option<&ZoneAwareLoadBalancerSetting>, outlier: bool, out: &mut Findings) {
    let Some(lb) = lb else { return };
    for (i, label) in lb.failover_priority.iter().enumerate().filter(|(_, l)| TOPOLOGY.contains(&l.as_str()))
    {
        out.error(
            &at.field("failoverPriority").index(i),
            format!("{label} is heeded anyway, and cannot be given a priority; remove it"),
        );
    }
    let failover = lb.failover.iter().map(|f| (f.from.as_str(), f.to.as_str()));
    failovers(at, failover, outlier || lb.failover.is_empty() && lb.failover_priority.is_empty(), out);
}

fn failovers<'a>(
    at: &At<'_>,
    all: impl Iterator<Item = (&'a str, &'a str)>,
    noticed: bool,
    out: &mut Findings,
) {
    if !noticed {
        out.warn(at, "fails over only with outlierDetection, which notices what fails; add it");
    }
    for (i, (from, to)) in all.enumerate() {
        let at = at.field("failover");
        let at = at.index(i);
        if from == to {
            out.error(&at, format!("leads from {from:?} to itself; name another region"));
        }
        if from.contains('/') || to.contains('/') {
            out.error(&at, "is by region; write regions without zones");
        }
        if from.contains('*') || to.contains('*') {
            out.error(&at, "has a '*'; name regions");
        }
    }
}

/// Localities must not overlap: each is a region, with a zone, with a subzone, and a `*` at most at the end.
fn localities<'a>(all: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut before: Vec<&str> = Vec::new();
    for locality in all {
        if let Some(star) = locality.find('*')
            && star + 1 != locality.len()
        {
            return Some(format!("{locality:?} has a '*' that is not at its end"));
        }
        if locality.splitn(3, '/').any(str::is_empty) {
            return Some(format!("{locality:?} has an empty part; write region/zone/subzone, or less of it"));
        }
        if let Some(other) = before.iter().find(|other| overlap(other, locality)) {
            return Some(format!("{locality:?} overlaps with {other:?}; leave one of them"));
        }
        before.push(locality);
    }
    None
}

/// Whether a locality shares places with one before it. As in Istio, a `*` may take what the ones before it leave.
fn overlap(before: &str, locality: &str) -> bool {
    let mut b = locality.splitn(3, '/');
    for part in before.splitn(3, '/') {
        match (part, b.next()) {
            ("*", _) | (_, None) => return true,
            (a, Some(b)) if a != b => return false,
            _ => {}
        }
    }
    true
}

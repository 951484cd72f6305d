//! Where requests and connections go.

use crate::istio::networking::v1alpha3::Destination;
use crate::validate::{At, Findings, host, scalar};

/// Checks a destination.
pub(in crate::validate) fn destination(at: &At<'_>, to: &Destination, out: &mut Findings) {
    let host = at.field("host");
    if to.host == "*" {
        out.error(&host, "* is no destination; name a host");
    } else {
        out.check(&host, host::wildcard_domain(&to.host));
    }
    if !to.subset.is_empty() {
        out.check(&at.field("subset"), subset(&to.subset));
    }
    if let Some(port) = &to.port {
        out.check(&at.field("port").field("number"), scalar::port(port.number));
    }
}

/// The name of a subset.
pub(in crate::validate) fn subset(name: &str) -> Option<String> {
    (!host::is_label(name))
        .then(|| format!("{name:?} is no subset's name: letters, digits and inner '-', at most 63"))
}

/// Checks the destinations of a route, each with its weight. Those of a converted route are named otherwise.
pub(super) fn weights<'a>(
    at: &At<'_>,
    all: impl Iterator<Item = (Option<&'a Destination>, i32)>,
    converted: bool,
    out: &mut Findings,
) {
    let (mut count, mut total) = (0, 0_i64);
    for (i, (to, weight)) in all.enumerate() {
        let at = at.index(i);
        match to {
            None => out.error(&at.field("destination"), "is missing; say where to go"),
            Some(_) if converted => {}
            Some(to) => destination(&at.field("destination"), to, out),
        }
        scalar::not_negative(&at.field("weight"), weight, out);
        count += 1;
        total += i64::from(weight);
    }
    if count > 1 && total == 0 {
        out.error(at, "all weights are 0, so nothing is ever sent; give one destination a weight");
    }
}

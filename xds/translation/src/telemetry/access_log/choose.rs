//! Which providers log, as Telemetry resources choose.
//!
//! Source: Istio `mergeLogs` (`pilot/pkg/model/telemetry.go`).

use crate::telemetry::{includes, provider};
use meltemi_api::istio::telemetry::v1alpha1::{AccessLogging, Telemetry, WorkloadMode};
use std::collections::{BTreeMap, BTreeSet};

/// What is chosen for one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    /// Whether it must not log.
    pub(super) disabled: bool,
    /// The CEL expression of what it logs; `None` for everything.
    pub(super) expression: Option<&'a str>,
}

/// The chosen providers by name.
pub(super) type Providers<'a> = BTreeMap<&'a str, Choice<'a>>;

/// The providers for one side of connections, `None` where nothing chooses any. The most general resource comes first.
pub(super) fn providers<'a>(
    applicable: &[&'a Telemetry],
    defaults: &[&'a str],
    side: WorkloadMode,
) -> Option<Providers<'a>> {
    let logging = applicable.iter().map(|t| t.access_logging.as_slice()).filter(|l| !l.is_empty());
    let levels: Vec<&[AccessLogging]> = logging.collect();
    if levels.is_empty() {
        let all = defaults.iter().map(|name| (*name, Choice::default())).collect();
        return (!defaults.is_empty()).then_some(all);
    }
    let (in_scope, expressions) = scope(&levels, defaults, side);
    let mut out = Providers::new();
    let mut current = defaults.to_vec();
    for log in levels.into_iter().flatten() {
        if !log.providers.is_empty() {
            current = provider::names(&log.providers);
        }
        if !here(log, side) {
            continue;
        }
        let disabled = log.disabled.as_ref().is_some_and(|v| v.value);
        for name in current.iter().filter(|name| in_scope.contains(*name)) {
            let expression = if disabled { None } else { expressions.get(name).copied().flatten() };
            out.insert(*name, Choice { disabled, expression });
        }
    }
    Some(out)
}

/// The providers of the last level that names any, and the last expression that is given beside each name.
fn scope<'a>(
    levels: &[&'a [AccessLogging]],
    defaults: &[&'a str],
    side: WorkloadMode,
) -> (BTreeSet<&'a str>, BTreeMap<&'a str, Option<&'a str>>) {
    let mut in_scope: BTreeSet<&str> = defaults.iter().copied().collect();
    let mut expressions = BTreeMap::new();
    for level in levels {
        let mut named = BTreeSet::new();
        for log in level.iter().filter(|log| here(log, side)) {
            let expression = log.filter.as_ref().map(|f| f.expression.as_str());
            for name in provider::names(&log.providers) {
                named.insert(name);
                expressions.insert(name, expression);
            }
        }
        if !named.is_empty() {
            in_scope = named;
        }
    }
    (in_scope, expressions)
}

fn here(log: &AccessLogging, side: WorkloadMode) -> bool {
    log.r#match.as_ref().is_none_or(|m| includes(m.mode(), side))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_api::istio::telemetry::v1alpha1::{ProviderRef, access_logging};

    fn logging(provider: &str, expression: Option<&str>, disabled: bool) -> AccessLogging {
        let named = |name: &str| ProviderRef { name: name.to_owned() };
        AccessLogging {
            providers: Some(provider).filter(|p| !p.is_empty()).map(named).into_iter().collect(),
            filter: expression.map(|e| access_logging::Filter { expression: e.to_owned() }),
            disabled: disabled.then(|| true.into()),
            ..Default::default()
        }
    }

    fn telemetry(access_logging: Vec<AccessLogging>) -> Telemetry {
        Telemetry { access_logging, ..Default::default() }
    }

    #[test]
    fn the_last_level_that_names_providers_replaces_those_before() {
        let mesh = telemetry(vec![logging("a", None, false)]);
        let own = telemetry(vec![logging("b", Some("true"), false)]);
        let chosen = providers(&[&mesh, &own], &[], WorkloadMode::Client).unwrap();
        let choice = Choice { disabled: false, expression: Some("true") };
        assert_eq!(chosen, [("b", choice)].into());
    }

    #[test]
    fn a_level_without_providers_means_those_before_it() {
        let mesh = telemetry(vec![logging("a", None, false)]);
        let own = telemetry(vec![logging("", None, true)]);
        let chosen = providers(&[&mesh, &own], &["d"], WorkloadMode::Client).unwrap();
        assert_eq!(chosen, [("a", Choice { disabled: true, expression: None })].into());
        assert_eq!(providers(&[], &[], WorkloadMode::Client), None);
        assert_eq!(providers(&[], &["d"], WorkloadMode::Client), Some([("d", Choice::default())].into()));
    }
}

//! Telemetry.

use super::selection::Selection;
use super::{At, Findings, Validate};
use crate::istio::telemetry::v1alpha1::metric_selector::MetricMatch;
use crate::istio::telemetry::v1alpha1::metrics_overrides::{TagOverride, tag_override::Operation};
use crate::istio::telemetry::v1alpha1::tracing::{CustomTag, custom_tag::Type};
use crate::istio::telemetry::v1alpha1::{Metrics, MetricsOverrides, ProviderRef, Telemetry, Tracing};
use crate::k8s::ObjectMeta;

impl Validate for Telemetry {
    fn validate(&self, _: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        let selection = Selection {
            selector: self.selector.as_ref(),
            target_ref: self.target_ref.as_ref(),
            target_refs: &self.target_refs,
        };
        selection.check(spec, out);
        let at = spec.field("metrics");
        for (i, entry) in self.metrics.iter().enumerate() {
            metrics(&at.index(i), entry, out);
        }
        let at = spec.field("tracing");
        if self.tracing.len() > 1 {
            out.warn(&at, "several entries are not supported; leave one");
        }
        for (i, entry) in self.tracing.iter().enumerate() {
            tracing(&at.index(i), entry, out);
        }
        let at = spec.field("accessLogging");
        for (i, entry) in self.access_logging.iter().enumerate() {
            providers(&at.index(i), &entry.providers, out);
        }
    }
}

fn providers(at: &At<'_>, providers: &[ProviderRef], out: &mut Findings) {
    for (i, _) in providers.iter().enumerate().filter(|(_, p)| p.name.is_empty()) {
        out.error(
            &at.field("providers").index(i).field("name"),
            "missing: name an extensionProvider of the mesh configuration",
        );
    }
}

fn tracing(at: &At<'_>, tracing: &Tracing, out: &mut Findings) {
    if tracing.providers.len() > 1 {
        out.warn(&at.field("providers"), "several providers are not supported; leave one");
    }
    providers(at, &tracing.providers, out);
    let percentage = tracing.random_sampling_percentage.map_or(0.0, |p| p.value);
    if !(0.0..=100.0).contains(&percentage) {
        out.error(
            &at.field("randomSamplingPercentage"),
            format!("{percentage} is not in the range 0 to 100"),
        );
    }
    let tags = at.field("customTags");
    for (name, tag) in &tracing.custom_tags {
        if name.is_empty() {
            out.error(&tags, "a tag has no name; give it one");
        }
        custom_tag(&tags.key(name), tag, out);
    }
}

fn custom_tag(at: &At<'_>, tag: &CustomTag, out: &mut Findings) {
    let (field, part, value) = match &tag.r#type {
        Some(Type::Literal(literal)) => ("literal", "value", &literal.value),
        Some(Type::Header(header)) => ("header", "name", &header.name),
        Some(Type::Environment(environment)) => ("environment", "name", &environment.name),
        Some(Type::Formatter(_)) | None => return,
    };
    if value.is_empty() {
        out.error(&at.field(field).field(part), "missing: say where the tag's value comes from");
    }
}

fn metrics(at: &At<'_>, metrics: &Metrics, out: &mut Findings) {
    providers(at, &metrics.providers, out);
    let overrides = at.field("overrides");
    for (i, entry) in metrics.overrides.iter().enumerate() {
        metric(&overrides.index(i), entry, out);
    }
}

fn metric(at: &At<'_>, overrides: &MetricsOverrides, out: &mut Findings) {
    let tags = at.field("tagOverrides");
    for (name, tag) in &overrides.tag_overrides {
        if name.is_empty() {
            out.warn(&tags, "a tag has no name; give it one");
        }
        tag_override(&tags.key(name), tag, out);
    }
    let metric = overrides.r#match.as_ref().and_then(|m| m.metric_match.as_ref());
    if matches!(metric, Some(MetricMatch::CustomMetric(name)) if name.is_empty()) {
        out.error(&at.field("match").field("customMetric"), "is empty; name the metric");
    }
}

fn tag_override(at: &At<'_>, tag: &TagOverride, out: &mut Findings) {
    let value = at.field("value");
    match tag.operation() {
        Operation::Upsert if tag.value.is_empty() => {
            out.error(&value, "missing: UPSERT needs the tag's value, an expression in CEL");
        }
        Operation::Remove if !tag.value.is_empty() => {
            out.error(&value, "REMOVE takes the tag away; remove the value, or write UPSERT");
        }
        Operation::Upsert | Operation::Remove => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Row, check};
    use super::Telemetry;
    use serde_json::{Value, json};

    #[test]
    fn what_is_told_and_to_whom() {
        let tracing = |tracing: Value| json!({"tracing": [tracing]});
        let tag = |tag: Value| tracing(json!({"customTags": {"a": tag}}));
        let overrides = |overrides: Value| json!({"metrics": [{"overrides": [overrides]}]});
        let metric = |tag: Value| overrides(json!({"tagOverrides": {"a": tag}}));
        check::<Telemetry>(&[
            Row("nothing", json!({}), &[], &[]),
            Row("to somebody", json!({"metrics": [{"providers": [{"name": "a"}]}]}), &[], &[]),
            Row(
                "to nobody",
                json!({"metrics": [{"providers": [{}]}]}),
                &["spec.metrics[0].providers[0].name"],
                &[],
            ),
            Row(
                "to nobody",
                tracing(json!({"providers": [{"name": ""}]})),
                &["spec.tracing[0].providers[0].name"],
                &[],
            ),
            Row(
                "to nobody",
                json!({"accessLogging": [{}, {"providers": [{}]}]}),
                &["spec.accessLogging[1].providers[0].name"],
                &[],
            ),
            Row("twice", json!({"tracing": [{}, {}]}), &[], &["spec.tracing"]),
            Row(
                "to two",
                tracing(json!({"providers": [{"name": "a"}, {"name": "b"}]})),
                &[],
                &["spec.tracing[0].providers"],
            ),
            Row("all", tracing(json!({"randomSamplingPercentage": 100})), &[], &[]),
            Row(
                "more than all",
                tracing(json!({"randomSamplingPercentage": 100.1})),
                &["spec.tracing[0].randomSamplingPercentage"],
                &[],
            ),
            Row(
                "less than none",
                tracing(json!({"randomSamplingPercentage": -1})),
                &["spec.tracing[0].randomSamplingPercentage"],
                &[],
            ),
            Row("a tag", tag(json!({"literal": {"value": "a"}})), &[], &[]),
            Row(
                "no text",
                tag(json!({"literal": {}})),
                &["spec.tracing[0].customTags[a].literal.value"],
                &[],
            ),
            Row(
                "no header",
                tag(json!({"header": {"defaultValue": "a"}})),
                &["spec.tracing[0].customTags[a].header.name"],
                &[],
            ),
            Row(
                "no variable",
                tag(json!({"environment": {}})),
                &["spec.tracing[0].customTags[a].environment.name"],
                &[],
            ),
            Row(
                "no name",
                tracing(json!({"customTags": {"": {"literal": {"value": "a"}}}})),
                &["spec.tracing[0].customTags"],
                &[],
            ),
            Row("a value", metric(json!({"value": "request.host"})), &[], &[]),
            Row(
                "no value",
                metric(json!({"operation": "UPSERT"})),
                &["spec.metrics[0].overrides[0].tagOverrides[a].value"],
                &[],
            ),
            Row("taken away", metric(json!({"operation": "REMOVE"})), &[], &[]),
            Row(
                "taken away with a value",
                metric(json!({"operation": "REMOVE", "value": "a"})),
                &["spec.metrics[0].overrides[0].tagOverrides[a].value"],
                &[],
            ),
            Row(
                "no name",
                overrides(json!({"tagOverrides": {"": {"operation": "REMOVE"}}})),
                &[],
                &["spec.metrics[0].overrides[0].tagOverrides"],
            ),
            Row(
                "no metric",
                overrides(json!({"match": {"customMetric": ""}})),
                &["spec.metrics[0].overrides[0].match.customMetric"],
                &[],
            ),
        ]);
    }
}

//! Rules of ProxyConfigs.

use super::scalar::not_negative;
use super::{At, Findings, Validate, labels};
use crate::istio::networking::v1beta1::ProxyConfig;
use crate::k8s::ObjectMeta;

impl Validate for ProxyConfig {
    fn validate(&self, _: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        if let Some(selector) = &self.selector {
            labels::selector(&spec.field("selector").field("matchLabels"), &selector.match_labels, out);
        }
        if let Some(concurrency) = &self.concurrency {
            not_negative(&spec.field("concurrency"), concurrency.value, out);
        }
    }
}

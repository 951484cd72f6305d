//! WasmPlugin and TrafficExtension: where a module comes from, and what it runs with.

use super::selection::Selection;
use super::{At, Findings, Validate, scalar, url};
use crate::istio::extensions::v1alpha1::traffic_extension::FilterConfig;
use crate::istio::extensions::v1alpha1::{EnvValueSource, TrafficExtension, VmConfig, WasmPlugin};
use crate::istio::r#type::v1beta1::PortSelector;
use crate::k8s::ObjectMeta;

/// The longest name of a plugin or a variable, in bytes.
const MAX_NAME: usize = 256;
/// The longest name of a Secret, in bytes.
const MAX_SECRET: usize = 253;
/// The longest script, in bytes.
const MAX_SCRIPT: usize = 64 << 10;
/// The digits of a SHA-256.
const DIGEST: usize = 64;

impl Validate for WasmPlugin {
    fn validate(&self, _: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        let selection = Selection {
            selector: self.selector.as_ref(),
            target_ref: self.target_ref.as_ref(),
            target_refs: &self.target_refs,
        };
        selection.check(spec, out);
        let module = Module {
            url: &self.url,
            sha256: &self.sha256,
            secret: &self.image_pull_secret,
            name: &self.plugin_name,
            vm: self.vm_config.as_ref(),
        };
        module.check(spec, out);
        ports(spec, self.r#match.iter().map(|m| m.ports.as_slice()), out);
    }
}

impl Validate for TrafficExtension {
    fn validate(&self, _: &ObjectMeta, spec: &At<'_>, out: &mut Findings) {
        let selection =
            Selection { selector: self.selector.as_ref(), target_ref: None, target_refs: &self.target_refs };
        selection.check(spec, out);
        match &self.filter_config {
            None => out.error(spec, "has neither wasm nor lua; say what to run"),
            Some(FilterConfig::Lua(lua)) => {
                let at = spec.field("lua");
                let at = at.field("inlineCode");
                let length = lua.inline_code.len();
                if length == 0 {
                    out.error(&at, "missing: write the script");
                } else if length > MAX_SCRIPT {
                    out.error(&at, format!("is {length} bytes long; at most {MAX_SCRIPT} are allowed"));
                }
            }
            Some(FilterConfig::Wasm(wasm)) => {
                let module = Module {
                    url: &wasm.url,
                    sha256: &wasm.sha256,
                    secret: &wasm.image_pull_secret,
                    name: &wasm.plugin_name,
                    vm: wasm.vm_config.as_ref(),
                };
                module.check(&spec.field("wasm"), out);
            }
        }
        ports(spec, self.r#match.iter().map(|m| m.ports.as_slice()), out);
    }
}

/// A module of WebAssembly.
struct Module<'a> {
    url: &'a str,
    sha256: &'a str,
    secret: &'a str,
    name: &'a str,
    vm: Option<&'a VmConfig>,
}

impl Module<'_> {
    fn check(&self, at: &At<'_>, out: &mut Findings) {
        out.check(&at.field("url"), address(self.url));
        let digest = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !self.sha256.is_empty() && (self.sha256.len() != DIGEST || !self.sha256.bytes().all(digest)) {
            out.error(
                &at.field("sha256"),
                format!("{:?} is no SHA-256; write {DIGEST} digits of 0-9 and a-f", self.sha256),
            );
        }
        too_long(&at.field("imagePullSecret"), self.secret, MAX_SECRET, out);
        too_long(&at.field("pluginName"), self.name, MAX_NAME, out);
        if let Some(vm) = self.vm {
            environment(&at.field("vmConfig").field("env"), vm, out);
        }
    }
}

fn too_long(at: &At<'_>, text: &str, limit: usize, out: &mut Findings) {
    if text.len() > limit {
        out.error(at, format!("is {} bytes long; at most {limit} are allowed", text.len()));
    }
}

/// Where a module is. Without a scheme it is an image.
fn address(text: &str) -> Option<String> {
    const SCHEMES: [&str; 4] = ["file", "http", "https", "oci"];
    if text.is_empty() {
        return Some("missing: say where the module is".to_owned());
    }
    match url::parse_request(text) {
        Ok(url) if !url.scheme.is_empty() && !SCHEMES.iter().any(|s| url.scheme.eq_ignore_ascii_case(s)) => {
            Some(format!("{text:?} begins with {}; write oci, http, https or file", url.scheme))
        }
        Ok(_) => url::parse(text).err().map(|problem| format!("{text:?} {problem}")),
        Err(problem) => {
            let image = format!("http://{text}");
            let bad = url::parse_request(&image).is_err() || url::parse(&image).is_err();
            bad.then(|| format!("{text:?} {problem}"))
        }
    }
}

fn environment(at: &At<'_>, vm: &VmConfig, out: &mut Findings) {
    for (i, variable) in vm.env.iter().enumerate() {
        let at = at.index(i);
        let name = at.field("name");
        if variable.name.is_empty() {
            out.error(&name, "missing: name the variable");
        } else if vm.env[..i].iter().any(|other| other.name == variable.name) {
            out.error(&name, format!("{} is set twice; set it once", variable.name));
        }
        too_long(&name, &variable.name, MAX_NAME, out);
        if variable.value_from() != EnvValueSource::Inline && !variable.value.is_empty() {
            out.error(
                &at.field("value"),
                "comes from elsewhere (valueFrom); remove the value, or write INLINE there",
            );
        }
    }
}

fn ports<'a>(spec: &At<'_>, matches: impl Iterator<Item = &'a [PortSelector]>, out: &mut Findings) {
    let at = spec.field("match");
    for (i, ports) in matches.enumerate() {
        let at = at.index(i);
        let at = at.field("ports");
        for (i, port) in ports.iter().enumerate() {
            out.check(&at.index(i).field("number"), scalar::port(port.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Row, check, fields, meta, of};
    use super::{TrafficExtension, WasmPlugin};
    use serde_json::{Value, json};

    #[test]
    fn modules() {
        let at_url = |url: &str| json!({"url": url});
        let env = |env: Value| json!({"url": "a.com/b", "vmConfig": {"env": env}});
        let with = |field: &str, value: Value| json!({"url": "a.com/b", field: value});
        let long = "a".repeat(257);
        check::<WasmPlugin>(&[
            Row("an image", at_url("oci://a.com/b:v1"), &[], &[]),
            Row("an image without a scheme", at_url("a.com:5000/b:v1"), &[], &[]),
            Row("a file", at_url("file:///opt/a.wasm"), &[], &[]),
            Row("a URL", at_url("HTTPS://a.com/b.wasm"), &[], &[]),
            Row("nowhere", json!({}), &["spec.url"], &[]),
            Row("another scheme", at_url("ftp://a.com/b"), &["spec.url"], &[]),
            Row("no URL", at_url("http://a.com/\u{1}"), &["spec.url"], &[]),
            Row("a digest", with("sha256", json!("0f".repeat(32))), &[], &[]),
            Row("a short digest", with("sha256", json!("0f")), &["spec.sha256"], &[]),
            Row("a loud digest", with("sha256", json!("0F".repeat(32))), &["spec.sha256"], &[]),
            Row("a long secret", with("imagePullSecret", json!(long)), &["spec.imagePullSecret"], &[]),
            Row("a long name", with("pluginName", json!(long)), &["spec.pluginName"], &[]),
            Row(
                "variables",
                env(json!([{"name": "A", "value": "a"}, {"name": "B", "valueFrom": "HOST"}])),
                &[],
                &[],
            ),
            Row("no name", env(json!([{"value": "a"}])), &["spec.vmConfig.env[0].name"], &[]),
            Row("a long name", env(json!([{"name": long}])), &["spec.vmConfig.env[0].name"], &[]),
            Row("twice", env(json!([{"name": "A"}, {"name": "A"}])), &["spec.vmConfig.env[1].name"], &[]),
            Row(
                "two values",
                env(json!([{"name": "A", "value": "a", "valueFrom": "HOST"}])),
                &["spec.vmConfig.env[0].value"],
                &[],
            ),
            Row(
                "ports",
                with("match", json!([{"ports": [{"number": 80}, {"number": 0}]}])),
                &["spec.match[0].ports[1].number"],
                &[],
            ),
        ]);
    }

    #[test]
    fn extensions() {
        check::<TrafficExtension>(&[
            Row("a module", json!({"wasm": {"url": "a.com/b"}}), &[], &[]),
            Row("a module from nowhere", json!({"wasm": {}}), &["spec.wasm.url"], &[]),
            Row("a script", json!({"lua": {"inlineCode": "a"}}), &[], &[]),
            Row("no script", json!({"lua": {}}), &["spec.lua.inlineCode"], &[]),
            Row("nothing", json!({}), &["spec"], &[]),
            Row(
                "ports",
                json!({"lua": {"inlineCode": "a"}, "match": [{"ports": [{"number": 70000}]}]}),
                &["spec.match[0].ports[0].number"],
                &[],
            ),
        ]);
        let long = json!({"lua": {"inlineCode": "a".repeat((64 << 10) + 1)}});
        assert_eq!(fields(&of::<TrafficExtension>(&meta(&[]), long)).0, ["spec.lua.inlineCode"]);
    }
}

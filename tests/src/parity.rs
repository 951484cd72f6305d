//! The reference cases beside the repository: a state of a cluster, and the proxies that ask.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use meltemi_api::envoy::config::core::v3::{Extension, Node};
use serde_json::Value;

use crate::{objects, setup, xds_client};

/// One case.
#[derive(Debug)]
pub struct Case {
    /// `SUITE/CASE`.
    pub name: String,
    dir: PathBuf,
}

impl Case {
    /// The case `SUITE/CASE`.
    pub fn open(name: &str) -> Result<Self> {
        Ok(Self { name: name.into(), dir: setup::shared()?.join("parity/cases").join(name) })
    }

    /// All cases, sorted by name; those of one suite or of one name if `only` is not empty.
    pub fn all(only: &str) -> Result<Vec<Self>> {
        let cases = setup::shared()?.join("parity/cases");
        let mut all = Vec::new();
        for suite in fs::read_dir(&cases)?.flatten().map(|e| e.path()) {
            let inside = fs::read_dir(&suite).with_context(|| format!("reading {}", suite.display()))?;
            for dir in inside.flatten().map(|e| e.path()).filter(|d| d.join("state.yaml").is_file()) {
                let name = dir.strip_prefix(&cases)?.display().to_string();
                if only.is_empty()
                    || name == only
                    || name.strip_prefix(only).is_some_and(|n| n.starts_with('/'))
                {
                    all.push(Self { name, dir });
                }
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The objects of its state, as YAML.
    pub fn state(&self) -> Result<String> {
        let path = self.dir.join("state.yaml");
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Its mesh configuration, as YAML.
    pub fn mesh(&self) -> String {
        fs::read_to_string(self.dir.join("mesh.yaml")).unwrap_or_else(|_| "{}\n".into())
    }

    /// The nodes that ask, with their names.
    pub fn proxies(&self) -> Result<Vec<(String, Node)>> {
        let text = fs::read_to_string(self.dir.join("proxies.json"))?;
        let proxies: Vec<Value> = serde_json::from_str(&text)?;
        let named = |p: &Value| (p["name"].as_str().unwrap_or_default().to_string(), xds_client::node(p));
        Ok(proxies.iter().map(named).collect())
    }

    /// The nodes that ask, each as Istio's own proxy and as a stock Envoy.
    pub fn proxies_of_both_kinds(&self) -> Result<Vec<(String, Node)>> {
        let stock = stock_extensions()?;
        let both = |(name, node): (String, Node)| {
            let twin = Node { extensions: stock.clone(), ..node.clone() };
            [(name.clone(), node), (format!("{name}, stock"), twin)]
        };
        Ok(self.proxies()?.into_iter().flat_map(both).collect())
    }
}

/// What a stock Envoy says that it has.
fn stock_extensions() -> Result<Vec<Extension>> {
    let text = fs::read_to_string(setup::shared()?.join("parity/stock-extensions.json"))?;
    let all: Vec<Value> = serde_json::from_str(&text)?;
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let extension = |e: &Value| Extension {
        name: text(&e["name"]),
        category: text(&e["category"]),
        type_urls: e["type_urls"].as_array().into_iter().flatten().map(text).collect(),
        ..Default::default()
    };
    Ok(all.iter().map(extension).collect())
}

/// The definitions of Istio's and the Gateway API's kinds.
pub fn definitions() -> Result<Vec<Value>> {
    let dir = setup::shared()?.join("parity/crds");
    let mut all = objects::read(&dir.join("crd-all.gen.yaml"))?;
    all.extend(objects::read(&dir.join("gateway-api-crd.yaml"))?);
    Ok(all)
}

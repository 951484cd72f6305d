//! The annotations, labels and environment variables that the code knows, found in the code itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use clap::Parser;
use meltemi_control_plane::config::{Cli, Command, Config, Env};

use super::repository;

/// A type of xDS that looks like a key.
const DEBUG_TYPE: &str = "istio.io/debug";

/// The folders whose code decides what proxies are sent.
const CODE: [&str; 5] =
    ["api/src", "xds/world/src", "xds/translation/src", "xds/server/src", "control-plane/src"];

/// The keys of annotations and labels that the code names: string literals with the domain of Istio. Not those by which
/// Meltemi's own parts tell each other something (`internal.istio.io`).
///
/// # Errors
/// If the code cannot be read.
pub fn annotations() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for folder in CODE {
        each_file(&repository().join(folder), &mut |text| {
            found.extend(literals(text).filter(|l| is_key(l)).map(str::to_owned));
        })?;
    }
    Ok(found)
}

/// The environment variables that the command `discovery` asks for.
///
/// # Errors
/// If it cannot be started without arguments.
pub fn variables() -> Result<BTreeSet<String>> {
    let Command::Discovery(flags) = Cli::try_parse_from(["meltemi", "discovery"])?.command else {
        anyhow::bail!("`discovery` is no command")
    };
    let mut env = Env::default();
    Config::new(*flags, &mut env);
    Ok(env.asked().map(str::to_owned).collect())
}

fn each_file(dir: &Path, visit: &mut impl FnMut(&str)) -> Result<()> {
    for path in fs::read_dir(dir)?.flatten().map(|e| e.path()) {
        if path.is_dir() {
            each_file(&path, visit)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path)?;
            // What tests name is not what the code reads.
            visit(text.split("#[cfg(test)]").next().unwrap_or_default());
        }
    }
    Ok(())
}

fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').filter(|l| l.contains("istio.io/"))
}

/// A key is a domain and a name; what begins so and goes on is an API version, or the name of something.
fn is_key(literal: &str) -> bool {
    let Some((domain, name)) = literal.split_once('/') else { return false };
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let version = name.strip_prefix('v').is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
    word(domain)
        && word(name)
        && domain.ends_with("istio.io")
        && domain != "internal.istio.io"
        && !version
        && literal != DEBUG_TYPE
}

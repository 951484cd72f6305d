//! Environment variables as Istio's agent reads them: one that is empty counts as not set.

use std::{collections::BTreeMap, time::Duration};

use meltemi_api::wkt;

use crate::Error;

/// The variables of a process.
#[derive(Clone, Debug, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// Those of this process. A variable that is no text is left out.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// These.
    pub fn of<'a>(vars: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(vars.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    /// With more, which count only where the process has none: `proxyMetadata` of the ProxyConfig.
    pub fn with(&self, more: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut all: BTreeMap<_, _> = more.into_iter().collect();
        all.extend(self.0.clone());
        Self(all)
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|v| !v.is_empty()).cloned()
    }

    /// A text with a default.
    pub fn text(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or_else(|| default.to_owned())
    }

    /// A text that must be there.
    pub fn required(&self, name: &str) -> Result<String, Error> {
        self.get(name).ok_or_else(|| Error::setting(name, "is not set; the Pod's template must set it"))
    }

    /// A switch, off by default.
    pub fn switch(&self, name: &str) -> Result<bool, Error> {
        self.flag(name, false)
    }

    /// A switch with a default.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        match self.get(name).as_deref() {
            None => Ok(default),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(other) => Err(Error::setting(name, format!("is {other:?}, neither true nor false"))),
        }
    }

    /// A number with a default.
    pub fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, Error> {
        let number = |text: String| {
            text.parse().map_err(|_| Error::setting(name, format!("is {text:?}, which is no number here")))
        };
        self.get(name).map_or(Ok(default), number)
    }

    /// A number from 0 to 1.
    pub fn ratio(&self, name: &str, default: f64) -> Result<f64, Error> {
        let ratio = self.number(name, default)?;
        if (0.0..=1.0).contains(&ratio) {
            return Ok(ratio);
        }
        Err(Error::setting(name, format!("is {ratio}; it must be from 0 to 1")))
    }

    /// A duration as Go writes it.
    pub fn duration(&self, name: &str, default: Duration) -> Result<Duration, Error> {
        self.get(name).map_or(Ok(default), |text| duration(name, &text))
    }

    /// The variables with a prefix, which is cut off.
    pub fn under(&self, prefix: &str) -> Vec<(String, String)> {
        let tail =
            |(name, value): (&String, &String)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()));
        self.0.iter().filter_map(tail).filter(|(name, _)| !name.is_empty()).collect()
    }
}

/// Reads a duration as Go writes it; `name` is where it stands, for errors.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration, Error> {
    let parsed: wkt::Duration = text.parse().map_err(|e| Error::setting(name, e))?;
    wkt::to_std_duration(&parsed).ok_or_else(|| Error::setting(name, "must not be negative"))
}

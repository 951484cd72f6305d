//! The environment, read once and then passed on: nothing else of the control plane reads it.

use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use super::duration;

/// Environment variables, and what was wrong with those that were asked for.
#[derive(Clone, Debug, Default)]
pub struct Env {
    vars: BTreeMap<String, String>,
    asked: BTreeSet<String>,
    notices: Vec<String>,
}

/// How istiod's own settings begin, whatever release they are of.
const ISTIOD_PREFIXES: [&str; 5] = ["PILOT_", "CITADEL_", "AMBIENT_", "ISTIO_", "ENABLE_"];

impl Env {
    /// Those of the process.
    pub fn of_process() -> Self {
        let utf8 =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self { vars: utf8.collect(), ..Self::default() }
    }

    /// These ones.
    pub fn of<'a>(vars: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let vars = vars.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Self { vars, ..Self::default() }
    }

    /// The value of a variable, if it is set; an empty one counts as set.
    pub fn get(&mut self, name: &str) -> Option<&str> {
        self.asked.insert(name.to_owned());
        self.vars.get(name).map(String::as_str)
    }

    /// The names that were asked for so far, whether set or not.
    pub fn asked(&self) -> impl Iterator<Item = &str> {
        self.asked.iter().map(String::as_str)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vars.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A text, or its default where the variable is not set.
    pub fn text(&mut self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or(default).to_owned()
    }

    /// A switch, spelled as Go's `strconv.ParseBool` takes it. Anything else is reported and the default holds.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        self.read(name, default, |text| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => Err(format!("{other:?} is neither true nor false")),
        })
    }

    /// A number. Anything else is reported and the default holds.
    pub fn number<T: std::str::FromStr + Display + Copy>(&mut self, name: &str, default: T) -> T {
        self.read(name, default, |text| {
            text.trim().parse().map_err(|_| format!("{text:?} is not a number that fits"))
        })
    }

    /// A Go duration. Anything else is reported and the default holds.
    pub fn duration(&mut self, name: &str, default: Duration) -> Duration {
        let text = format!("{default:?}");
        match self.get(name).map(duration::parse) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(problem)) => {
                self.notices.push(format!("environment variable {name}: {problem}; using {text}"));
                default
            }
        }
    }

    /// Networks, separated by commas. What is none is reported and left out.
    pub fn networks(&mut self, name: &str) -> Vec<IpNet> {
        let text = self.text(name, "");
        let mut networks = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            match part.parse() {
                Ok(network) => networks.push(network),
                Err(_) => self.notices.push(format!(
                    "environment variable {name}: {part:?} is no network such as 10.0.0.0/8; it is left out"
                )),
            }
        }
        networks
    }

    /// Notes something for the operator.
    pub fn notice(&mut self, text: String) {
        self.notices.push(text);
    }

    /// What was noted so far; hands it over.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The variables that look like settings of istiod and that nothing asked for: they have no effect.
    pub fn unused(&self) -> Vec<&str> {
        self.vars
            .keys()
            .map(String::as_str)
            .filter(|name| ISTIOD_PREFIXES.iter().any(|p| name.starts_with(p)))
            // Kubernetes announces every Service of the namespace by variables such as these.
            .filter(|name| !name.contains("_SERVICE_HOST") && !name.contains("_PORT"))
            .filter(|name| !self.asked.contains(*name))
            .collect()
    }

    fn read<T: Display + Copy>(
        &mut self,
        name: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        match self.get(name).map(parse) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(problem)) => {
                self.notices.push(format!("environment variable {name}: {problem}; using {default}"));
                default
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_value_is_reported_and_the_default_holds() {
        let mut env = Env::of([("A", "maybe"), ("B", "x"), ("C", "10"), ("D", "T"), ("E", "10.0.0.0/8, x")]);
        assert!(env.flag("A", true));
        assert_eq!(env.number("B", 7u32), 7);
        assert_eq!(env.duration("C", Duration::from_secs(1)), Duration::from_secs(1));
        assert!(env.flag("D", false));
        assert_eq!(env.networks("E"), ["10.0.0.0/8".parse().unwrap()]);
        let notices = env.take_notices();
        assert_eq!(notices.len(), 4, "{notices:?}");
        assert!(notices[0].contains('A') && notices[0].contains("using true"), "{notices:?}");
    }

    #[test]
    fn settings_that_nothing_reads_are_named() {
        let mut env = Env::of([
            ("PILOT_HTTP10", "1"),
            ("PILOT_SPAWN_UPSTREAM_SPAN_FOR_GATEWAY", "1"),
            ("ISTIO_EGRESSGATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "/bin"),
        ]);
        assert!(env.flag("PILOT_HTTP10", false));
        assert_eq!(env.unused(), ["PILOT_SPAWN_UPSTREAM_SPAN_FOR_GATEWAY"]);
    }
}

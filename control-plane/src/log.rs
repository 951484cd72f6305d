//! Logs: istiod's flags for them, on `tracing`.

use std::io;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

use crate::config::Discovery;

/// Changes what is logged while the process runs.
pub type Levels = reload::Handle<EnvFilter, tracing_subscriber::Registry>;

/// istiod's scopes, and what here logs the same things.
const SCOPES: [(&str, &[&str]); 12] = [
    ("ads", &["ads", "meltemi_server", "meltemi_distribution"]),
    ("delta", &["ads", "meltemi_server", "meltemi_distribution"]),
    ("xds", &["ads", "meltemi_server", "meltemi_distribution"]),
    ("model", &["meltemi_world", "meltemi_translation"]),
    ("serviceentry", &["meltemi_world"]),
    ("kube", &["meltemi_control_plane::sources::kube", "kube_client", "kube_runtime"]),
    ("klog", &["kube_client", "kube_runtime"]),
    ("file", &["meltemi_control_plane::sources::file"]),
    ("ca", &["meltemi_ca"]),
    ("security", &["meltemi_ca"]),
    ("pkica", &["meltemi_ca"]),
    ("status", &["meltemi_control_plane::status"]),
];

/// Starts logging as the flags say. The texts are what of them was not understood.
pub fn start(flags: &Discovery) -> (Option<Levels>, Vec<String>) {
    let to_stderr = flags.log_target.iter().all(|t| t == "stderr") && !flags.log_target.is_empty();
    start_at(&flags.log_output_level, flags.log_as_json, to_stderr)
}

/// Starts logging at levels written as `--log_output_level` has them, for commands with fewer flags.
pub fn start_at(levels: &str, as_json: bool, to_stderr: bool) -> (Option<Levels>, Vec<String>) {
    let (filter, problems) = filter(levels);
    let (filter, levels) = reload::Layer::new(filter);
    let writer: fn() -> Box<dyn io::Write> =
        if to_stderr { || Box::new(io::stderr()) } else { || Box::new(io::stdout()) };
    let output = if as_json {
        fmt::layer().json().flatten_event(true).with_writer(writer).boxed()
    } else {
        fmt::layer().with_ansi(false).with_writer(writer).boxed()
    };
    let started = tracing_subscriber::registry().with(filter).with(output).try_init().is_ok();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name().unwrap_or_default(), "bug: {panic}; please report it");
    }));
    (started.then_some(levels), problems)
}

/// What `--log_output_level` lets through.
pub fn filter(text: &str) -> (EnvFilter, Vec<String>) {
    let (directives, problems) = directives(text);
    let filter = directives
        .iter()
        .filter_map(|d| d.parse().ok())
        .fold(EnvFilter::default().add_directive(LevelFilter::INFO.into()), EnvFilter::add_directive);
    (filter, problems)
}

fn directives(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut directives, mut problems) = (Vec::new(), Vec::new());
    for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
        let (scope, level) = item.split_once(':').unwrap_or(("default", item));
        let level = match level.to_ascii_lowercase().as_str() {
            level @ ("trace" | "debug" | "info" | "warn" | "error") => level.to_owned(),
            "fatal" => "error".to_owned(),
            "none" => "off".to_owned(),
            _ => {
                problems.push(format!(
                    "--log_output_level: {level:?} is not a level; use debug, info, warn, error or none"
                ));
                continue;
            }
        };
        match SCOPES.iter().find(|(name, _)| *name == scope) {
            _ if matches!(scope, "default" | "all") => directives.push(level),
            Some((_, targets)) => directives.extend(targets.iter().map(|t| format!("{t}={level}"))),
            // Not one of istiod's: a module, perhaps. One that does not exist logs nothing.
            None => directives.push(format!("{scope}={level}")),
        }
    }
    (directives, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn istiods_scopes_are_understood() {
        let (directives, problems) = directives("default:warn,ads:debug,ca:none,my_module:info");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            directives,
            [
                "warn",
                "ads=debug",
                "meltemi_server=debug",
                "meltemi_distribution=debug",
                "meltemi_ca=off",
                "my_module=info"
            ]
        );
        assert_eq!(super::directives("debug").0, ["debug"]);
    }

    #[test]
    fn a_level_that_does_not_exist_is_named() {
        let (filter, problems) = filter("default:loud,model:debug");
        assert!(problems[0].contains("loud"), "{problems:?}");
        assert!(filter.to_string().contains("meltemi_world=debug"), "{filter}");
    }
}

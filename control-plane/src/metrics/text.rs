//! Prometheus' text format, with names as they were registered.

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;
use std::fmt::Write;
use std::time::Duration;

/// All metrics of a registry.
pub(super) fn of(registry: &Registry) -> String {
    let mut open = String::new();
    if let Err(error) = encode_registry(&mut open, registry) {
        tracing::error!(%error, "metrics cannot be encoded");
    }
    prometheus(&open)
}

/// Turns OpenMetrics into Prometheus' own format, where a counter may be called as one likes.
fn prometheus(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    let mut counter = String::new();
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The encoder ends each help with a full stop.
            let _ = writeln!(out, "# HELP {rest}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            counter = rest.strip_suffix(" counter").map(|name| format!("{name}_total")).unwrap_or_default();
            let _ = writeln!(out, "# TYPE {rest}");
        } else if let Some(rest) =
            line.strip_prefix(&counter).filter(|r| !counter.is_empty() && r.starts_with(['{', ' ']))
        {
            let _ =
                writeln!(out, "{}{rest}", counter.trim_end_matches("_total").to_owned() + suffix(&counter));
        } else if !line.starts_with('#') {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// The registered name of `X_total_total` is `X_total`.
fn suffix(counter: &str) -> &'static str {
    if counter.ends_with("_total_total") { "_total" } else { "" }
}

/// What the kernel says of the process, and how long it has run.
pub(super) fn process(out: &mut String, uptime: Duration) {
    let mut gauge = |name: &str, help: &str, kind: &str, value: f64| {
        let _ = write!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    gauge("istiod_uptime_seconds", "Seconds since the process started", "gauge", uptime.as_secs_f64());
    let Some(process) = Process::read() else { return };
    gauge("process_cpu_seconds_total", "CPU time in seconds", "counter", process.cpu_seconds);
    gauge("process_resident_memory_bytes", "Memory in use", "gauge", process.resident);
    gauge("process_virtual_memory_bytes", "Address space in use", "gauge", process.virtual_memory);
    gauge("process_threads", "Threads", "gauge", process.threads);
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        gauge("process_open_fds", "Open files", "gauge", files.count() as f64);
    }
}

struct Process {
    cpu_seconds: f64,
    resident: f64,
    virtual_memory: f64,
    threads: f64,
}

impl Process {
    /// Reads `/proc/self/stat`; see proc(5). Ticks are hundredths of a second and pages 4 KiB on all Linux systems that
    /// a control plane runs on.
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index - 3).and_then(|f| f.parse::<f64>().ok());
        Some(Self {
            cpu_seconds: (number(14)? + number(15)?) / 100.0,
            threads: number(20)?,
            virtual_memory: number(23)?,
            resident: number(24)? * 4096.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn counters_are_called_as_they_were_registered() {
        let mut registry = Registry::default();
        let (a, b) = (Counter::<u64>::default(), Counter::<u64>::default());
        registry.register("pilot_pushes", "Pushes", a.clone());
        registry.register("errors_total", "Errors", b.clone());
        a.inc();
        assert_eq!(
            of(&registry),
            "# HELP pilot_pushes Pushes.\n# TYPE pilot_pushes counter\npilot_pushes 1\n\
             # HELP errors_total Errors.\n# TYPE errors_total counter\nerrors_total 0\n"
        );
    }

    #[test]
    fn the_process_is_measured() {
        let mut out = String::new();
        process(&mut out, Duration::from_secs(2));
        assert!(out.contains("istiod_uptime_seconds 2\n"), "{out}");
        let memory = out.lines().find_map(|l| l.strip_prefix("process_resident_memory_bytes ")).unwrap();
        assert!(memory.parse::<f64>().unwrap() > 100_000.0);
    }
}

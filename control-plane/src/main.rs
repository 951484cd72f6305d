//! The `meltemi` binary.

use meltemi_agent::cli::Agent;
use meltemi_agent::{iptables, run};
use meltemi_control_plane::config::{self, Command};
use meltemi_control_plane::{log, request, version, wire};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (cli, unknown) = match config::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let done = match cli.command {
        Command::Discovery(flags) => runtime.block_on(wire::discovery(*flags, unknown)),
        Command::Request(flags) => runtime.block_on(request::send(&flags)).map(|answer| print(&answer)),
        Command::Agent(Agent::Proxy(flags)) => {
            start_log(&flags.log_output_level, flags.log_as_json, unknown);
            match runtime.block_on(run::proxy(&flags)) {
                Ok(code) => return ExitCode::from(code),
                Err(error) => Err(error.into()),
            }
        }
        Command::Agent(Agent::Wait(flags)) => runtime.block_on(run::wait(&flags)).map_err(Into::into),
        Command::IstioIptables(flags) => {
            start_log(&flags.log_output_level, flags.log_as_json, unknown);
            iptables::run(flags.capture, &mut std::io::stdout()).map_err(Into::into)
        }
        Command::Version(flags) => {
            print(&version::text(flags.output.as_deref(), flags.short));
            Ok(())
        }
    };
    done.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// Starts a log on standard output, with what of the command line has no effect.
fn start_log(levels: &str, as_json: bool, unknown: Vec<String>) {
    let (_, problems) = log::start_at(levels, as_json, false);
    for problem in problems {
        tracing::warn!("{problem}");
    }
    for flag in unknown {
        tracing::warn!("unknown flag --{flag} is ignored");
    }
}

fn print(text: &str) {
    // A reader that has gone away, such as `head`, is no failure.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "meltemi: {error:#}");
    ExitCode::FAILURE
}

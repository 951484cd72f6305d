//! The `meltemi` binary.

use meltemi_control_plane::config::{self, Command};
use meltemi_control_plane::{request, version, wire};
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
        Command::Version(flags) => {
            print(&version::text(flags.output.as_deref(), flags.short));
            Ok(())
        }
    };
    done.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

fn print(text: &str) {
    // A reader that has gone away, such as `head`, is no failure.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "meltemi: {error:#}");
    ExitCode::FAILURE
}

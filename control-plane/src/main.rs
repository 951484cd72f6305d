//! The `meltemi` binary.

use clap::Parser;
use meltemi_control_plane::config::{Cli, Command, args};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (known, unknown) = args::known(std::env::args_os());
    let cli = Cli::parse_from(known);
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    for flag in unknown {
        tracing::warn!("unknown flag {flag} is ignored");
    }
    match cli.command {
        Command::Discovery(flags) => meltemi_control_plane::wire::discovery(*flags).await,
        _ => Ok(()),
    }
}

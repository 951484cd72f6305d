//! The workload and the client of the tests, as one program that runs inside a network namespace.

use anyhow::Result;
use clap::Parser;
use meltemi_tests::{ext_authz::Authorizer, load::Load, server::Server};

#[derive(Parser)]
enum Command {
    /// Serve HTTP and TCP echo.
    Serve(Server),
    /// Decide on requests that proxies ask about.
    Authorize(Authorizer),
    /// Send HTTP requests and print what came of them as JSON.
    Get(Load),
}

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout, reason = "the report is what this program is for")]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Serve(server) => server.run().await,
        Command::Authorize(authorizer) => authorizer.run().await,
        Command::Get(load) => {
            println!("{}", serde_json::to_string(&load.run().await?)?);
            Ok(())
        }
    }
}

//! What policies decide: a table of callers, requests and outcomes, through stock Envoys.
//!
//! One mesh for all: `bank/server` is asked by `bank/teller` and `guest/visitor`, which have proxies, and by an outsider that
//! has none. Sets of policies take each other's place; each has its rows.

mod authentication;
mod authorization;
mod bank;
mod conditions;
mod custom;
mod tcp;

use anyhow::{Result, ensure};
use bank::Bank;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_are_those_of_the_table() -> Result<()> {
    let tokens = authentication::Tokens::new()?;
    let stages = [
        authorization::stages(),
        conditions::stages(),
        tcp::stages(),
        authentication::peers(),
        authentication::tokens(&tokens)?,
        custom::stages(),
    ];
    let mut bank = Bank::open(custom::MESH).await?;
    let mut wrong = Vec::new();
    let mut rows = 0;
    for stage in stages.into_iter().flatten() {
        rows += stage.rows.len();
        wrong.extend(bank.play(stage).await?);
    }
    ensure!(rows > 200, "only {rows} rows were tried");
    ensure!(wrong.is_empty(), "{} of {rows} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    bank.nothing_rejected().await
}

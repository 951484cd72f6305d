//! Scenarios that share a mesh: each brings its own configuration, all of it is there at the start, and then all run at once.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::{LocalBoxFuture, join_all};
use serde_json::Value;

use crate::state::State;

type Run<S> = Box<dyn for<'a> FnOnce(&'a S) -> LocalBoxFuture<'a, Result<()>>>;

/// Longer than any scenario takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// A claim, and how to try it on a mesh `S`.
pub struct Scenario<S> {
    claim: &'static str,
    file: &'static str,
    config: Vec<Value>,
    run: Run<S>,
}

impl<S> Scenario<S> {
    /// A claim that needs these objects, kept in a file of the state of their own.
    pub fn new(
        claim: &'static str,
        file: &'static str,
        config: Vec<Value>,
        run: impl AsyncFnOnce(&S) -> Result<()> + 'static,
    ) -> Self {
        Self { claim, file, config, run: Box::new(move |mesh| Box::pin(async move { run(mesh).await })) }
    }
}

/// Writes what the scenarios need.
pub fn prepare<S>(scenarios: &[Scenario<S>], state: &State) -> Result<()> {
    scenarios.iter().try_for_each(|s| state.write(s.file, &s.config))
}

/// Runs them all to their ends, and fails with all that failed.
pub async fn play<S>(scenarios: Vec<Scenario<S>>, mesh: &S) -> Result<()> {
    let runs = scenarios.into_iter().map(|scenario| async move {
        let began = Instant::now();
        let outcome = tokio::time::timeout(LIMIT, (scenario.run)(mesh)).await;
        let outcome = outcome.map_err(anyhow::Error::from).flatten();
        eprintln!("{:5.1} s  {}", began.elapsed().as_secs_f64(), scenario.claim);
        outcome.err().map(|e| format!("- {}: {e:#}", scenario.claim))
    });
    let failed: Vec<String> = join_all(runs).await.into_iter().flatten().collect();
    if !failed.is_empty() {
        bail!("{} scenarios failed:\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}

//! Waiting for a condition, with a deadline.

use std::{
    fmt::{self, Display},
    time::{Duration, Instant},
};

use anyhow::{Error, Result, bail};

/// An error that no further attempt will mend, such as the end of a process.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Asks `probe` again and again until it answers `Ok(Some(_))`.
///
/// `Ok(None)` means "not yet", and so does an error other than [`Hopeless`]: a server that is starting refuses
/// connections. The last error is part of the message when `limit` has passed.
pub async fn until<T>(
    what: impl Display,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(10);
    loop {
        let last: Option<Error> = match probe().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(e) if e.is::<Hopeless>() => return Err(e.context(what.to_string())),
            Err(e) => Some(e),
        };
        if Instant::now() >= end {
            match last {
                Some(e) => bail!("{what}: not within {limit:?}; the last attempt failed: {e:#}"),
                None => bail!("{what}: not within {limit:?}"),
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(200));
    }
}

/// As [`until`], for a condition that has no value.
pub async fn until_true(
    what: impl Display,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, async || Ok(probe().await?.then_some(()))).await
}

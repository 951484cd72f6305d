//! Why the agent cannot do something.

use std::{fmt::Display, io, path::Path};

/// Each says what is wrong and where to change it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or environment variable.
    #[error("{setting} {problem}")]
    Setting {
        /// Its name.
        setting: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// A file that is not there or cannot be read as what it should be.
    #[error("{path}: {problem}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A program that the agent runs.
    #[error("{program}: {why}")]
    Program {
        /// The program and its arguments.
        program: String,
        /// Why it failed.
        why: String,
    },
    /// A server that the agent asks.
    #[error("{address}: {why}")]
    Server {
        /// Its address.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// An answer of the certificate authority that cannot be used.
    #[error("the certificate authority's answer {0}")]
    Certificate(String),
    /// Anything else with files and sockets.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// A setting with a bad value.
    pub fn setting(setting: &str, problem: impl Display) -> Self {
        Self::Setting { setting: setting.to_owned(), problem: problem.to_string() }
    }

    /// A file with a problem.
    pub fn file(path: &Path, problem: impl Display) -> Self {
        Self::File { path: path.display().to_string(), problem: problem.to_string() }
    }

    /// A server that did not answer as it should.
    pub fn server(address: &str, why: impl Display) -> Self {
        Self::Server { address: address.to_owned(), why: why.to_string() }
    }
}

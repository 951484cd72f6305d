//! What can go wrong.

use std::time::SystemTime;

/// Why a certificate request is refused. Names and classes are istiod's, since clients and dashboards know them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing to sign with yet.
    #[error("the certificate authority is not ready")]
    NotReady,
    /// The request cannot be read, is too large, or is not signed by its own key.
    #[error("{0}")]
    Csr(String),
    /// The certificate would be valid for too long.
    #[error("requested TTL {requested} s is greater than the max allowed TTL {most} s")]
    Ttl {
        /// What was asked for, in seconds.
        requested: u64,
        /// What is allowed, in seconds.
        most: u64,
    },
    /// The certificate could not be made.
    #[error("{0}")]
    Generation(String),
}

impl Refusal {
    /// istiod's name of the class, the value of the label `error` of `citadel_server_csr_sign_err_count`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::NotReady => "CA_NOT_READY",
            Self::Csr(_) => "CSR_ERROR",
            Self::Ttl { .. } => "TTL_ERROR",
            Self::Generation(_) => "CERT_GEN_ERROR",
        }
    }

    /// Whether the one who asks is to blame.
    pub fn is_callers_fault(&self) -> bool {
        matches!(self, Self::Csr(_) | Self::Ttl { .. })
    }
}

/// Why a key and certificates do not make a certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMaterial {
    /// A part is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part cannot be read.
    #[error("{part}: {problem}")]
    Unreadable {
        /// Which one: the name of the file or key.
        part: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The key is another one's.
    #[error("the private key does not belong to the signing certificate")]
    WrongKey,
    /// The signing certificate is one of a workload.
    #[error(
        "the signing certificate may not sign others: basicConstraints CA is not set, or keyUsage lacks keyCertSign"
    )]
    NoAuthority,
    /// The signing certificate is out of date.
    #[error("the certificate of {subject} is not valid now: its validity ends {until} s after 1970")]
    Expired {
        /// Whose it is.
        subject: String,
        /// Until when it is valid, in seconds since 1970.
        until: i64,
    },
    /// No root vouches for the signing certificate.
    #[error("no root certificate vouches for the signing certificate {0}, neither directly nor by the chain")]
    Unrooted(String),
    /// The revocation list is of no use.
    #[error("ca-crl.pem: {0}")]
    Crl(String),
    /// A key could not be made.
    #[error("cannot make a key: {0}")]
    NoKey(String),
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

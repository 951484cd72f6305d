//! The certificate authority: who a workload is, and the certificates that prove it.
//!
//! It knows neither Kubernetes nor xDS nor sockets. [`Material`] is what a CA consists of, read and verified;
//! [`Authority`] signs with the material in force, which can be replaced at any time; [`self_signed`] makes and renews
//! a root; [`answer`](Authority::answer) puts the reply to a certificate request together.
#![forbid(unsafe_code)]

mod authority;
mod certificate;
mod csr;
mod error;
mod identity;
mod key;
mod material;
mod pem;
pub mod self_signed;

pub use authority::{Authority, Lifetimes, Served};
pub use certificate::CLOCK_SKEW;
pub use csr::MAX_CSR;
pub use error::{BadMaterial, Refusal};
pub use identity::{Caller, Credential, KubernetesInfo, SpiffeId, uris};
pub use key::{Key, KeyKind};
pub use material::{Certificate, Files, Material, Source};

//! Distribution: what a stream must be sent, given what its proxy has and what it was sent before.
//!
//! Knows names, hashes, nonces and subscriptions, and nothing of Istio. A [`View`] says what a proxy has; a stream
//! compares that with what it sent and yields the difference, one response at a time.
//!
//! **Invariants:** no IO, no clock, no task: time is an argument. Nothing is sent twice unless the client asked for it
//! again or the protocol wants it. What a stream remembers is shared with the views, not copied.
#![forbid(unsafe_code)]

mod isolate;
mod message;
mod resource;
mod stream;
mod subscription;
mod types;
mod watch;

pub use message::{Ask, Protocol, Refusal, Request, Response, Status, Verdict};
pub use resource::{Resource, ResourceSet, Resources, parse_version, version_text, walk};
pub use stream::{HOLD, MAX_NAMES, MAX_TYPES, SETTLE, Stream};
pub use subscription::{ALL, NameLists, Subscription};
pub use types::type_url;

/// What one proxy has, as of one moment. Taken for one push and dropped after it, so that an idle stream holds no old
/// state of the world alive.
pub trait View: Send + Sync {
    /// A number that grows whenever what any proxy has may have changed.
    fn generation(&self) -> u64;

    /// What the proxy has of a type, or nothing if that type is not served to it.
    ///
    /// The answer must hold every existing resource that the subscription covers, and may hold more: streams pick what
    /// they were asked for. So a set that fits all proxies of a view is shared by them whatever each asks for, and a
    /// costly type is made only for the names that are asked for. As long as nothing changed for the proxy, answer with
    /// the very same [`Resources`]: equality by pointer is what makes an unchanged type free.
    fn resources(&self, type_url: &str, subscription: &Subscription) -> Option<Resources>;
}

//! What the engine wants of the outside, and tells it.

use meltemi_translation::sds::certificate::Validity;
use meltemi_translation::sds::secret::Problem;
use meltemi_world::NsName;

/// Stands by while secrets are made. Called while streams wait: note and return.
#[allow(unused_variables)]
pub trait Attendant: Send + Sync + 'static {
    /// A proxy of this service account wants a Secret, and the world does not say whether it may
    /// ([`meltemi_world::identity::SecretAccess`]). Its stream is sent no secrets until then.
    fn review(&self, account: &NsName) {}

    /// A secret was made for proxies of a service account, or why not.
    fn secret(&self, account: Option<&NsName>, name: &str, outcome: Result<Validity, &Problem>) {}
}

/// Does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Attendant for Unattended {}

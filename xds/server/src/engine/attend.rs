//! What the engine wants of the outside, and tells it.

use meltemi_api::istio::networking::v1alpha3::EnvoyFilter;
use meltemi_translation::findings::Finding;
use meltemi_translation::sds::certificate::Validity;
use meltemi_translation::sds::secret::Problem;
use meltemi_world::{Config, NsName};
use std::sync::Arc;

/// Stands by while resources are made. Called while streams wait: note and return.
#[allow(unused_variables)]
pub trait Attendant: Send + Sync + 'static {
    /// A proxy of this service account wants a Secret, and the world does not say whether it may
    /// ([`meltemi_world::identity::SecretAccess`]). Its stream is sent no secrets until then.
    fn review(&self, account: &NsName) {}

    /// A secret was made for proxies of a service account, or why not.
    fn secret(&self, account: Option<&NsName>, name: &str, outcome: Result<Validity, &Problem>) {}

    /// A patch of an EnvoyFilter cannot be read, or does not apply to what was made for some proxy.
    fn patch_failed(&self, filter: &Arc<Config<EnvoyFilter>>, finding: &Finding) {}
}

/// Does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Attendant for Unattended {}

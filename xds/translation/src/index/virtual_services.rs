//! VirtualServices by gateway and by who may see them.

mod delegates;
mod destinations;
mod resolve;

use crate::names::MESH_GATEWAY;
use meltemi_api::istio::networking::v1alpha3::VirtualService;
use meltemi_world::config::{ROUTE_SEMANTICS, SEMANTICS_GATEWAY, SEMANTICS_INGRESS};
use meltemi_world::visibility::Visibility;
use meltemi_world::{Config, Meta, NsName, Snapshot, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use destinations::destinations;

/// A VirtualService whose names are resolved and whose delegates are merged.
pub type SharedVirtualService = Arc<Config<VirtualService>>;

/// Whether a VirtualService was converted from a Gateway API route, whose rules differ (Istio `UseGatewaySemantics`).
pub fn gateway_semantics(meta: &Meta) -> bool {
    meta.annotations.get(ROUTE_SEMANTICS) == Some(SEMANTICS_GATEWAY)
}

/// Whether a VirtualService was converted from an Ingress (Istio `UseIngressSemantics`).
pub fn ingress_semantics(meta: &Meta) -> bool {
    meta.annotations.get(ROUTE_SEMANTICS) == Some(SEMANTICS_INGRESS)
}

/// VirtualServices in order of age, by gateway (`mesh` or `NAMESPACE/NAME`) and visibility.
#[derive(Clone, Debug, Default)]
pub struct VirtualServices {
    bound: BTreeMap<Str, Bound>,
    /// The delegates that a VirtualService names, whether they are there or not.
    delegates: BTreeMap<NsName, Vec<NsName>>,
    /// Each VirtualService without delegates, as it was read and as it is kept.
    resolved: BTreeMap<NsName, (SharedVirtualService, SharedVirtualService)>,
}

/// The VirtualServices bound to one gateway.
#[derive(Clone, Debug, Default)]
struct Bound {
    /// Seen by their own namespace only: by that namespace.
    private: BTreeMap<Str, Vec<SharedVirtualService>>,
    /// Seen by a namespace that they name: by that namespace.
    exported: BTreeMap<Str, Vec<SharedVirtualService>>,
    /// Seen by all.
    public: Vec<SharedVirtualService>,
    /// All of them, also those that nobody may see.
    all: Vec<SharedVirtualService>,
}

impl VirtualServices {
    /// Arranges the snapshot's VirtualServices. Those without hosts are delegates: they count only through the
    /// VirtualServices that refer to them. Source: Istio `PushContext.initVirtualServices`.
    pub fn build(snapshot: &Snapshot) -> Self {
        Self::default().next(snapshot)
    }

    /// As [`build`](Self::build), sharing what is the same as in `self`. The mesh's settings must not have changed.
    pub fn next(&self, snapshot: &Snapshot) -> Self {
        let mut all: Vec<_> =
            snapshot.all_virtual_services().filter(|vs| !vs.spec.hosts.is_empty()).collect();
        all.sort_by(|a, b| a.meta.by_age(&b.meta));
        let delegates = delegates::Delegates::new(snapshot);
        let mut out = Self::default();
        for vs in all {
            let key = vs.meta.key();
            let named: Vec<_> = delegates::named_by(vs).collect();
            let resolved = if named.is_empty() { self.resolve(vs, snapshot) } else { delegates.merge(vs) };
            if named.is_empty() {
                out.resolved.insert(key, (vs.clone(), resolved.clone()));
            } else {
                out.delegates.insert(key, named);
            }
            out.insert(&resolved, &visibility(snapshot, &resolved));
        }
        out
    }

    fn resolve(&self, vs: &SharedVirtualService, snapshot: &Snapshot) -> SharedVirtualService {
        match self.resolved.get(&vs.meta.key()) {
            Some((read, resolved)) if Arc::ptr_eq(read, vs) => resolved.clone(),
            _ if gateway_semantics(&vs.meta) => vs.clone(),
            _ => resolve::names(vs, &snapshot.settings.domain),
        }
    }

    fn insert(&mut self, vs: &SharedVirtualService, visibility: &Visibility) {
        let mesh = [MESH_GATEWAY.to_owned()];
        let gateways = if vs.spec.gateways.is_empty() { &mesh[..] } else { &vs.spec.gateways };
        for gateway in gateways {
            let bound = self.bound.entry(gateway.as_str().into()).or_default();
            bound.all.push(vs.clone());
            match visibility {
                Visibility::Public => bound.public.push(vs.clone()),
                Visibility::Namespaces(spaces) => {
                    for space in spaces {
                        let group = if *space == vs.meta.namespace {
                            &mut bound.private
                        } else {
                            &mut bound.exported
                        };
                        group.entry(space.clone()).or_default().push(vs.clone());
                    }
                }
            }
        }
    }

    /// The VirtualServices bound to `gateway` that `namespace` may see, in istiod's order: private ones, exported
    /// ones, public ones. Those of the namespace itself come first if they have Gateway API semantics, so that a
    /// consumer overrides the producer's routes; for sidecars (`mesh`) within each group, else among the public ones.
    ///
    /// Source: Istio `SelectVirtualServices`, `PushContext.VirtualServicesForGateway`.
    pub fn visible(&self, namespace: &str, gateway: &str) -> Vec<SharedVirtualService> {
        let Some(bound) = self.bound.get(gateway) else { return Vec::new() };
        let group = |map: &BTreeMap<Str, Vec<_>>| map.get(namespace).cloned().unwrap_or_default();
        let mut groups = [group(&bound.private), group(&bound.exported), bound.public.clone()];
        let ordered = if gateway == MESH_GATEWAY { &mut groups[..] } else { &mut groups[2..] };
        for group in ordered {
            group.sort_by_key(|vs| !(gateway_semantics(&vs.meta) && *vs.meta.namespace == *namespace));
        }
        groups.concat()
    }

    /// The VirtualServices that `root` delegates to: a change of one of them changes `root`.
    pub fn delegates_of(&self, root: &NsName) -> &[NsName] {
        self.delegates.get(root).map_or(&[], Vec::as_slice)
    }

    /// The hosts that the VirtualServices bound to `gateway` lead to, whoever may see them. With `source_namespace`,
    /// only by routes that clients of that namespace may take. Source: Istio `destinationsByGateway`.
    pub fn destinations_of_gateway(&self, gateway: &str, source_namespace: Option<&str>) -> BTreeSet<&str> {
        let all = self.bound.get(gateway).into_iter().flat_map(|bound| &bound.all);
        all.flat_map(|vs| destinations(&vs.spec, source_namespace).into_keys()).collect()
    }
}

/// Who may see a VirtualService: what its `exportTo` says, else the mesh's default. A `~` in it hides it from all.
fn visibility(snapshot: &Snapshot, vs: &Config<VirtualService>) -> Visibility {
    let defaults = &snapshot.mesh.default_virtual_service_export_to;
    let entries = if vs.spec.export_to.is_empty() { defaults } else { &vs.spec.export_to };
    if entries.iter().any(|e| e == "~") && !entries.iter().any(|e| e == "*") {
        return Visibility::Namespaces(BTreeSet::new());
    }
    Visibility::parse(entries, &vs.meta.namespace).unwrap_or(Visibility::Public)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_world::snapshot::Settings;

    fn world(services: &[(&str, &str, &str, &[&str])]) -> VirtualServices {
        VirtualServices::build(&snapshot(services))
    }

    fn snapshot(services: &[(&str, &str, &str, &[&str])]) -> Snapshot {
        let mut snapshot = Snapshot::empty(Settings::default());
        for (namespace, name, gateway, export_to) in services {
            let meta = Meta { namespace: (*namespace).into(), name: (*name).into(), ..Default::default() };
            let spec = VirtualService {
                hosts: vec!["web".into()],
                gateways: vec![(*gateway).into()],
                export_to: export_to.iter().map(|e| (*e).into()).collect(),
                ..Default::default()
            };
            snapshot.virtual_services.insert(meta.key(), Arc::new(Config { meta, spec }));
        }
        snapshot
    }

    fn names(services: &[SharedVirtualService]) -> Vec<&str> {
        services.iter().map(|vs| &*vs.meta.name).collect()
    }

    #[test]
    fn private_comes_before_exported_before_public() {
        let all = world(&[
            ("b", "public", "mesh", &[]),
            ("b", "to-a", "mesh", &["a"]),
            ("a", "own", "mesh", &["."]),
            ("a", "nobody", "mesh", &["~", "."]),
        ]);
        assert_eq!(names(&all.visible("a", "mesh")), ["own", "to-a", "public"]);
        assert_eq!(names(&all.visible("b", "mesh")), ["public"]);
    }

    #[test]
    fn gateways_are_named_with_their_namespace() {
        let all = world(&[
            ("a", "1", "gw", &[]),
            ("b", "2", "a/gw", &[]),
            ("b", "3", "./gw", &[]),
            ("c", "4", "gw.b.svc.cluster.local", &[]),
        ]);
        assert_eq!(names(&all.visible("x", "a/gw")), ["1", "2"]);
        assert_eq!(names(&all.visible("x", "b/gw")), ["3", "4"]);
        assert_eq!(all.visible("x", "a/gw")[0].spec.hosts, ["web.a.svc.cluster.local"]);
    }

    #[test]
    fn what_did_not_change_is_shared() {
        let before = snapshot(&[("a", "1", "mesh", &[]), ("a", "2", "mesh", &[])]);
        let mut after = before.clone();
        after.virtual_services.remove(&NsName::new("a", "2"));
        let old = VirtualServices::build(&before);
        let new = old.next(&after);
        assert_eq!(names(&new.visible("a", "mesh")), ["1"]);
        assert!(Arc::ptr_eq(&old.visible("a", "mesh")[0], &new.visible("a", "mesh")[0]));
    }
}

//! Secrets on streams: for whom they are made, when anew, and what waits for what.

use std::sync::Arc;
use std::time::Instant;

use meltemi_api::envoy::config::core::v3::Node;
use meltemi_api::wkt::json_to_struct;
use meltemi_distribution::type_url::SECRET;
use meltemi_server::engine::{Attendant, Engine};
use meltemi_server::{Peer, ProxyHandle, Rejection, Resources, Source, Subscription};
use meltemi_translation::sds::certificate::Validity;
use meltemi_translation::sds::secret::Problem;
use meltemi_world::identity::SecretAccess;
use meltemi_world::object::Secret;
use meltemi_world::snapshot::Settings;
use meltemi_world::{Change, Config, Kind, Meta, NsName, Object, Snapshot, World};
use parking_lot::Mutex;
use serde_json::json;

const GATEWAY: &str = "spiffe://cluster.local/ns/ns/sa/gw";

/// What the attendant was told.
#[derive(Default)]
struct Told {
    reviews: Mutex<Vec<NsName>>,
    outcomes: Mutex<Vec<(String, bool)>>,
}

struct Noting(Arc<Told>);

impl Attendant for Noting {
    fn review(&self, account: &NsName) {
        self.0.reviews.lock().push(account.clone());
    }

    fn secret(&self, _: Option<&NsName>, name: &str, outcome: Result<Validity, &Problem>) {
        self.0.outcomes.lock().push((name.to_owned(), outcome.is_ok()));
    }
}

struct Rig {
    world: World,
    engine: Arc<Engine>,
    told: Arc<Told>,
}

impl Rig {
    fn new(reviewed: bool) -> Self {
        let settings = Settings { secret_access_reviewed: reviewed, ..Settings::default() };
        let world = World::new(Snapshot::empty(settings));
        let told = Arc::new(Told::default());
        let engine = Engine::new(world.snapshot().clone()).attended(Arc::new(Noting(told.clone())));
        Self { world, engine: Arc::new(engine), told }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let changed = self.world.apply(changes);
        self.engine.publish(self.world.snapshot().clone(), changed, Instant::now());
        self.told.outcomes.lock().clear();
    }

    fn open(
        &self,
        namespace: &str,
        account: &str,
        identity: &str,
    ) -> Result<Arc<dyn ProxyHandle>, Rejection> {
        let metadata =
            json!({"NAMESPACE": namespace, "SERVICE_ACCOUNT": account, "INSTANCE_IPS": "10.0.0.1"});
        let node = Node {
            id: format!("router~10.0.0.1~gw.{namespace}~{namespace}.svc.cluster.local"),
            metadata: Some(json_to_struct(metadata.as_object().unwrap())),
            ..Node::default()
        };
        let identities = Some(identity.to_owned()).filter(|i| !i.is_empty()).into_iter().collect();
        self.engine.open(&node, &Peer { identities, ..Peer::default() })
    }
}

fn ask(proxy: &Arc<dyn ProxyHandle>, names: &[&str]) -> Option<Resources> {
    proxy.view().resources(SECRET, &Subscription::only(names.iter().copied()))
}

fn names(resources: Option<Resources>) -> Vec<String> {
    resources.expect("an answer").iter().map(|r| r.name.to_string()).collect()
}

/// A Secret with the certificates of authorities, of which there are two.
fn roots(namespace: &str, name: &str, which: usize) -> Change {
    static ROOTS: std::sync::LazyLock<[String; 2]> = std::sync::LazyLock::new(|| {
        [(); 2].map(|()| {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
        })
    });
    let data = [("ca.crt".into(), ROOTS[which].clone().into())].into();
    let meta = Meta { namespace: namespace.into(), name: name.into(), ..Meta::default() };
    Change::Upsert(Object::Secret(Arc::new(Config { meta, spec: Secret { kind: "Opaque".into(), data } })))
}

#[test]
fn a_stream_is_of_the_proxy_whose_identity_it_proves() {
    let rig = Rig::new(false);
    assert!(rig.open("ns", "gw", GATEWAY).is_ok());
    assert!(rig.open("ns", "gw", "").is_ok(), "a plaintext stream proves nothing, and is told no secret");
    for (namespace, account) in [("other", "gw"), ("ns", "other")] {
        let refused = rig.open(namespace, account, GATEWAY).err().expect("a refusal");
        assert!(matches!(refused, Rejection::Forbidden(_)), "{refused}");
    }
}

#[test]
fn secrets_are_made_for_identities_and_not_shared_between_them() {
    let mut rig = Rig::new(false);
    rig.apply(vec![roots("ns", "a", 0), roots("other", "a", 1)]);
    let own = rig.open("ns", "gw", GATEWAY).unwrap();
    let other = rig.open("other", "gw", "spiffe://cluster.local/ns/other/sa/gw").unwrap();
    let nobody = rig.open("ns", "gw", "").unwrap();
    let wanted = ["kubernetes://a-cacert", "kubernetes://other/a-cacert"];
    assert_eq!(names(ask(&own, &wanted)), [wanted[0]]);
    assert_eq!(names(ask(&other, &wanted)), wanted);
    assert!(names(ask(&nobody, &wanted)).is_empty());
    let body = |proxy| ask(proxy, &wanted).unwrap().get(wanted[0]).map(|r| r.body.clone());
    assert_ne!(body(&own), body(&other), "each its own namespace's");
    let problems = nobody.problems();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].1.contains("proves no identity"), "{problems:?}");
}

#[test]
fn a_change_makes_only_the_secrets_anew_that_it_concerns() {
    let mut rig = Rig::new(false);
    rig.apply(vec![roots("ns", "a", 0), roots("ns", "b", 0)]);
    let (one, replica) = (rig.open("ns", "gw", GATEWAY).unwrap(), rig.open("ns", "gw", GATEWAY).unwrap());
    let wanted = ["kubernetes://a-cacert", "kubernetes://b-cacert", "kubernetes://c-cacert"];
    rig.told.outcomes.lock().clear();
    let before = ask(&one, &wanted);
    ask(&replica, &wanted);
    assert_eq!(rig.told.outcomes.lock().len(), 3, "once for both replicas");
    rig.apply(vec![roots("ns", "a", 1)]);
    let after = ask(&one, &wanted);
    assert_eq!(*rig.told.outcomes.lock(), [(wanted[0].to_owned(), true)]);
    assert_ne!(before.unwrap().version(), after.clone().unwrap().version());
    rig.apply(vec![roots("ns", "unrelated", 1), roots("other", "a", 1)]);
    assert!(Arc::ptr_eq(&ask(&one, &wanted).unwrap(), &after.unwrap()), "nothing is sent");
    assert!(rig.told.outcomes.lock().is_empty());
    rig.apply(vec![roots("ns", "c", 1)]);
    assert_eq!(names(ask(&one, &wanted)), wanted);
    // One that breaks goes alone.
    rig.apply(vec![Change::Remove(Kind::Secret, NsName::new("ns", "b"))]);
    assert_eq!(names(ask(&one, &wanted)), [wanted[0], wanted[2]]);
    assert!(one.problems()[0].1.ends_with("Secret ns/b does not exist"), "{:?}", one.problems());
}

#[test]
fn keys_wait_for_the_apiservers_word() {
    let mut rig = Rig::new(true);
    rig.apply(vec![roots("ns", "a", 0)]);
    let proxy = rig.open("ns", "gw", GATEWAY).unwrap();
    assert_eq!(names(ask(&proxy, &["kubernetes://a-cacert"])), ["kubernetes://a-cacert"]);
    let wanted = ["kubernetes://a", "kubernetes://a-cacert"];
    assert!(ask(&proxy, &wanted).is_none(), "no answer yet, rather than that there is none");
    assert_eq!(*rig.told.reviews.lock(), [NsName::new("ns", "gw")]);
    let verdict = |account: &str, denied: Option<&str>| {
        let account = NsName::new("ns", account);
        let access = SecretAccess { account, denied: denied.map(Into::into) };
        Change::Upsert(Object::SecretAccess(Arc::new(access)))
    };
    rig.apply(vec![verdict("other", None)]);
    assert!(ask(&proxy, &wanted).is_none(), "that is somebody else's");
    rig.apply(vec![verdict("gw", Some("no RBAC policy matched"))]);
    assert_eq!(names(ask(&proxy, &wanted)), [wanted[1]]);
    let problems = proxy.problems();
    assert!(problems[0].1.contains("no RBAC policy matched"), "{problems:?}");
    rig.apply(vec![verdict("gw", None)]);
    ask(&proxy, &wanted);
    let problems = proxy.problems();
    assert!(
        problems[0].1.contains("no value tls.crt"),
        "it may have it now, and it is incomplete: {problems:?}"
    );
}

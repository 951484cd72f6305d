use super::*;
use crate::sources::decode::{Outcome, value};
use meltemi_world::{Kind, NsName, Object};
use parking_lot::Mutex;
use serde_json::json;

type Published = Arc<Mutex<Vec<(Arc<Snapshot>, ChangeSet)>>>;

#[derive(Clone, Default)]
struct Seen(Published);

impl Publisher for Seen {
    fn publish(&self, snapshot: Arc<Snapshot>, changes: ChangeSet, _: Instant) {
        self.0.lock().push((snapshot, changes));
    }
}

/// A store that is run batch by batch.
struct Rig {
    store: Store<Seen>,
    batches: Batches,
    seen: Published,
    shared: Arc<Shared>,
}

impl Rig {
    fn new(parts: &[Part]) -> Self {
        let seen = Seen::default();
        let (store, batches, shared) =
            new(Snapshot::empty(Default::default()), parts.iter().copied(), seen.clone(), Metrics::new());
        Self { store, batches, seen: seen.0, shared }
    }

    fn complete() -> Self {
        let mut rig = Rig::new(&[Part::Files]);
        rig.send(complete(Vec::new(), Part::Files));
        rig.work();
        rig.seen.lock().clear();
        rig
    }

    fn send(&self, batch: Batch) {
        self.batches.try_send(batch).unwrap();
    }

    fn work(&mut self) -> usize {
        let first = self.store.batches.try_recv().unwrap();
        self.store.take(first);
        self.seen.lock().len()
    }
}

fn object(name: &str) -> Object {
    let json = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}]}});
    match value(json, "n") {
        Outcome::Read(mut read) => read.objects.remove(0),
        other => panic!("{other:?}"),
    }
}

fn upsert(name: &str) -> Vec<Change> {
    vec![Change::Upsert(object(name))]
}

fn complete(changes: Vec<Change>, part: Part) -> Batch {
    let mut batch = Batch::new(changes);
    batch.complete = Some(part);
    batch
}

#[test]
fn nothing_is_published_before_all_parts_are_complete() {
    let mut rig = Rig::new(&[Part::Files, Part::Mesh]);
    rig.send(complete(upsert("a"), Part::Files));
    assert_eq!(rig.work(), 0);
    assert_eq!(rig.shared.waiting(), [Part::Mesh]);
    assert!(!rig.shared.is_complete());
    let mut more = complete(upsert("b"), Part::Mesh);
    more.awaiting = vec![Part::Watch("x")];
    rig.send(more);
    assert_eq!(rig.work(), 0, "a part that turned out to be needed is waited for, too");
    rig.send(complete(Vec::new(), Part::Watch("x")));
    assert_eq!(rig.work(), 1);
    assert!(rig.shared.is_complete());
    assert_eq!(rig.seen.lock()[0].0.registry.len(), 2);
}

#[test]
fn an_empty_world_is_published_as_well() {
    let mut rig = Rig::new(&[Part::Files]);
    rig.send(complete(Vec::new(), Part::Files));
    assert_eq!(rig.work(), 1);
}

#[test]
fn what_waits_is_taken_together_and_what_changes_nothing_is_not_published() {
    let mut rig = Rig::complete();
    for name in ["a", "b", "c"] {
        rig.send(Batch::new(upsert(name)));
    }
    assert_eq!(rig.work(), 1);
    assert_eq!(rig.seen.lock()[0].1.of(Kind::Service).count(), 3);
    rig.send(Batch::new(upsert("a")));
    assert_eq!(rig.work(), 1);
    rig.send(Batch::new(vec![Change::Remove(Kind::Service, NsName::new("n", "a"))]));
    assert_eq!(rig.work(), 2);
    assert_eq!(rig.shared.snapshot().registry.len(), 2);
}

#[test]
fn findings_replace_those_before() {
    let mut rig = Rig::complete();
    let finding = |text: &str| Diagnostic::new(Severity::Error, "Service", &NsName::new("n", "a"), "", text);
    let subject = Subject::Object("Service", NsName::new("n", "a"));
    rig.send(Batch::new(Vec::new()).with(subject.clone(), vec![finding("one")]));
    rig.work();
    rig.send(Batch::new(Vec::new()).with(subject.clone(), vec![finding("two")]));
    rig.work();
    assert_eq!(rig.shared.findings(), [finding("two")]);
    rig.send(Batch::new(Vec::new()).with(subject, Vec::new()));
    rig.work();
    assert_eq!(rig.shared.findings(), []);
}

#[test]
fn a_publisher_that_fails_does_not_end_the_store() {
    struct Failing;
    impl Publisher for Failing {
        fn publish(&self, _: Arc<Snapshot>, _: ChangeSet, _: Instant) {
            panic!("as a test wants it");
        }
    }
    let (store, batches, shared) = new(Snapshot::empty(Default::default()), [], Failing, Metrics::new());
    batches.try_send(Batch::new(upsert("a"))).unwrap();
    batches.try_send(Batch::new(upsert("b"))).unwrap();
    drop(batches);
    store.run();
    assert_eq!(shared.snapshot().registry.len(), 2);
}

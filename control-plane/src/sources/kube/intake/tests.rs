use super::*;
use crate::sources::decode::kinds::resource;
use meltemi_world::Kind;
use tokio::sync::mpsc;

struct Rig {
    objects: Objects,
    batches: mpsc::Receiver<Batch>,
}

impl Rig {
    fn new(kind: Kind, configure: impl FnOnce(Objects) -> Objects) -> Self {
        let (sender, batches) = mpsc::channel(8);
        let objects = configure(Objects::new(resource(kind).unwrap(), sender));
        Self { objects, batches }
    }

    fn list(&mut self, objects: &[String]) {
        self.objects.start();
        objects.iter().for_each(|o| self.objects.take(o));
        self.objects.finish();
    }

    /// Changes and findings of what was taken, one a line.
    fn flush(&mut self) -> Vec<String> {
        futures::executor::block_on(self.objects.flush()).unwrap_or_else(|_| panic!("closed"));
        let mut out = Vec::new();
        while let Ok(batch) = self.batches.try_recv() {
            out.extend(batch.changes.iter().map(|c| match c {
                Change::Upsert(object) => format!("+{}", object.id().1),
                Change::Remove(_, name) => format!("-{name}"),
                other => panic!("{other:?}"),
            }));
            for (subject, findings) in batch.findings {
                let Subject::Object(_, name) = subject else { panic!() };
                let texts: Vec<String> = findings.iter().map(|f| f.message.clone()).collect();
                out.push(format!("{name}: {}", texts.join(", ")));
            }
            out.extend(batch.complete.map(|part| format!("complete: {part}")));
        }
        out
    }
}

fn route(name: &str, more: &str) -> String {
    spec(name, more, r#"{"hosts":["a"],"tcp":[{"route":[{"destination":{"host":"a"}}]}]}"#)
}

fn spec(name: &str, labels: &str, spec: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","namespace":"n","labels":{{{labels}}}}},"spec":{spec}}}"#)
}

/// One that cannot be read.
fn bad(name: &str) -> String {
    spec(name, "", r#"{"hosts":5}"#)
}

/// One that istiod would refuse.
fn refused(name: &str) -> String {
    spec(name, "", r#"{"hosts":["a"]}"#)
}

#[test]
fn a_second_list_removes_only_what_it_lacks() {
    let mut rig = Rig::new(Kind::VirtualService, |o| o);
    rig.list(&[route("a", ""), route("b", "")]);
    assert_eq!(rig.flush(), ["+n/a", "+n/b", "complete: virtualservices"]);
    rig.objects.start();
    rig.objects.take(&route("b", ""));
    assert_eq!(rig.flush(), ["+n/b"], "half a list removes nothing");
    rig.objects.finish();
    assert_eq!(rig.flush(), ["-n/a", "complete: virtualservices"]);
}

#[test]
fn a_bad_object_keeps_its_last_good_version() {
    keeps_its_last_good_version(bad);
}

#[test]
fn an_object_that_istiod_would_refuse_keeps_its_last_good_version() {
    keeps_its_last_good_version(refused);
}

fn keeps_its_last_good_version(bad: fn(&str) -> String) {
    let mut rig = Rig::new(Kind::VirtualService, |o| o);
    rig.list(&[route("a", ""), bad("b")]);
    let first = rig.flush();
    assert_eq!(first[0], "+n/a");
    assert!(first[1].starts_with("n/b: ") && !first[1].contains("last good version"), "{first:?}");
    rig.objects.take(&bad("a"));
    let then = rig.flush();
    assert_eq!(then.len(), 1);
    assert!(
        then[0].starts_with("n/a: ") && then[0].ends_with("its last good version stays in force"),
        "{then:?}"
    );
    rig.list(&[bad("a")]);
    let then = rig.flush();
    assert!(!then.contains(&"-n/a".to_owned()) && then.contains(&"n/b: ".to_owned()), "{then:?}");
    rig.objects.take(&route("a", ""));
    assert_eq!(rig.flush(), ["+n/a", "n/a: "]);
    rig.objects.remove(&route("a", ""));
    assert_eq!(rig.flush(), ["-n/a"]);
}

#[test]
fn objects_of_other_revisions_are_left_out() {
    let mut rig = Rig::new(Kind::VirtualService, |o| o.of_revision(Some("mine".into())));
    rig.list(&[
        route("a", ""),
        route("b", r#""istio.io/rev":"mine""#),
        route("c", r#""istio.io/rev":"other""#),
    ]);
    assert_eq!(rig.flush()[..2], ["+n/a", "+n/b"]);
    rig.objects.take(&route("b", r#""istio.io/rev":"other""#));
    assert_eq!(rig.flush(), ["-n/b"]);
    let mut all = Rig::new(Kind::VirtualService, |o| o.of_revision(None));
    all.list(&[route("c", r#""istio.io/rev":"other""#)]);
    assert_eq!(all.flush()[0], "+n/c");
}

#[test]
fn a_namespace_that_is_deselected_takes_its_objects_along() {
    let mut rig = Rig::new(Kind::VirtualService, |o| o);
    rig.list(&[route("a", "")]);
    rig.flush();
    let none = Selected::These(Arc::new(BTreeSet::new()));
    assert_eq!(rig.objects.select(&none), Some(Vec::new()));
    assert_eq!(rig.flush(), ["-n/a"]);
    rig.objects.take(&route("b", ""));
    rig.objects.take(&bad("c"));
    assert_eq!(rig.flush(), Vec::<String>::new());
    let these = Selected::These(Arc::new(BTreeSet::from(["n".into()])));
    assert_eq!(rig.objects.select(&these), Some(vec!["n".into()]));
    assert_eq!(rig.objects.select(&Selected::All), None);
}

#[test]
fn a_kind_that_is_no_longer_served_takes_its_objects_along() {
    let mut rig = Rig::new(Kind::VirtualService, |o| o);
    rig.list(&[route("a", ""), bad("b")]);
    rig.flush();
    rig.objects.remove_all();
    assert_eq!(rig.flush(), ["-n/a", "n/b: ", "complete: virtualservices"]);
}

#[test]
fn namespaces_are_told_of() {
    let selection = Arc::new(Selection::new());
    let mut listed = None;
    let mut rig = Rig::new(Kind::Namespace, |o| {
        let (objects, receiver) = o.telling(selection.clone());
        listed = Some(receiver);
        objects
    });
    rig.list(&[r#"{"metadata":{"name":"x","labels":{"a":"b"}}}"#.to_owned()]);
    assert_eq!(rig.flush(), ["+x", "complete: namespaces"]);
    assert_eq!(listed.unwrap().try_recv(), Ok(()));
}

use super::*;
use meltemi_world::{Kind, NsName, Object};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n";
const ROUTE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r}\n\
    spec: {hosts: [HOST], tcp: [{route: [{destination: {host: a}}]}]}\n";

fn service(name: &str) -> String {
    SERVICE.replace("NAME", name)
}

struct Rig {
    dir: tempfile::TempDir,
    folder: Folder,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        Self { dir, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        // By rename, so that each state is another inode.
        fs::write(self.path(".tmp"), text).unwrap();
        fs::rename(self.path(".tmp"), self.path(name)).unwrap();
    }

    /// Changes, and errors and warnings, each as one line.
    fn scan(&mut self) -> (Vec<String>, Vec<String>) {
        let reading = self.folder.read(&BTreeSet::new());
        let (changes, findings) = self.folder.commit(reading);
        let changes = changes.iter().map(|c| match c {
            Change::Upsert(o) => format!("+{} {}", o.id().0, o.id().1),
            Change::Remove(kind, name) => format!("-{kind} {name}"),
            other => panic!("{other:?}"),
        });
        let findings =
            findings.iter().map(|f| f.to_string().replace(&*self.dir.path().to_string_lossy(), "DIR"));
        (changes.collect(), findings.collect())
    }

    fn changes(&mut self) -> Vec<String> {
        let (changes, findings) = self.scan();
        assert_eq!(findings, Vec::<String>::new());
        changes
    }
}

#[test]
fn files_come_change_and_go() {
    let mut rig = Rig::new();
    rig.write("a.yaml", &format!("{}---\n{}", service("a"), service("b")));
    fs::create_dir(rig.path("sub")).unwrap();
    rig.write("sub/c.yml", &service("c"));
    rig.write("d.json", r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "d"}}"#);
    rig.write("notes.txt", "a: b: c");
    assert_eq!(
        rig.changes(),
        ["+Namespace d", "+Service default/a", "+Service default/b", "+Service default/c"]
    );
    assert_eq!(rig.changes(), Vec::<String>::new());
    rig.write("a.yaml", &service("b"));
    fs::remove_file(rig.path("d.json")).unwrap();
    assert_eq!(rig.changes(), ["-Namespace d", "-Service default/a"]);
}

#[test]
fn a_file_that_does_not_parse_keeps_its_last_state() {
    let mut rig = Rig::new();
    rig.write("a.yaml", &service("a"));
    rig.write("b.yaml", &service("b"));
    rig.scan();
    rig.write("a.yaml", "apiVersion: v1\nkind: [Service\nmetadata: x\n");
    rig.write("b.yaml", &service("b2"));
    let (changes, findings) = rig.scan();
    assert_eq!(changes, ["+Service default/b2", "-Service default/b"]);
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0].starts_with("DIR/a.yaml:") && findings[0].contains("before stays in force"),
        "{findings:?}"
    );
    let (changes, findings) = rig.scan();
    assert_eq!((changes.len(), findings.len()), (0, 1));
    rig.write("a.yaml", &service("a"));
    assert_eq!(rig.changes(), Vec::<String>::new());
}

#[test]
fn a_bad_object_keeps_its_last_state_and_names_its_line() {
    let mut rig = Rig::new();
    rig.write("a.yaml", &format!("{}---\n{}", service("a"), ROUTE.replace("HOST", "a")));
    rig.scan();
    rig.write("a.yaml", &format!("{}---\n{}", service("a2"), ROUTE.replace("[HOST]", "{}")));
    let (changes, findings) = rig.scan();
    assert_eq!(changes, ["+Service default/a2", "-Service default/a"]);
    assert!(
        findings[0].starts_with("DIR/a.yaml:6: VirtualService default/r, field spec.hosts:")
            && findings[0].ends_with("its last good version stays in force"),
        "{findings:?}"
    );
    assert!(rig.folder.get(Kind::VirtualService, &NsName::new("default", "r")).is_some());
}

#[test]
fn an_object_that_istiod_would_refuse_keeps_its_last_state_or_is_absent() {
    let named =
        |name: &str, host: &str| ROUTE.replace("name: r", &format!("name: {name}")).replace("HOST", host);
    let mut rig = Rig::new();
    rig.write("a.yaml", &named("old", "a"));
    rig.scan();
    rig.write("a.yaml", &format!("{}---\n{}", named("old", "'*'"), named("new", "'*'")));
    let (changes, findings) = rig.scan();
    assert_eq!(changes, Vec::<String>::new());
    let [old, new] = &findings[..] else { panic!("{findings:?}") };
    assert!(old.contains("VirtualService default/old, field spec.hosts[0]: "), "{old}");
    assert!(
        old.ends_with("its last good version stays in force") && !new.contains("last good"),
        "{old} {new}"
    );
    rig.write("a.yaml", &format!("{}---\n{}", named("old", "b"), named("new", "b")));
    let (changes, findings) = rig.scan();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn of_two_claims_the_first_file_wins() {
    let mut rig = Rig::new();
    rig.write("b.yaml", &ROUTE.replace("HOST", "b"));
    rig.write("a.yaml", &ROUTE.replace("HOST", "a"));
    let (changes, findings) = rig.scan();
    assert_eq!(changes, ["+VirtualService default/r"]);
    assert_eq!(
        findings,
        [
            "DIR/b.yaml:1: VirtualService default/r: defined at DIR/a.yaml:1 as well, which is in force; remove one of the two"
        ]
    );
    let host = |rig: &Rig| match rig.folder.get(Kind::VirtualService, &NsName::new("default", "r")) {
        Some(Object::VirtualService(route)) => route.spec.hosts[0].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(host(&rig), "a");
    fs::remove_file(rig.path("a.yaml")).unwrap();
    assert_eq!(rig.changes(), ["+VirtualService default/r"]);
    assert_eq!(host(&rig), "b");
}

#[test]
fn a_mounted_config_map_is_swapped_whole() {
    let mut rig = Rig::new();
    for (version, name) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(rig.path(version)).unwrap();
        fs::write(rig.path(version).join("x.yaml"), service(name)).unwrap();
    }
    symlink("..1", rig.path("..data")).unwrap();
    symlink("..data/x.yaml", rig.path("x.yaml")).unwrap();
    assert_eq!(rig.changes(), ["+Service default/a"]);
    symlink("..2", rig.path("..data_tmp")).unwrap();
    fs::rename(rig.path("..data_tmp"), rig.path("..data")).unwrap();
    assert_eq!(rig.changes(), ["+Service default/b", "-Service default/a"]);
}

#[test]
fn a_file_that_is_being_written_is_left_alone() {
    let mut rig = Rig::new();
    rig.write("a.yaml", &service("a"));
    rig.scan();
    rig.write("a.yaml", "");
    let reading = rig.folder.read(&BTreeSet::from([rig.path("a.yaml")]));
    assert_eq!(rig.folder.commit(reading).0, []);
    let mut reading = rig.folder.read(&BTreeSet::new());
    reading.discard(&BTreeSet::from([rig.path("a.yaml")]));
    assert_eq!(rig.folder.commit(reading).0, []);
    assert_eq!(rig.changes(), ["-Service default/a"]);
}

#[test]
fn a_folder_that_vanishes_keeps_its_last_state() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("sub")).unwrap();
    rig.folder = Folder::new(rig.path("sub"));
    rig.write("sub/a.yaml", &service("a"));
    rig.scan();
    fs::remove_dir_all(rig.path("sub")).unwrap();
    let (changes, findings) = rig.scan();
    assert_eq!(changes, Vec::<String>::new());
    assert!(findings[0].starts_with("DIR/sub: cannot list the folder"), "{findings:?}");
}

#[test]
fn lists_are_unfolded_and_endpoints_yield_to_slices() {
    let mut rig = Rig::new();
    let endpoints = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: [{addresses: [{ip: 1.2.3.4}], ports: [{port: 80}]}]\n";
    rig.write("a.yaml", endpoints);
    assert_eq!(rig.changes(), ["+EndpointSlice default/a-0-ipv4"]);
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, labels: {kubernetes.io/service-name: a}}, addressType: IPv4}";
    rig.write("b.yaml", &format!("apiVersion: v1\nkind: List\nitems:\n- {slice}\n"));
    let (changes, findings) = rig.scan();
    assert_eq!(changes, ["+EndpointSlice default/s", "-EndpointSlice default/a-0-ipv4"]);
    assert!(findings[0].contains("made of Endpoints"), "{findings:?}");
}

#[test]
fn kinds_that_are_not_handled_yet_are_named() {
    let mut rig = Rig::new();
    rig.write("a.yaml", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: i}\n");
    let (changes, findings) = rig.scan();
    assert_eq!(changes, Vec::<String>::new());
    assert_eq!(
        findings,
        [
            "DIR/a.yaml:1: HTTPRoute default/i: kind of gateway.networking.k8s.io/v1 is not handled yet: it has no effect"
        ]
    );
}

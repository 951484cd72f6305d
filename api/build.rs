//! Generates the protobuf types from the descriptor sets of `descriptors/`.
//!
//! Envoy's set is cut to the packages of `roots.txt` and what they refer to, since compiling all of it would
//! cost every build half a minute. Istio's set is generated whole, with proto3 JSON for reading resources.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const ENVOY: &str = "descriptors/envoy.binpb.gz";
const ISTIO: &str = "descriptors/istio.binpb.gz";
const ROOTS: &str = "roots.txt";

/// Packages of options only: they annotate other messages and hold none that is sent.
const ANNOTATIONS: &[&str] =
    &["validate", "udpa.annotations", "xds.annotations.v3", "envoy.annotations", "google.api"];

/// Packages of Istio's set that the crate generates, each with its JSON form.
const ISTIO_PACKAGES: &[&str] = &[
    "istio.analysis.v1alpha1",
    "istio.extensions.v1alpha1",
    "istio.mesh.v1alpha1",
    "istio.meta.v1alpha1",
    "istio.networking.v1alpha3",
    "istio.networking.v1beta1",
    "istio.security.v1beta1",
    "istio.telemetry.v1alpha1",
    "istio.type.v1beta1",
];

/// The package of Istio's certificate service, which has no JSON form.
const ISTIO_CA: &str = "istio.v1.auth";

fn main() -> Result {
    for input in [ENVOY, ISTIO, ROOTS, "build.rs"] {
        println!("cargo:rerun-if-changed={input}");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    envoy(&fresh(&out.join("envoy"))?)?;
    istio(&fresh(&out.join("istio"))?)
}

fn envoy(out: &Path) -> Result {
    let roots = fs::read_to_string(ROOTS)?;
    let roots: BTreeSet<&str> =
        roots.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let files = closure(read(ENVOY)?, &roots)?;
    let mut config = config(out);
    config.extern_path(".google.protobuf.Any", "crate::wkt::Any");
    generate(files, config, out)
}

fn istio(out: &Path) -> Result {
    let roots = ISTIO_PACKAGES.iter().copied().chain([ISTIO_CA]).collect();
    let files = closure(read(ISTIO)?, &roots)?;
    let mut config = config(out);
    config.compile_well_known_types();

    let mut json = pbjson_build::Builder::new();
    json.out_dir(out).btree_map(["."]).ignore_unknown_fields();
    // pbjson's Duration reads less than Istio's reader does.
    for (from, to) in
        [(".google.protobuf", "::pbjson_types"), (".google.protobuf.Duration", "crate::wkt::Duration")]
    {
        config.extern_path(from, to);
        json.extern_path(from, to);
    }
    for file in &files.file {
        json.register_file_descriptor(file.clone());
    }
    generate(files, config, out)?;
    let prefixes: Vec<String> = ISTIO_PACKAGES.iter().map(|p| format!(".{p}")).collect();
    json.build(&prefixes)?;
    // One module per package: prost's include file knows nothing of the other generator's output.
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        if let Some(package) = path.to_str().and_then(|p| p.strip_suffix(".serde.rs")) {
            let types = format!("{package}.rs");
            fs::write(&types, fs::read_to_string(&types)? + &fs::read_to_string(&path)?)?;
        }
    }
    Ok(())
}

/// What both sets have in common: payloads shared instead of copied, maps in one order so that equal messages have
/// equal bytes, and type URLs as xDS spells them.
fn config(out: &Path) -> prost_build::Config {
    let mut config = prost_build::Config::new();
    config
        .out_dir(out)
        .include_file("mod.rs")
        .bytes(["."])
        .btree_map(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .disable_comments(["."]);
    config
}

fn generate(files: FileDescriptorSet, config: prost_build::Config, out: &Path) -> Result {
    tonic_prost_build::configure()
        .out_dir(out)
        .build_transport(false)
        .compile_fds_with_config(files, config)?;
    Ok(())
}

/// The files of the root packages and all that they import, without annotations. The well-known types stay, since the
/// generator looks them up even where another crate has them.
fn closure(set: FileDescriptorSet, roots: &BTreeSet<&str>) -> Result<FileDescriptorSet> {
    let mut files: BTreeMap<String, FileDescriptorProto> =
        set.file.into_iter().map(|f| (f.name().to_owned(), f)).collect();
    let packages: BTreeSet<&str> = files.values().map(FileDescriptorProto::package).collect();
    if let Some(unknown) = roots.iter().find(|r| !packages.contains(*r)) {
        return Err(format!("no descriptor has the package {unknown}").into());
    }
    let mut queue: Vec<String> =
        files.values().filter(|f| roots.contains(f.package())).map(|f| f.name().to_owned()).collect();
    let mut wanted = BTreeMap::new();
    while let Some(name) = queue.pop() {
        let Some(file) = files.remove(&name) else { continue };
        let package = file.package();
        if ANNOTATIONS.contains(&package) {
            continue;
        }
        queue.extend(file.dependency.iter().cloned());
        wanted.insert(name, file);
    }
    Ok(FileDescriptorSet { file: wanted.into_values().collect() })
}

fn read(path: &str) -> Result<FileDescriptorSet> {
    let mut raw = Vec::new();
    GzDecoder::new(fs::File::open(path)?).read_to_end(&mut raw)?;
    Ok(FileDescriptorSet::decode(raw.as_slice())?)
}

/// An empty folder, so that a package that is no longer generated leaves nothing behind.
fn fresh(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    fs::create_dir_all(path)?;
    Ok(path.to_owned())
}

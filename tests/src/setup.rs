//! Where the parts are that the tests run on.
//!
//! `tests/setup` installs what is missing, so that a test that is run alone finds its parts too.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};

/// The folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}

/// Installs one part if it is missing and tells its folder.
fn installed(part: &str) -> Result<PathBuf> {
    let script = repository().join("tests/setup");
    let out = Command::new(&script)
        .arg(part)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    ensure!(out.status.success(), "`tests/setup {part}` failed ({})", out.status);
    let text = String::from_utf8(out.stdout)?;
    Ok(text.lines().last().context("tests/setup printed no folder")?.into())
}

/// The stock Envoy.
pub fn envoy() -> Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if FOUND.get().is_none() {
        let _ = FOUND.set(installed("envoy")?.join("envoy"));
    }
    Ok(FOUND.get().expect("set above").clone())
}

/// The folder that holds `etcd` and `kube-apiserver`: `KUBEBUILDER_ASSETS` if set, else the one that `tests/setup` builds.
pub fn cluster() -> Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if FOUND.get().is_none() {
        let dir = match env::var_os("KUBEBUILDER_ASSETS") {
            Some(dir) => dir.into(),
            None => installed("cluster")?,
        };
        for name in ["etcd", "kube-apiserver"] {
            ensure!(dir.join(name).is_file(), "{} holds no {name}", dir.display());
        }
        let _ = FOUND.set(dir);
    }
    Ok(FOUND.get().expect("set above").clone())
}

/// Makes sure that network namespaces can be made here: needs root, `ip` and `iptables`.
pub fn net() -> Result<()> {
    static FOUND: OnceLock<()> = OnceLock::new();
    if FOUND.get().is_none() {
        ensure!(
            rustix::process::geteuid().is_root(),
            "this test makes network namespaces and iptables rules: run it as root"
        );
        installed("net")?;
        let _ = FOUND.set(());
    }
    Ok(())
}

/// The reference data beside the repository (`../shared`, or `MELTEMI_SHARED`), with `parity/cases` and `parity/crds`.
pub fn shared() -> Result<PathBuf> {
    let dir = match env::var_os("MELTEMI_SHARED") {
        Some(dir) => dir.into(),
        None => repository().join("../shared"),
    };
    ensure!(
        dir.join("parity").is_dir(),
        "{} holds no folder `parity`: set MELTEMI_SHARED to the folder of the reference data",
        dir.display()
    );
    Ok(dir.canonicalize()?)
}

/// A program of this workspace, of the profile that the test itself was built with.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = env::current_exe()?;
    let deps = test.parent().context("no folder")?;
    let profile = if deps.ends_with("deps") { deps.parent().context("no folder")? } else { deps };
    let path = profile.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: build it first (`cargo build --bins` with the same profile)",
        path.display()
    );
    Ok(path)
}

/// The control plane: `MELTEMI_BIN`, else the one of this workspace.
pub fn meltemi() -> Result<PathBuf> {
    match env::var_os("MELTEMI_BIN") {
        Some(path) => {
            let path = PathBuf::from(path);
            path.canonicalize().with_context(|| format!("MELTEMI_BIN: {}", path.display()))
        }
        None => program("meltemi"),
    }
}

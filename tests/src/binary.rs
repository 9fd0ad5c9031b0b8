//! Finds the programs under test.
//!
//! `./tools/test` names them in the environment. A plain `cargo test -p tests` builds the gateway
//! first, so that no test ever runs against an old one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The gateway's binary.
///
/// # Panics
/// When it cannot be built.
pub fn pointsman() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("POINTSMAN_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// A test stands in `<target>/<profile>/deps/`, the binary of the same profile one folder up.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.ancestors().nth(2).expect("a test stands in deps/");
    let target = profile.parent().expect("a profile stands in the target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "pointsman", "--bin", "pointsman"]);
    cargo.arg("--target-dir").arg(target).current_dir(repository());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the gateway does not build");
    profile.join("pointsman")
}

/// A Python with the SDKs of `tests/requirements.txt`, when `./tools/test` has made one.
///
/// # Panics
/// On a build server, where a test that is left out would go unnoticed.
pub fn python() -> Option<PathBuf> {
    let found = std::env::var_os("POINTSMAN_TEST_PYTHON").map(PathBuf::from);
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "POINTSMAN_TEST_PYTHON is not set; run ./tools/test, which installs the Python SDKs"
    );
    found
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands below the root")
}

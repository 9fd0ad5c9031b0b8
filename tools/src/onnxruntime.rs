//! Fetches ONNX Runtime: the pinned PyPI wheel, out of which one library is kept.
//!
//! In: a version, an architecture, a folder. Out: `<folder>/<version>/libonnxruntime.so`, whose own
//! SHA-256 is pinned here (wheels of several Python versions carry the same library byte for byte,
//! so the library is what is checked). Goes through `pip`, which knows the mirrors and proxies that
//! a user has set. Never: installs anything, or leaves a file whose hash is wrong.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Subcommand;
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

/// The release that the classifier is tested with.
const VERSION: &str = "1.31.1";
/// File name of the library, as `classifier` looks for it.
const LIBRARY: &str = "libonnxruntime.so";
/// Largest library that is unpacked.
const LIBRARY_BYTES_MAX: u64 = 256 << 20;

/// A build of the pinned release.
struct Build {
    /// As `std::env::consts::ARCH` calls it.
    arch: &'static str,
    /// Of the library.
    sha256: &'static str,
}

const BUILDS: [Build; 2] = [
    Build {
        arch: "x86_64",
        sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    },
    Build {
        arch: "aarch64",
        sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
    },
];

/// What can be done about ONNX Runtime.
#[derive(Debug, Subcommand)]
pub(crate) enum OnnxRuntimeCommand {
    /// Fetch the pinned library and print its path; does nothing when it is there already.
    Fetch {
        /// Folder to keep it in, below a folder of its version.
        #[arg(long, default_value = default_folder())]
        folder: PathBuf,
        /// Machine to fetch it for: x86_64 or aarch64.
        #[arg(long, default_value = std::env::consts::ARCH)]
        arch: String,
    },
}

impl OnnxRuntimeCommand {
    pub(crate) fn run(self) -> Result<(), String> {
        match self {
            OnnxRuntimeCommand::Fetch { folder, arch } => {
                println!("{}", fetch(&folder, &arch)?.display());
                Ok(())
            }
        }
    }
}

/// `.cache/onnxruntime` at the root of the repository.
fn default_folder() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/onnxruntime")
}

fn fetch(folder: &Path, arch: &str) -> Result<PathBuf, String> {
    let build = BUILDS.iter().find(|build| build.arch == arch).ok_or_else(|| {
        format!("there is no pinned ONNX Runtime for {arch}; there is one for x86_64 and aarch64")
    })?;
    let folder = folder.join(VERSION);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    // A library of another machine lies beside, not in the way.
    let name = if arch == std::env::consts::ARCH {
        LIBRARY.to_owned()
    } else {
        format!("{arch}-{LIBRARY}")
    };
    let library = folder.join(name);
    if sha256_of(&library).is_ok_and(|found| found == build.sha256) {
        return Ok(library);
    }
    let wheels = folder.join(format!("wheel-{arch}"));
    let result = download(&wheels, arch).and_then(|wheel| unpack(&wheel, &library, build.sha256));
    // The wheel is of no use once its library is out, nor when it is wrong.
    let _ = fs::remove_dir_all(&wheels);
    result.map(|()| library)
}

/// Runs `pip download` for a fixed interpreter and platform, so that the pip of any Python does.
fn download(wheels: &Path, arch: &str) -> Result<PathBuf, String> {
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(100));
    progress.set_message(format!("onnxruntime {VERSION} for {arch}, about 24 MB"));
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--disable-pip-version-check", "--quiet"])
        .args(["--no-deps", "--only-binary", ":all:"])
        .args(["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"])
        .args(["--platform", &format!("manylinux_2_28_{arch}")])
        .args(["--platform", &format!("manylinux_2_27_{arch}")])
        .arg("--dest")
        .arg(wheels)
        .arg(format!("onnxruntime=={VERSION}"))
        .output();
    progress.finish_and_clear();
    let output = output.map_err(|error| format!("python3 with pip is needed: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("pip download failed:\n{}", said.trim()));
    }
    let entries = fs::read_dir(wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| "pip downloaded no wheel".to_owned())
}

/// Takes the library out of the wheel; it appears under its name only when its hash is right.
fn unpack(wheel: &Path, library: &Path, sha256: &str) -> Result<(), String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", wheel.display());
    let file = File::open(wheel).map_err(|error| at(&error))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| at(&error))?;
    let inside = format!("onnxruntime/capi/{LIBRARY}.{VERSION}");
    let mut packed = archive.by_name(&inside).map_err(|error| at(&error))?;
    let progress = ProgressBar::new(packed.size()).with_message("unpacking");
    let partial = library.with_extension("partial");
    let mut target =
        File::create(&partial).map_err(|error| format!("{}: {error}", partial.display()))?;
    let mut limited = progress.wrap_read((&mut packed).take(LIBRARY_BYTES_MAX));
    io::copy(&mut limited, &mut target).and_then(|_| target.flush()).map_err(|error| at(&error))?;
    progress.finish_and_clear();
    let found = sha256_of(&partial).map_err(|error| at(&error))?;
    if found != sha256 {
        let _ = fs::remove_file(&partial);
        return Err(format!("{inside}: SHA-256 is {found}, pinned is {sha256}"));
    }
    fs::rename(&partial, library).map_err(|error| format!("{}: {error}", library.display()))
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wheel with that content as its library.
    fn wheel(folder: &Path, content: &[u8]) -> PathBuf {
        let path = folder.join("x.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).expect("created"));
        let options = zip::write::SimpleFileOptions::default();
        writer
            .start_file(format!("onnxruntime/capi/{LIBRARY}.{VERSION}"), options)
            .and_then(|()| Ok(writer.write_all(content)?))
            .and_then(|()| writer.finish().map(drop))
            .expect("written");
        path
    }

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tools-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn only_the_pinned_library_is_kept() {
        let folder = scratch("pinned");
        let library = folder.join(LIBRARY);
        let wheel = wheel(&folder, b"library");
        let error = unpack(&wheel, &library, "00").expect_err("a wrong hash");
        assert!(error.contains("pinned is 00"), "{error}");
        assert!(!library.exists());
        let right: String = Sha256::digest(b"library").iter().map(|b| format!("{b:02x}")).collect();
        unpack(&wheel, &library, &right).expect("unpacked");
        assert_eq!(fs::read(&library).expect("read"), b"library");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn an_unknown_machine_is_named() {
        let error = fetch(&std::env::temp_dir(), "vax").expect_err("no build");
        assert!(error.contains("vax") && error.contains("aarch64"), "{error}");
    }
}

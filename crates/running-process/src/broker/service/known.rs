//! The services of which the root has a directory, and the directory of their files.

use super::definition::Service;
use super::paths::{KEY_HASH_DIGITS, ServicePaths, check_private, unless_missing};
use super::place_error::{PlaceError, PlaceFault};
use crate::sys;
use std::io;
use std::path::{Path, PathBuf};

impl Service {
    /// Returns the services of which the root has a directory, in the order of their directories' names: those that run, and those
    /// that have run or been tried. None of them has a command. Each is bound to its directory, since of its key only the hash is
    /// known there. Nothing is started or changed.
    ///
    /// # Errors
    ///
    /// The root cannot be read, is not this user's alone, or there is none for this user.
    pub fn known() -> Result<Vec<Self>, PlaceError> {
        Self::known_below(None)
    }

    /// Returns the services as [`known`](Self::known) does, of `root` if there is one.
    fn known_below(root: Option<&Path>) -> Result<Vec<Self>, PlaceError> {
        let found = ServicePaths::root_of(root)?;
        unless_missing(check_private(&found))?;
        let mut services = Vec::new();
        for name in directories(&found)? {
            services.extend(Self::of_directory(&name).map(|service| match root {
                Some(root) => service.below(root),
                None => service,
            }));
        }
        services.sort_by_key(Self::directory_name);
        Ok(services)
    }

    /// Returns the service whose directory has this name: `NAME`, or `NAME.HASH` with a key.
    pub(super) fn of_directory(directory: &str) -> Option<Self> {
        let Some((name, hash)) = directory.split_once('.') else { return Self::new(directory).ok() };
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hash.len() != KEY_HASH_DIGITS || !hash.bytes().all(is_digit) {
            return None;
        }
        let mut service = Self::new(name).ok()?;
        service.key_hash = Some(hash.to_owned());
        Some(service)
    }
}

/// Returns the names of the directories in `root`; none if there is no root yet.
fn directories(root: &Path) -> Result<Vec<String>, PlaceError> {
    let unusable = |error: io::Error| PlaceFault::Unusable(error).at(root);
    let entries = match root.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unusable)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unusable)?;
        if entry.file_type().map_err(unusable)?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// Returns the directory in which this user keeps the files of services, which need not exist.
///
/// # Errors
///
/// The user database names no home directory of this user.
///
/// # Platform-specific behavior
///
/// Linux and FreeBSD: `running-process/services` in `$XDG_CONFIG_HOME`, if that is an absolute path, else in `.config` in the home
/// directory of the user database. macOS: in its `Library/Application Support`. Windows: in `%APPDATA%`.
pub fn configuration_directory() -> Result<PathBuf, PlaceError> {
    let (variable, below_home) = if cfg!(windows) {
        (Some("APPDATA"), "")
    } else if cfg!(target_vendor = "apple") {
        (None, "Library/Application Support")
    } else {
        (Some("XDG_CONFIG_HOME"), ".config")
    };
    let configured = variable.and_then(std::env::var_os).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match configured {
        Some(base) => base,
        None => sys::home_directory().map_err(|error| PlaceFault::NoHome(error).at(""))?.join(below_home),
    };
    Ok(base.join("running-process").join("services"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_its_directory_even_if_its_key_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("root");
        assert!(Service::known_below(Some(&root)).unwrap().is_empty());
        let keyed = Service::new("cache").unwrap().keyed_by("/srv/project").below(&root);
        let plain = Service::new("build").unwrap().below(&root);
        for service in [&keyed, &plain] {
            ServicePaths::of(service).unwrap().make().unwrap();
        }
        for other in ["Cache", "cache.12", "cache.0123456789abcdeg", "cache.0123456789abcdef.x", ".hidden"] {
            std::fs::create_dir(root.join(other)).unwrap();
        }
        std::fs::write(root.join("file"), "").unwrap();
        let known = Service::known_below(Some(&root)).unwrap();
        let directories: Vec<PathBuf> = known.iter().map(|service| service.directory().unwrap()).collect();
        assert_eq!(directories, [plain.directory().unwrap(), keyed.directory().unwrap()]);
        assert_eq!(known.iter().map(Service::key).collect::<Vec<_>>(), [None, None]);
        // A key replaces the hash of another one.
        let other = known[1].clone().keyed_by("/srv/project");
        assert_eq!(other.directory().unwrap(), keyed.directory().unwrap());
    }

    #[test]
    fn a_root_that_cannot_be_read_is_told() {
        let root = tempfile::NamedTempFile::new().unwrap();
        let error = Service::known_below(Some(root.path())).unwrap_err();
        assert_eq!(error.path, root.path());
        let error = directories(root.path()).unwrap_err();
        assert!(matches!(error.fault, PlaceFault::Unusable(_)), "{error:?}");
    }

    #[cfg(unix)]
    #[test]
    fn the_directories_in_a_root_of_others_are_no_services() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("games")).unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Service::known_below(Some(root.path())).unwrap_err();
        assert!(matches!(error.fault, PlaceFault::NotPrivate { mode: 0o755 }), "{error:?}");
    }
}

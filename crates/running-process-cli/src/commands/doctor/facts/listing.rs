//! The names in the directories in which programs that know no services keep identity files.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Entries of a directory that are remembered. In a larger one each name is looked up.
const MAX_ENTRIES: usize = 10_000;

/// A directory with the names in it.
#[derive(Debug)]
pub(super) struct Listing {
    directory: PathBuf,
    /// `None` if there are too many, or if it cannot be read.
    names: Option<HashSet<OsString>>,
}

impl Listing {
    /// Lists all of these directories.
    pub(super) fn all() -> Vec<Self> {
        let directories = directories().into_iter();
        directories
            .flat_map(|directory| [directory.join("running-process"), directory])
            .map(Self::of)
            .collect()
    }

    fn of(directory: PathBuf) -> Self {
        let names = match directory.read_dir() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(HashSet::new()),
            Err(_) => None,
            Ok(entries) => {
                let entries = entries.flatten().map(|entry| entry.file_name());
                let names: HashSet<OsString> = entries.take(MAX_ENTRIES).collect();
                (names.len() < MAX_ENTRIES).then_some(names)
            }
        };
        Self { directory, names }
    }

    /// Returns the path of `name`, unless it is known that there is none.
    pub(super) fn path_of(&self, name: &str) -> Option<PathBuf> {
        let may_be_there = self.names.as_ref().is_none_or(|names| names.contains(OsStr::new(name)));
        may_be_there.then(|| self.directory.join(name))
    }
}

/// Returns the directories, which depend on the environment: that is why a second daemon may be there.
fn directories() -> BTreeSet<PathBuf> {
    let variables = ["XDG_RUNTIME_DIR", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"];
    let mut directories: BTreeSet<PathBuf> = variables
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .collect();
    directories.insert(std::env::temp_dir());
    #[cfg(unix)]
    {
        directories.insert(PathBuf::from("/tmp"));
        directories.insert(PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw())));
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_unless_it_is_known_to_be_missing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("cache.json"), "").unwrap();
        let listing = Listing::of(directory.path().to_owned());
        assert_eq!(listing.path_of("cache.json"), Some(directory.path().join("cache.json")));
        assert_eq!(listing.path_of("build.json"), None);
        let missing = Listing::of(directory.path().join("missing"));
        assert_eq!(missing.path_of("cache.json"), None);
        let unread = Listing::of(directory.path().join("cache.json"));
        assert!(unread.path_of("build.json").is_some());
        for number in 0..MAX_ENTRIES {
            std::fs::write(directory.path().join(number.to_string()), "").unwrap();
        }
        let large = Listing::of(directory.path().to_owned());
        assert!(large.path_of("build.json").is_some());
    }
}

//! The files of a service that are there, by one look at its directories: to look for each one costs more.

use super::paths::ServicePaths;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// The names in the directory of a service and in that of its sockets, as one look finds them.
#[derive(Debug)]
pub(super) struct Names(Option<HashSet<PathBuf>>);

impl Names {
    pub(super) fn of(paths: &ServicePaths) -> Self {
        let sockets =
            paths.starting().parent().filter(|sockets| *sockets != paths.directory()).map(Path::to_owned);
        let mut names = HashSet::new();
        for directory in [Some(paths.directory()), sockets.as_deref()].into_iter().flatten() {
            match directory.read_dir() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return Self(None),
                Ok(entries) => names.extend(entries.flatten().map(|entry| entry.path())),
            }
        }
        Self(Some(names))
    }

    /// Returns whether the file may be there. In a directory that cannot be read any may be.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::service::definition::Service;

    #[test]
    fn the_names_of_a_long_path_are_those_of_both_directories() {
        let root = tempfile::tempdir().unwrap();
        let service = Service::new("cache").unwrap().below(root.path().join("long".repeat(30)));
        let paths = ServicePaths::of(&service).unwrap();
        let names = Names::of(&paths);
        assert!(!names.has(&paths.lock()) && !names.has(&paths.starting()));
        paths.make().unwrap();
        for path in [paths.lock(), paths.starting()] {
            std::fs::write(path, "").unwrap();
        }
        let names = Names::of(&paths);
        assert!(names.has(&paths.lock()) && names.has(&paths.starting()) && !names.has(&paths.draining()));
        std::fs::remove_dir_all(paths.starting().parent().unwrap()).unwrap();
    }

    #[test]
    fn any_file_may_be_in_a_directory_that_cannot_be_read() {
        let root = tempfile::tempdir().unwrap();
        let service = Service::new("cache").unwrap().below(root.path());
        let paths = ServicePaths::of(&service).unwrap();
        std::fs::write(paths.directory(), "no directory").unwrap();
        assert!(Names::of(&paths).has(&paths.lock()));
    }
}

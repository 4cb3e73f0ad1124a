//! The other places in which a service may have a daemon.

use super::definition::Service;
use super::paths::{ServicePaths, default_root};
use super::place_error::PlaceError;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

/// The roots of this user with the names in them, as one look at the disk finds them: that of this machine, and those of other
/// machines that share the home directory, or of this machine by another id.
#[derive(Debug, Default)]
pub struct Roots(Vec<(PathBuf, HashSet<OsString>)>);

impl Roots {
    /// Looks at all roots. A root that cannot be read has no names, and without a home directory there is no root.
    #[must_use]
    pub fn look() -> Self {
        let roots = default_root().ok().and_then(|default| default.parent()?.read_dir().ok());
        Self::of(roots.into_iter().flatten().flatten().map(|entry| entry.path()))
    }

    fn of(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        let roots = roots.into_iter().map(|root| {
            let entries = root.read_dir().into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name()).collect();
            (root, names)
        });
        Self(roots.collect())
    }
}

impl Service {
    /// Returns this service in each of `roots` that has a directory for it, but for its own root: if
    /// [`ROOT_VARIABLE`](super::ROOT_VARIABLE) or [`below`](Self::below) names another one, that is not among them.
    ///
    /// # Errors
    ///
    /// As [`directory`](Self::directory).
    pub fn elsewhere(&self, roots: &Roots) -> Result<Vec<Self>, PlaceError> {
        let (own, name) = (ServicePaths::of(self)?, OsString::from(self.directory_name()));
        let others = roots.0.iter().filter(|(root, names)| root != own.root() && names.contains(&name));
        let services = others.map(|(root, _)| self.clone().below(root));
        Ok(services.filter(|service| service.directory().is_ok_and(|found| found.is_dir())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_in_the_other_roots_that_have_a_directory_for_it() {
        let parent = tempfile::tempdir().unwrap();
        let [own, other, empty, damaged] =
            ["own", "other", "empty", "damaged"].map(|name| parent.path().join(name));
        for root in [&own, &other] {
            std::fs::create_dir_all(root.join("shout")).unwrap();
        }
        std::fs::create_dir_all(other.join("whisper")).unwrap();
        std::fs::create_dir(&empty).unwrap();
        std::fs::create_dir(&damaged).unwrap();
        std::fs::write(damaged.join("shout"), "no directory").unwrap();
        let roots = Roots::of([own.clone(), other.clone(), empty, damaged, parent.path().join("gone")]);
        let found = |service: Service| {
            let found = service.below(&own).elsewhere(&roots).unwrap();
            found.into_iter().map(|service| service.directory().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(found(Service::new("shout").unwrap()), [other.join("shout")]);
        assert_eq!(found(Service::new("whisper").unwrap()), [other.join("whisper")]);
        assert_eq!(found(Service::new("shout").unwrap().keyed_by("/srv")), Vec::<PathBuf>::new());
    }

    /// Looks at the roots of a user whose home directory is that of the test.
    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "started by the next test in a mount namespace of its own"]
    fn puppet_at_another_home() {
        let base =
            PathBuf::from(std::env::var_os("PUPPET_HOME").unwrap()).join(".local/state/running-process");
        let own = default_root().unwrap();
        assert_eq!(own.parent(), Some(&*base));
        let other = base.join("0123456789abcdef");
        for root in [own, &other] {
            std::fs::create_dir_all(root.join("shout")).unwrap();
        }
        let found = Service::new("shout").unwrap().elsewhere(&Roots::look()).unwrap();
        let found: Vec<_> = found.iter().map(|service| service.directory().unwrap()).collect();
        assert_eq!(found, [other.join("shout")]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_roots_are_those_in_the_home_directory_of_the_user_database() {
        use crate::own_process;

        let home = tempfile::tempdir().unwrap();
        let users = home.path().join("passwd");
        std::fs::write(&users, format!("root:x:0:0::{}:/bin/sh\n", home.path().display())).unwrap();
        let script = r#"mount --bind "$0" /etc/passwd && exec "$@""#;
        let output = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(&users)
            .arg(std::env::current_exe().unwrap())
            .args(own_process::arguments(puppet_at_another_home))
            .env_remove(crate::broker::service::ROOT_VARIABLE)
            .env("PUPPET_HOME", home.path())
            .output();
        match output {
            Ok(output) if !output.stdout.is_empty() => own_process::assert_passed(&output),
            refused => println!("no namespaces here: {refused:?}"),
        }
    }
}

//! Reasons why a service has no place for its files.

use super::variables::ROOT;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The reason why a service has no place for its files.
#[derive(Debug)]
pub struct PlaceError {
    /// The directory; empty if there is none.
    pub path: PathBuf,
    /// The fault of the directory.
    pub fault: PlaceFault,
}

impl fmt::Display for PlaceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, fault } = self;
        formatter.write_str("the service has no place for its files: ")?;
        match fault {
            PlaceFault::NoHome(_) => write!(formatter, "{fault}")?,
            _ => write!(formatter, "{:?} {fault}", path.to_string_lossy())?,
        }
        write!(formatter, "; set {ROOT} to a directory of this user")
    }
}

impl Error for PlaceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The message has the fault already.
        self.fault.source()
    }
}

/// The reason why a directory is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceFault {
    /// The user database has no home directory for this user.
    #[error("the user database names no home directory of this user")]
    NoHome(#[source] io::Error),
    /// The path is not absolute.
    #[error("is not an absolute path")]
    NotAbsolute,
    /// The path leads to something that is not a directory. A symbolic link is not followed.
    #[error("is not a directory")]
    NotADirectory,
    /// The directory belongs to another user.
    #[error("belongs to user {owner}, not to this user")]
    ForeignOwner {
        /// The user id of the owner.
        owner: u32,
    },
    /// Other users may enter the directory. It is never repaired: what is in it may be another user's by now.
    #[error("has mode {mode:03o}, which lets other users in; make it 700 if all in it is this user's")]
    NotPrivate {
        /// The permission bits.
        mode: u32,
    },
    /// The directory cannot be made or examined.
    #[error("cannot be used")]
    Unusable(#[source] io::Error),
    /// This machine has no id, by which a home directory that several machines share has one place for each.
    #[error("cannot be used, because this machine has no id and no name")]
    NoMachine(#[source] io::Error),
}

impl PlaceFault {
    pub(super) fn at(self, path: impl Into<PathBuf>) -> PlaceError {
        PlaceError { path: path.into(), fault: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_used_is_named_with_its_fault_and_the_way_out() {
        let message = |fault: PlaceFault, path: &str| fault.at(path).to_string();
        let way_out = format!("; set {ROOT} to a directory of this user");
        assert_eq!(
            message(PlaceFault::NotPrivate { mode: 0o755 }, "/r"),
            format!(
                "the service has no place for its files: \"/r\" has mode 755, which lets other users in; make it 700 if all in it is \
                 this user's{way_out}"
            )
        );
        // There is no path to name.
        assert_eq!(
            message(PlaceFault::NoHome(io::Error::other("?")), ""),
            format!(
                "the service has no place for its files: the user database names no home directory of this user{way_out}"
            )
        );
    }
}

//! The service manager that starts the daemon of a service, in a file of the service's directory.

use crate::broker::service::definition::Service;
use crate::broker::service::files::{private, remove_if_present};
use crate::broker::service::find_error::FindError;
use crate::broker::service::paths::ServicePaths;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1024;

/// The service manager that listens at the socket of a service, and starts the daemon when a client connects.
///
/// It is recorded in the file `activation` of the service's directory. While the service manager listens, clients leave the start
/// to it; if it does not, they start the daemon themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The service manager.
    pub manager: ServiceManager,
    /// The name of its unit that listens, such as `running-process-cache.socket`, in one line without spaces.
    pub unit: String,
}

/// A service manager that passes sockets to daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceManager {
    /// systemd, of the user or of the system.
    Systemd,
    /// The service manager launchd of macOS.
    Launchd,
}

impl ServiceManager {
    const ALL: [Self; 2] = [Self::Systemd, Self::Launchd];

    /// Returns the name, as the file has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
        }
    }
}

impl fmt::Display for ServiceManager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// `systemd (running-process-cache.socket)`.
impl fmt::Display for Activation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.manager, self.unit)
    }
}

impl Service {
    /// Returns the service manager that starts the daemon; `None` if clients start it.
    ///
    /// # Errors
    ///
    /// [`FindError::Activation`]: the record cannot be read.
    pub fn activation(&self) -> Result<Option<Activation>, FindError> {
        Activation::read(&ServicePaths::of(self)?)
    }

    /// Records the service manager that starts the daemon, or with `None` that clients start it. Makes the service's directory if
    /// there is none.
    ///
    /// # Errors
    ///
    /// The service has no place for its files, or the record cannot be written.
    pub fn record_activation(&self, activation: Option<&Activation>) -> Result<(), FindError> {
        let paths = ServicePaths::of(self)?;
        let Some(activation) = activation else {
            return remove_if_present(&paths.activation()).map_err(FindError::Activation);
        };
        paths.make()?;
        activation.write(&paths).map_err(FindError::Activation)
    }
}

impl Activation {
    pub(in crate::broker::service) fn read(paths: &ServicePaths) -> Result<Option<Self>, FindError> {
        let read = || -> io::Result<Option<Self>> {
            let file = match private().read(true).open(paths.activation()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened?,
            };
            let mut text = String::new();
            file.take(MAX_BYTES).read_to_string(&mut text)?;
            let unusable = || {
                let message = format!("{text:?} is no name of a service manager and of its unit");
                io::Error::new(io::ErrorKind::InvalidData, message)
            };
            Self::parse(&text).map(Some).ok_or_else(unusable)
        };
        read().map_err(FindError::Activation)
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, unit) = text.trim_end().split_once(' ')?;
        let manager = ServiceManager::ALL.into_iter().find(|manager| manager.name() == name)?;
        let is_plain =
            !unit.is_empty() && !unit.contains(|letter: char| letter.is_whitespace() || letter.is_control());
        is_plain.then(|| Self { manager, unit: unit.to_owned() })
    }

    fn write(&self, paths: &ServicePaths) -> io::Result<()> {
        let text = format!("{} {}\n", self.manager, self.unit);
        if Self::parse(&text).as_ref() != Some(self) {
            let message = format!("the unit {:?} is not one word", self.unit);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let new = paths.activation().with_extension("new");
        remove_if_present(&new)?;
        private().write(true).create_new(true).open(&new)?.write_all(text.as_bytes())?;
        fs::rename(&new, paths.activation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(unit: &str) -> Activation {
        Activation { manager: ServiceManager::Systemd, unit: unit.to_owned() }
    }

    #[test]
    fn a_service_remembers_its_service_manager_until_it_is_told_that_it_has_none() {
        let root = tempfile::tempdir().unwrap();
        let service = Service::new("cache").unwrap().below(root.path().join("root"));
        assert_eq!(service.activation().unwrap(), None);
        for unit in ["running-process-cache.socket", "other.socket"] {
            service.record_activation(Some(&activation(unit))).unwrap();
            assert_eq!(service.activation().unwrap(), Some(activation(unit)));
        }
        service.record_activation(None).unwrap();
        service.record_activation(None).unwrap();
        assert_eq!(service.activation().unwrap(), None);
    }

    #[test]
    fn a_unit_that_is_not_one_word_is_refused_and_a_damaged_record_is_told() {
        let root = tempfile::tempdir().unwrap();
        let service = Service::new("cache").unwrap().below(root.path().join("root"));
        for unit in ["", "two words", "a\nb", " "] {
            let refused = service.record_activation(Some(&activation(unit))).unwrap_err();
            assert!(matches!(refused, FindError::Activation(_)), "{refused:?}");
        }
        let file = service.directory().unwrap().join("activation");
        for damaged in ["", "systemd", "systemd ", "cron a.socket", "systemd a b"] {
            fs::write(&file, damaged).unwrap();
            let error = service.activation().unwrap_err();
            assert!(
                matches!(&error, FindError::Activation(error) if error.kind() == io::ErrorKind::InvalidData)
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_record_that_cannot_be_read_is_told() {
        let root = tempfile::tempdir().unwrap();
        let service = Service::new("cache").unwrap().below(root.path());
        let paths = ServicePaths::of(&service).unwrap();
        assert_eq!(service.activation().unwrap(), None, "there is no directory");
        fs::create_dir_all(paths.activation()).unwrap();
        assert!(matches!(service.activation(), Err(FindError::Activation(_))));
        fs::remove_dir_all(paths.directory()).unwrap();
        fs::write(paths.directory(), "no directory").unwrap();
        assert!(matches!(service.activation(), Err(FindError::Activation(_))));
    }
}

//! The start of a daemon by a service manager, for those who write its configuration.

use crate::broker::service::definition::Service;
use crate::broker::service::paths::ServicePaths;
use crate::broker::service::start::command::{Command, CommandError};
use crate::broker::service::start::ensure_error::EnsureError;
use crate::broker::service::start::environment::{self, default_directory};
use std::ffi::OsString;
use std::path::PathBuf;

/// The process that a service manager has to start for a service, as a client would start it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ManagedStart {
    /// The absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its variables, sorted by name: those of the service and of the user database, and the place of the service.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// The path at which the service manager has to listen, on Windows the bare name of a pipe.
    pub socket: PathBuf,
    /// The file for its standard output and standard error, to which both append.
    pub log: PathBuf,
}

impl Service {
    /// Returns how a service manager has to start the daemon. Changes nothing.
    ///
    /// # Errors
    ///
    /// The service has no place, no command, or its program is in no directory of `PATH`.
    pub fn managed_start(&self) -> Result<ManagedStart, EnsureError> {
        let paths = ServicePaths::of(self)?;
        let service = Self { in_own_scope: false, runs_from_copy: false, ..self.clone() };
        let command = match Command::of(&service, &paths) {
            Ok(command) => command,
            Err(CommandError::Unknown(error)) => return Err(error),
            Err(CommandError::NotRun(error)) => return Err(EnsureError::NoProgram { program: error }),
        };
        Ok(ManagedStart {
            program: command.program,
            arguments: command.arguments,
            environment: environment::of_managed(self, &paths),
            directory: self.directory.clone().unwrap_or_else(default_directory),
            socket: paths.socket_path(),
            log: paths.log(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_starts_the_program_itself() {
        let root = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let service = Service::new("managed").unwrap().below(root.path().join("root"));
        let service = service.command(&program, ["--quietly"]).in_own_scope();
        let start = service.managed_start().unwrap();
        assert_eq!((start.program, start.arguments), (program, vec![OsString::from("--quietly")]));
    }
}
